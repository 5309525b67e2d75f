"""What a client token may do beyond its cases: nothing, and that is tried for every row of a table.

PostgreSQL asks the SELECT policies too as soon as an UPDATE or DELETE reads a column, which hides weak write policies;
so each is tried blind (no WHERE, constants only) and by key. One statement tries all rows at once. Only when it ends
in an error, which tells nothing about the other rows, is each row tried alone.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mcp_rls import sql
from mcp_rls.catalog import Column, Table
from mcp_rls.compiler.model import COMMANDS, Command, PolicySet
from mcp_rls.harness import rows, trials
from mcp_rls.harness.columns import admitted
from mcp_rls.harness.facts import Reach, RoleFacts
from mcp_rls.harness.observe import Key, Observation, Outcome
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.verdict import Finding, failed, undecided

_SAMPLE = 20  # rows of a table without fixtures that are tried one by one
_FAR = {"smallint": 30_000, "integer": 2_000_000_000, "bigint": 2_000_000_000_000, "numeric": 2_000_000_000_000}
_A = {"update": "an update", "delete": "a delete"}

Statement = Callable[[Key, str], str]  # SQL that writes the row with a key, under a WHERE clause or ''


@dataclass(frozen=True)
class Freed:
    """What the cases give one token on one table: keys by command, and the rows that it may insert."""

    keys: Mapping[Command, frozenset[Key]]
    inserts: tuple[rows.Data, ...] = ()
    brought: frozenset[Key] = frozenset()  # rows made for the token itself, which no case can name
    sight_listed: bool = False  # a case says exactly what is seen, so there is nothing left to try

    def spares(self, command: Command, key: Key) -> bool:
        return key in self.brought or key in self.keys.get(command, frozenset())


@dataclass(frozen=True)
class CellOutcome:
    """One cell tried: what was found, and the observation that says it best."""

    command: Command
    finding: Finding
    observation: Observation | None = None
    by_catalog: str = ""


class Cells:
    """The four cells of the acting token on one table."""

    def __init__(self, stage: Stage, table: Table, freed: Freed, person_columns: frozenset[str]) -> None:
        assert stage.bearer is not None, "somebody acts"
        self.stage = stage
        self.table = table
        self.freed = freed
        self.person_columns = person_columns
        self.bearer = stage.bearer
        self.facts = stage.facts(self.bearer.role)
        self.reach = self.facts.reach.get(table.name, Reach())

    def all(self, commands: Sequence[Command] = COMMANDS) -> Iterator[CellOutcome]:
        tries = {"select": self._select, "insert": self._insert, "update": self._update, "delete": self._delete}
        for command in commands:
            if command == "select" and self.freed.sight_listed:
                continue
            outcome = tries[command]()
            yield self._second_look(outcome) if outcome.finding.headline.startswith("UNDECIDED") else outcome

    def _second_look(self, outcome: CellOutcome) -> CellOutcome:
        """An error decides nothing; the catalog may."""
        reason = closed_by_catalog(self.stage, self.table, outcome.command)
        return replace(outcome, finding=Finding(), by_catalog=reason) if reason else outcome

    @property
    def there(self) -> rows.Snapshot:
        return self.stage.snapshot(self.table)

    def _denied(self, command: Command) -> list[Key]:
        """The rows that must be denied."""
        return [key for key in self.there if not self.freed.spares(command, key)]

    def _sample(self, keys: Sequence[Key]) -> list[Key]:
        fixtures = set(self.stage.fixture_keys.get(self.table.name, ()))
        return [k for k in keys if k in fixtures] if fixtures else list(keys[:_SAMPLE])

    # --- select ---

    def _select(self) -> CellOutcome:
        observation = trials.select(self.stage, self.table)
        leaked = [k for k in observation.keys if not self.freed.spares("select", k)]
        if leaked:
            return CellOutcome("select", self._leak("select", leaked, "sees"), observation)
        return self._unless_errored(observation)

    # --- update and delete ---

    def _update(self) -> CellOutcome:
        column = self._settable()
        if column is None:
            remedy = f"revoke update on {sql.table(self.table.name)} from {sql.ident(self.bearer.role)}"
            return CellOutcome("update", undecided(f"{self.table.name} has no column that UPDATE could set", remedy))

        def statement(key: Key, clause: str) -> str:
            return rows.update(self.table, rows.stored_literals(self.there[key].data, [column.name]), clause)

        return self._write("update", statement)

    def _delete(self) -> CellOutcome:
        return self._write("delete", lambda _, clause: rows.delete(self.table, clause))

    def _write(self, command: Command, statement: Statement) -> CellOutcome:
        denied = self._denied(command)
        if not denied:
            return CellOutcome(command, Finding(), None)
        best: CellOutcome | None = None
        for blind in (True, False):
            outcome = self._write_all(command, statement, denied, blind)
            if outcome.finding.headline:
                return outcome
            best = best or outcome
        assert best is not None, "two ways were tried"
        return best

    def _write_all(self, command: Command, statement: Statement, denied: list[Key], blind: bool) -> CellOutcome:
        clause = "" if blind else f" where {rows.any_key(self.table)}"
        observation = trials.write(self.stage, self.table, command, statement(denied[0], clause))
        if observation.refused_by_grant:
            return CellOutcome(command, Finding(), observation)
        leaked = [k for k in observation.keys if not self.freed.spares(command, k)]
        if leaked:
            return CellOutcome(command, self._leak(command, leaked, f"{command}s", blind), observation)
        if observation.hidden or observation.allowed:
            return CellOutcome(command, Finding(), observation)
        return self._write_each(command, statement, self._sample(denied), blind, observation)

    def _write_each(
        self, command: Command, statement: Statement, keys: list[Key], blind: bool, last: Observation
    ) -> CellOutcome:
        """Each row alone, set to its own value: a refusal of one says nothing about another."""
        leaked, errors = [], []
        for key in keys:
            if blind:
                last = trials.write(self.stage, self.table, command, statement(key, ""), isolate=key)
            else:
                clause = f" where {rows.by_key(self.table, key)}"
                last = trials.write(self.stage, self.table, command, statement(key, clause))
            if last.admitted:
                leaked.append(key)
            elif last.errored:
                errors.append(last)
        if leaked:
            return CellOutcome(command, self._leak(command, leaked, f"{command}s", blind), last)
        return self._unless_errored(errors[0] if errors else last)

    def _settable(self) -> Column | None:
        """A column for UPDATE to set: one that role and rule let it set, rather no key, no reference and no person."""
        referring = {c for key in self.table.foreign_keys for c in key.columns}
        open_ = [c for c in self.table.columns if not c.generated]

        mine = self.reach.update & admitted(self.stage.policies, self.table, self.bearer.class_name)

        def cost(column: Column) -> tuple[bool, bool, bool, bool]:
            name = column.name
            special = name in referring or name in self.person_columns
            return (name not in self.reach.update, name not in mine, name in self.table.primary_key, special)

        return min(open_, key=cost, default=None)

    # --- insert ---

    def _insert(self) -> CellOutcome:
        leaked: list[tuple[Key, rows.Data, Observation]] = []
        denial: Observation | None = None
        for key, data in self._copies():
            if any(self._same(data, given) for given in self.freed.inserts):
                continue
            observation = trials.insert(self.stage, self.table, self._values(data)).observation
            if observation.admitted:
                leaked.append((key, data, observation))
            elif denial is None or observation.errored:
                denial = observation
        if leaked:
            return self._leaked_inserts(leaked)
        return self._unless_errored(denial) if denial else CellOutcome("insert", Finding())

    def _leaked_inserts(self, leaked: list[tuple[Key, rows.Data, Observation]]) -> CellOutcome:
        _, data, observation = leaked[0]
        name, count = self.bearer.spec.name, len(leaked)
        what = "a row" if count == 1 else f"{count} rows"
        sentence = f"{name} inserts {what} into {self.table.name}, and no case allows it"
        if observation.constraint:
            sentence += " (the policies let it through; then a constraint stopped it)"
        keys = list(dict.fromkeys(k for k, _, _ in leaked))
        finding = failed("LEAK", sentence, keys)
        finding = replace(finding, new=data, hint=self._case_for(data))
        return CellOutcome("insert", finding, observation)

    def _case_for(self, data: rows.Data) -> str:
        """The line of a cases file that would allow this row."""
        telling = self._decisive()
        needed = {
            c.name: data[c.name]
            for c in self.table.columns
            if c.name in telling or c.name in self.table.primary_key or (c.not_null and not c.has_default)
            if not c.generated
        }
        values = ", ".join(f"{name}: {'null' if v is None else _yaml(v)}" for name, v in needed.items())
        return f"- {{as: {self.bearer.spec.name}, insert: {{{self.table.name}: {{{values}}}}}, allowed: true}}"

    def _copies(self) -> Iterator[tuple[Key, rows.Data]]:
        """Each row with a fresh key, and again as if it were the person's own."""
        person = self.bearer.identity.person
        seen = set()
        for index, key in enumerate(self._sample([k for k in self.there if k not in self.freed.brought])):
            data = {**self.there[key].data, **self._fresh_key(key, index)}
            own = {**data, **dict.fromkeys(self.person_columns, person)} if person is not None else data
            for copy in (data, own):
                form = tuple(v for n, v in copy.items() if n not in self.table.primary_key)
                kept = tuple(copy[n] for n in self._kept_keys())
                if (form, kept) not in seen:
                    seen.add((form, kept))
                    yield key, copy

    def _kept_keys(self) -> list[str]:
        """Key columns that mean something, so that a fresh value would be another row altogether."""
        referring = {c for key in self.table.foreign_keys for c in key.columns}
        return [c for c in self.table.primary_key if c in referring or c in self.person_columns]

    def _fresh_key(self, key: Key, index: int) -> dict[str, str]:
        if self.table.kind == "partitioned":
            return {}  # a fresh value might have no partition, and that is found out before any policy is asked
        kept = self._kept_keys()
        return {
            name: _fresh(rows.column(self.table, name), value, index)
            for name, value in zip(self.table.primary_key, key, strict=False)
            if name not in kept
        }

    def _values(self, data: rows.Data) -> dict[str, str]:
        """SQL by column: those that the role may set, or all, so that the refusal is PostgreSQL's."""
        names = [c.name for c in self.table.columns if not c.generated]
        allowed = [n for n in names if n in self.reach.insert]
        return rows.stored_literals(data, allowed or names)

    def _same(self, data: rows.Data, given: rows.Data) -> bool:
        """Whether the row of a case is this row, as far as a policy could tell."""
        return all(data[name] == given[name] for name in self._decisive())

    def _decisive(self) -> frozenset[str]:
        return decisive_columns(self.table, self.stage.policies, self.facts, self.person_columns)

    # --- shared ---

    def _unless_errored(self, observation: Observation) -> CellOutcome:
        command = observation.command
        if observation.outcome is not Outcome.ERRORED:
            return CellOutcome(command, Finding(), observation)
        sentence = (
            f"the {command} by {self.bearer.spec.name} on {self.table.name} ended in no denial but in {observation}"
        )
        return CellOutcome(command, undecided(sentence), observation)

    def _leak(self, command: Command, leaked: list[Key], verb: str, blind: bool = False) -> Finding:
        count = "1 row" if len(leaked) == 1 else f"{len(leaked)} rows"
        how = f" by {_A[command]} without WHERE" if blind else ""
        sentence = f"{self.bearer.spec.name} {verb} {count} of {self.table.name}{how}, and no case allows it"
        return failed("LEAK", sentence, leaked, self._case_listing(command, leaked))

    def _case_listing(self, command: Command, keys: list[Key]) -> str:
        """The line of a cases file that would allow these rows; '' where it would need more than their keys."""
        if command == "update" or not self.table.primary_key:
            return ""
        listed = ", ".join(rows.show(key, self.table) for key in keys)
        what = (
            f"select: {self.table.name}, sees"
            if command == "select"
            else f"delete: {{{self.table.name}: {{}}}}, changes"
        )
        return f"- {{as: {self.bearer.spec.name}, {what}: [{listed}]}}"


