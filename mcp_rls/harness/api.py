"""Tokens and assertions for tests in Python; the pytest fixture `rls` is an `Rls`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Literal

from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import Command
from mcp_rls.diagnostics import nearest
from mcp_rls.harness import rows, trials
from mcp_rls.harness.clients import enter
from mcp_rls.harness.columns import column_twin
from mcp_rls.harness.keys import KeyReader
from mcp_rls.harness.message import compose, token_facts
from mcp_rls.harness.observe import Key, Observation
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import Case, Expectation, KeyValue, Reason, Sub, TokenSpec, Values
from mcp_rls.harness.token import Bearer, as_person
from mcp_rls.harness.twin import blind_twin
from mcp_rls.harness.verdict import Check, Finding, Scene, Verdict, failed, judge

_NUMBERS = count()
_INTEGERS = ("smallint", "integer", "bigint")


class Rls:
    """A database with the policies in force, in a transaction that is rolled back when the test ends.

    Every statement of a token starts from the same rows: what a token writes is looked at, then undone.
    """

    def __init__(self, stage: Stage, people: Mapping[str, Sub]) -> None:
        self.people = people
        self._stage = stage
        self._keys = KeyReader(stage)
        self._unjudged: dict[int, str] = {}

    def all_judged(self) -> None:
        """Asserts that somebody asked what came of each attempt: one that nobody judges shows nothing."""
        __tracebackhide__ = True
        left = list(self._unjudged.values())
        assert not left, (
            f"nobody asked what came of this: {'; '.join(left)}\nhint: .succeeds(), .changes(...), .refused(...)"
        )

    def fixtures(self, tables: Mapping[str, Sequence[Values]]) -> None:
        """Inserts rows past row security, in the order given: {"public.orgs": [{"id": 1, "name": "Acme"}]}."""
        self._stage.insert_fixtures({_table_name(t): tuple(found) for t, found in tables.items()})

    def token(
        self,
        *,
        person: Sub | None = None,
        class_: str | None = None,
        client: str | None = None,
        scope: str | Iterable[str] | None = None,
        claims: Values | None = None,
        raw: Values | str | None = None,
        consent: Literal["none"] | None = None,
        role: str | None = None,
        name: str | None = None,
    ) -> Token:
        """A token. `person` is a name of the cases file's people, or a subject itself.

        `class_`: a client of that class is made up; `client`: a client by its id; neither: the app itself.
        `claims`: declared claims by name; `raw`: merged over everything, or the whole text of the claims.
        Raises: ValueError for a class, claim or role that the policy file doesn't have.
        """
        policies = self._stage.policies
        if class_ is not None and client is not None:
            raise ValueError("a token has a class or a client, not both")
        _known("class", class_, policies.classes)
        _known("role", role, policies.acting)
        for claim in claims or {}:
            _known("claim", claim, policies.claims)
        named = person in self.people if isinstance(person, str) else False
        if not named:
            self._plausible(person)
        actor = client or class_ or ("the app" if person is not None else "nobody")
        spec = TokenSpec(
            name=name or (f"{person} via {actor}" if person is not None else actor),
            role=role or "",
            person=str(person) if named else "",
            sub=self.people[str(person)] if named else person,
            class_name=class_,
            client=client,
            scope=scope if scope is None or isinstance(scope, str) else tuple(scope),
            claims=claims or {},
            raw=raw,
            consent=consent is None,
        )
        return Token(self._stage, self._keys, spec, self._unjudged)

    def _plausible(self, person: Sub | None) -> None:
        """Raises ValueError for what is neither a known person nor a subject: a denial would show nothing then."""
        claim = self._stage.policies.identity.person
        if isinstance(person, str) and as_person(person, claim) is None:
            hint = nearest(person, self.people) or f"known: {', '.join(self.people)}"
            raise ValueError(f'there is no person "{person}" in the cases file, and it is no {claim.type}; {hint}')


class Token:
    """A token, acting in the test's database."""

    def __init__(self, stage: Stage, keys: KeyReader, spec: TokenSpec, unjudged: dict[int, str]) -> None:
        self.spec = spec
        self._stage = stage
        self._keys = keys
        self._unjudged = unjudged

    def sees(self, table: str, keys: Sequence[KeyValue] | KeyValue | None = None) -> Attempt:
        """Asserts that exactly the rows with these primary keys are seen; without `keys`, that some are."""
        __tracebackhide__ = True
        attempt = self.select(table)
        if keys is None:
            attempt.succeeds()
        else:
            attempt.expect(Expectation("sees", _keys(keys)))
        return attempt

    def sees_nothing(self, table: str) -> Attempt:
        """Asserts that the table has rows, and that none of them is seen."""
        __tracebackhide__ = True
        return self.sees(table, [])

    def sees_all(self, expected: Mapping[str, Sequence[KeyValue]]) -> None:
        """Asserts for each table that exactly the rows with these keys are seen; asks for all in one round trip."""
        __tracebackhide__ = True
        enter(self._stage, self.spec)
        trials.see(self._stage, [self._stage.table(_table_name(t)) for t in expected])
        for table, keys in expected.items():
            self.sees(table, keys)

    def select(self, table: str) -> Attempt:
        """What the token sees; asserts nothing."""
        return self._attempt("select", table, {}, {})

    def insert(self, table: str, row: Values) -> Attempt:
        """Inserts a row, without RETURNING."""
        return self._attempt("insert", table, row, {})

    def update(self, table: str, where: Values, set: Values) -> Attempt:  # noqa: A002 - SQL's word
        """Updates the rows whose columns equal `where`; an empty `where` is an UPDATE without WHERE."""
        return self._attempt("update", table, set, where)

    def delete(self, table: str, where: Values) -> Attempt:
        """Deletes the rows whose columns equal `where`; an empty `where` is a DELETE without WHERE."""
        return self._attempt("delete", table, {}, where)

    def _attempt(self, command: Command, table: str, values: Values, where: Values) -> Attempt:
        expect = Expectation("sees" if command == "select" else "changes")
        case = Case(0, self.spec.name, command, _table_name(table), expect, values, where)
        bearer = enter(self._stage, self.spec)
        found = self._stage.table(case.table)
        there = self._stage.snapshot(found)
        observation = trials.perform(self._stage, case).observation
        writes = command in ("update", "delete")
        matched = trials.matched(self._stage, found, case) if writes else ()
        brought = frozenset(key for name, key in bearer.brought if name == case.table)
        scene = Scene(found, frozenset(there), (), frozenset(matched), brought)
        number = next(_NUMBERS)
        self._unjudged[number] = f"{command} on {table} by {self.spec.name}"
        return Attempt(self._stage, self._keys, case, bearer, observation, scene, there, self._unjudged, number)

    def __repr__(self) -> str:
        return f"<token {self.spec.name}>"


