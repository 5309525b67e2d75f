"""Where tokens are tried: the tables of one database with the rows that they have now, and what was seen there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness.columns import admitted
from mcp_rls.harness.facts import Reach, RoleFacts
from mcp_rls.harness.matrix.field import Copy, Field, Item, Move, Question
from mcp_rls.harness.matrix.full import copy_in, further_questions
from mcp_rls.harness.matrix.judge import Holder
from mcp_rls.harness.matrix.meaning import Meaning
from mcp_rls.harness.matrix.outcome import Outcome, decoded
from mcp_rls.harness.matrix.probe import Probe
from mcp_rls.harness.matrix.sets import Sets
from mcp_rls.harness.matrix.truths import Truths
from mcp_rls.harness.stage import Stage

Sight = dict[TableName, dict[Item, Outcome]]  # what one token was seen to do, by table
Session = tuple[str, str]  # a role and the text of its claims


class Arena:
    """Asks tokens and their people, and knows the meaning of what they should be able to do."""

    def __init__(
        self, stage: Stage, probe: Probe, policies: PolicySet, fields: Sequence[Field], *, full: bool = False
    ) -> None:
        self.stage, self.probe, self.policies, self.full = stage, probe, policies, full
        self.fields = {field.table.name: field for field in fields}
        sets = Sets(probe, policies)
        self.meanings = {field.table.name: Meaning(policies, Truths(probe, field), sets) for field in fields}
        self._own: dict[Session, Sight] = {}

    def facts(self, role: str) -> RoleFacts:
        """What the catalog says about an acting role."""
        return self.stage.facts(role)

    def reach(self, role: str, table: TableName) -> Reach:
        return self.facts(role).reach.get(table, Reach())

    def settable(self, role: str, table: TableName, held: str | None) -> Reach:
        """The same with the columns alone that a client of a class (None: a person) may set, as the file says."""
        reach = self.reach(role, table)
        return replace(reach, update=reach.update & admitted(self.policies, self.fields[table].table, held))

    # --- asking ---

    def ask(
        self,
        role: str,
        claims: str,
        settings: Mapping[str, str] | None = None,
        *,
        only: TableName | None = None,
        copies: Mapping[TableName, Sequence[Copy]] | None = None,
        blind: frozenset[TableName] = frozenset(),
        held: str | None = None,
    ) -> Sight:
        """What the token does with every table, or with one: all rows, each command, and an INSERT of copies.

        `copies`: no others. `blind`: tables that are written without WHERE alone, which adds to the policies asked.
        `held`: the class to whose columns its updates keep; None: those of people.
        """
        fields = [(n, f) for n, f in self.fields.items() if not f.many and only in (None, n)]
        questions = [
            (name, question)
            for name, field in fields
            for question in self._questions(field, self.settable(role, name, held))
            if not (name in blind and question.form in ("update", "delete"))
            and not (copies is not None and question.form == "insert" and question.subjects[0] not in copies[name])
        ]
        sight = self._asked(role, claims, questions, settings)
        for name, field in fields if self.full and copies is None else ():
            sight[name]["copy", ""] = copy_in(self.probe, field, role, claims, self.reach(role, name))
        return sight

    def _questions(self, field: Field, reach: Reach) -> Iterator[Question]:
        yield from field.questions(reach)
        if self.full:
            yield from further_questions(field, reach, self.stage.catalog.version)

    def ask_moves(self, role: str, claims: str, moves: Mapping[TableName, Iterable[Move]]) -> Sight:
        """What becomes of rows that the token gives other values."""
        questions = [(name, self.fields[name].move(move)) for name, some in moves.items() for move in some]
        return self._asked(role, claims, questions, None)

    def _asked(
        self,
        role: str,
        claims: str,
        questions: Sequence[tuple[TableName, Question]],
        settings: Mapping[str, str] | None,
    ) -> Sight:
        answers = self.probe.ask(role, claims, [question.try_ for _, question in questions], settings)
        sight: Sight = {name: {} for name in self.fields}
        for (name, question), answer in zip(questions, answers, strict=True):
            sight[name].update(decoded(self.fields[name], question, answer, self.reach(role, name)))
        return sight

    def reached(self, role: str, sight: Sight, held: str | None = None) -> dict[TableName, tuple[Move, ...]]:
        """The moves to try with the rows that the token's UPDATE reached."""
        found = {}
        for name, seen in sight.items():
            keys = self.fields[name].keys
            hit = [key for key in keys if _got(seen, ("update", key)) or _got(seen, ("update blind", key))]
            if hit:
                found[name] = self.fields[name].moves(hit, self.reach(role, name), self.settable(role, name, held))
        return found

    def closed_to(self, holder: Holder) -> frozenset[TableName]:
        """The tables in which no rule lets the token update or delete: a blind statement shows as much as any other."""
        return frozenset(
            name
            for name, meaning in self.meanings.items()
            if not (holder.unlimited or meaning.open_rules(holder, "update") or meaning.open_rules(holder, "delete"))
        )

    # --- people's own sessions ---

    def own(self, role: str, claims: str) -> Sight:
        """What the same person's own session, in the app, is seen to do."""
        session = (self.policies.app_role(role), twin(self.policies, claims))
        if session not in self._own:
            self._own[session] = self.ask(*session)
        return self._own[session]

    def own_moves(self, role: str, claims: str, moves: Mapping[TableName, Iterable[Move]]) -> None:
        """Adds to what is known of the person's own session what becomes of these moves; learns what they make."""
        session = (self.policies.app_role(role), twin(self.policies, claims))
        known = self.own(role, claims)
        left = {n: [m for m in some if (m.form, m) not in known[n]] for n, some in moves.items()}
        for name, seen in self.ask_moves(*session, left).items():
            known[name].update(seen)

    # --- meaning ---

    def learn(self, holders: Sequence[Holder], claims: str, moves: Mapping[TableName, Iterable[Move]]) -> None:
        """Evaluates what the rules of these tokens say of all rows, copies and moved rows."""
        for name, meaning in self.meanings.items():
            texts = meaning.texts(holders)
            meaning.truths.of_rows(texts)
            made = {question.subjects[0]: question.try_ for question in self._making(name, moves.get(name, ()))}
            meaning.truths.of_new(twin(self.policies, claims), made, texts)

    def _making(self, name: TableName, moves: Iterable[Move]) -> Iterator[Question]:
        """The statements that make new rows, with every column."""
        field = self.fields[name]
        everything = frozenset(c.name for c in field.table.columns)
        full = Reach(everything, everything, everything, True, True)
        for question in field.questions(full):
            if question.form == "insert":
                yield question
        for move in dict.fromkeys(replace(move, blind=False) for move in moves):
            yield field.move(move)


def _got(seen: Mapping[Item, Outcome], item: Item) -> bool:
    outcome = seen.get(item)
    return outcome is not None and outcome.allowed


def twin(policies: PolicySet, claims: str) -> str:
    """The claims of the same person's session in the app: no client and no scopes, or the app's own client."""
    try:
        document = json.loads(claims, parse_float=_finite) if claims else {}
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    identity = policies.identity
    for path in (*identity.client, *([identity.scope] if identity.scope is not None else [])):
        _drop(document, path)
    if identity.direct.ids:
        _put(document, identity.client[0], identity.direct.ids[0])
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def _finite(text: str) -> float:
    """The number; 0 for one that only PostgreSQL can hold."""
    number = float(text)
    return number if math.isfinite(number) else 0.0


def _drop(document: Any, path: Sequence[str]) -> None:
    for key in path[:-1]:
        document = document.get(key) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(path[-1], None)


def _put(document: dict[str, Any], path: Sequence[str], value: str) -> None:
    for key in path[:-1]:
        inner = document.get(key)
        document[key] = inner if isinstance(inner, dict) else {}
        document = document[key]
    document[path[-1]] = value