def decisive_columns(
    table: Table, policies: PolicySet, facts: RoleFacts, person_columns: frozenset[str]
) -> frozenset[str]:
    """The columns that a policy may look at: references, persons, booleans, and whatever a rule or a policy names.

    Two new rows that agree in these are one row to every policy. What the file's rules name counts too, so that a
    policy which was weakened in the database frees no more than before.
    """
    rules = policies.tables.get(table.name)
    texts = [c.text for r in policies.client_rules(table.name) for c in (r.rows, r.check) if c is not None]
    if rules is not None and rules.people != "existing":
        texts += [c.text for r in rules.people for c in (r.rows, r.check) if c is not None]
    texts += [t for p in facts.policies.get(table.name, ()) for t in (p.using, p.check) if t is not None]
    words = set(re.findall(r"\w+", " ".join(texts)))
    referring = {c for key in table.foreign_keys for c in key.columns}
    return frozenset(
        c.name
        for c in table.columns
        if c.name in referring
        or c.name in person_columns
        or ((c.name in words or c.base_type == "boolean") and not c.generated and c.name not in table.primary_key)
    )


def closed_by_catalog(stage: Stage, table: Table, command: Command) -> str:
    """Why the acting token can't have any row of `table` by `command`, as the catalog alone proves; or ''."""
    assert stage.bearer is not None, "somebody acts"
    claims, role = stage.bearer.claims, stage.bearer.role
    facts = stage.facts(role)
    reach = facts.reach.get(table.name)
    if reach is None:
        return f"{role} has no USAGE on the schema {table.name.schema}"
    if not reach.may(command):
        return f"{role} has no {command.upper()} privilege on {table.name}"
    if not reach.row_security:
        return ""
    binding = facts.binding(table.name, command)
    if not any(p.permissive for p in binding):
        return f"no permissive policy of {table.name} is for {command} and {role}"
    for policy in binding:
        gate = policy.whatever_the_row(command)
        if gate is not None and stage.say(claims, role, [gate]) in (["false"], [None]):
            return f'the policy "{policy.name}" is false for this token whatever the row'
    return ""