@dataclass(frozen=True, repr=False)
class Attempt:
    """One statement of a token and what came of it: ask its properties, or let it assert."""

    _stage: Stage
    _keys: KeyReader
    _case: Case
    _bearer: Bearer
    observation: Observation
    _scene: Scene
    _there: rows.Snapshot
    _unjudged: dict[int, str]
    _number: int

    @property
    def allowed(self) -> bool:
        """Rows were seen or changed. Raises AssertionError where what came of it shows neither that nor a denial."""
        __tracebackhide__ = True
        self._shows_something()
        return self.observation.allowed

    @property
    def hidden(self) -> bool:
        """No error, and no row: row security hid them. Raises AssertionError where there was no row to hide."""
        __tracebackhide__ = True
        self._shows_something()
        return self.observation.hidden

    @property
    def refused_by_policy(self) -> bool:
        self._judged()
        return self.observation.refused_by_policy

    @property
    def refused_by_grant(self) -> bool:
        self._judged()
        return self.observation.refused_by_grant

    @property
    def errored(self) -> bool:
        self._judged()
        return self.observation.errored

    @property
    def constraint(self) -> str:
        """The constraint that stopped it after the policies had let it through, or ''."""
        self._judged()
        return self.observation.constraint

    @property
    def keys(self) -> list[Any]:
        """Primary keys of the rows seen, changed or inserted: numbers and texts, tuples where composite."""
        self._judged()
        brought = self._scene.brought
        return [_python(key, self._scene.table) for key in self.observation.keys if key not in brought]

    def _shows_something(self) -> None:
        __tracebackhide__ = True
        self._judged()
        command, scene = self._case.command, self._scene
        if self.observation.errored:
            sentence = f"the {command} by {self._case.token} ended so: {self.observation}"
            self._assert(failed("ERROR", sentence), "an answer")
        elif command != "insert" and not (scene.there if command == "select" else scene.matched):
            what = "has no rows" if command == "select" else "has no row that meets `where`"
            self._assert(failed("VACUOUS", f"{self._case.table} {what}, so nothing was allowed or denied"), "an answer")

    def succeeds(self) -> None:
        """Asserts that some row was seen, changed or inserted."""
        __tracebackhide__ = True
        if not (self.observation.allowed and self.keys):
            sentence = f"the {self._case.command} by {self._case.token} on {self._case.table}"
            self._assert(failed("DENIED", f"{sentence} was {self.observation}"), "some row")
        self._judged()

    def changes(self, *keys: KeyValue) -> None:
        """Asserts that exactly the rows with these keys changed; without keys, that the rows were hidden."""
        __tracebackhide__ = True
        flat = keys[0] if len(keys) == 1 and isinstance(keys[0], list) else keys
        self.expect(Expectation("changes", _keys(flat)))

    def refused(self, reason: Reason) -> None:
        """Asserts a refusal by "policy", "grant" or "constraint", and by nothing else."""
        __tracebackhide__ = True
        if reason not in ("policy", "grant", "constraint"):
            raise ValueError(f'a refusal is by "policy", "grant" or "constraint", not by {reason!r}')
        self.expect(Expectation("refused", reason=reason))

    def expect(self, expectation: Expectation) -> None:
        """Asserts what a case with this expectation would."""
        __tracebackhide__ = True
        case = _with(self._case, expectation)
        expected = self._keys.read(self._scene.table, expectation.keys)
        self._judged()
        if isinstance(expected, str):
            self._assert(failed("ERROR", expected), expectation)
            return
        scene = Scene(self._scene.table, self._scene.there, expected, self._scene.matched, self._scene.brought)
        finding = judge(case, self.observation, scene)
        self._assert(finding, expectation)
        if case.where or case.command == "update":
            enter(self._stage, self._bearer.spec)
            twin = blind_twin(self._stage, case, scene) or column_twin(self._stage, case, scene)
            self._assert(twin[0] if twin else finding, expectation)

    def _judged(self) -> None:
        """Somebody asked what came of it."""
        self._unjudged.pop(self._number, None)

    def _assert(self, finding: Finding, expected: object) -> None:
        __tracebackhide__ = True
        if finding.verdict is not Verdict.PASSED:
            raise AssertionError(self._message(finding, str(expected)))

    def _message(self, finding: Finding, expected: str) -> str:
        check = Check(self._case.token, self._case.table, self._case.command, self._case)
        enter(self._stage, self._bearer.spec)  # another token may have acted since
        return compose(self._stage, check, finding, expected, self.observation)

    def __repr__(self) -> str:
        """What a bare `assert attempt.allowed` shows."""
        who = token_facts(self._stage.policies, self._bearer)[0]
        found = f" {self.keys}" if self.observation.allowed else ""
        return f"<{self._case.command} on {self._case.table}: {self.observation}{found}; {who}>"


def _with(case: Case, expectation: Expectation) -> Case:
    return Case(0, case.token, case.command, case.table, expectation, case.values, case.where)


def _keys(keys: Any) -> tuple[KeyValue, ...]:
    """A list of keys, or one key, as the harness takes them."""
    listed = keys if isinstance(keys, list | tuple | set | frozenset) else [keys]
    return tuple(tuple(key) if isinstance(key, list) else key for key in listed)


def _python(key: Key, table: Table) -> Any:
    kinds = [rows.column(table, name).base_type for name in table.primary_key] or ["text"] * len(key)
    values = [int(v) if kind in _INTEGERS else v for v, kind in zip(key, kinds, strict=True)]
    return values[0] if len(values) == 1 else tuple(values)


@lru_cache
def _table_name(text: str) -> TableName:
    name = TableName.parse(text)
    if name is None:
        raise ValueError(f'expected schema.table, for example "public.{text}"; found "{text}"')
    return name


def _known(word: str, name: str | None, known: Iterable[str]) -> None:
    if name is not None and name not in known:
        hint = nearest(name, known) or f"known: {', '.join(known)}"
        raise ValueError(f'there is no {word} "{name}" in the policy file; {hint}')