def _fresh(column: Column, value: str, index: int) -> str:
    """A key value that no row has, of the same type; the value itself where there is no telling."""
    kind = column.base_type or column.type
    if kind in _FAR:
        return str(_FAR[kind] + index)
    if kind == "uuid":
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"mcp-rls {value} {index}"))
    if kind in ("text", "character varying", "citext"):
        room = re.search(r"\((\d+)\)", column.type)
        return f"mcp-rls-{index}"[: int(room[1])] if room else f"mcp-rls-{index}"
    return value


def _yaml(text: str) -> str:
    """`text` as a YAML value inside a mapping in braces."""
    return text if re.fullmatch(r"[\w./-]+", text) else json.dumps(text, ensure_ascii=False)


def person_columns(table: Table, there: rows.Snapshot, people: frozenset[str]) -> frozenset[str]:
    """Columns in which some row holds a person of the suite."""
    return frozenset(
        c.name
        for c in table.columns
        if not c.generated and any((row.data[c.name] or "").lower() in people for row in there.values())
    )


def witness_values(table: Table, policies: PolicySet, person: str | None) -> dict[str, str]:
    """SQL by column that makes a made-up row look like the person's own: uuid columns that refer to nothing covered."""
    if person is None or policies.identity.person.type != "uuid":
        return {}
    referring = {c for key in table.foreign_keys if key.references.schema in policies.schemas for c in key.columns}
    return {
        c.name: sql.literal(person)
        for c in table.columns
        if (c.base_type or c.type) == "uuid" and c.name not in referring and c.name not in table.primary_key
    }
