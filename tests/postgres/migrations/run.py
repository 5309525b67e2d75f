"""One migration carried out on a server: in steps, as a revision, by `apply`, table by table; there and back."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from mcp_rls.alembic_plugin import body, preamble, sqlalchemy_url, way_back
from mcp_rls.compiler.lower import as_before, lower
from mcp_rls.compiler.resolve import ResolvedPolicies
from mcp_rls.database import apply
from mcp_rls.database.introspect import read_catalog, read_state
from mcp_rls.database.reads import reads
from mcp_rls.database.waiting import Refused
from mcp_rls.operation import Plan
from mcp_rls.plan import plan
from mcp_rls.state import State
from mcp_rls.ways import by_table, removed
from tests.postgres.migrations.migration import Ids, Migration
from tests.postgres.migrations.observer import Looker, Seen, wider
from tests.postgres.scratch import Scratch
from tests.postgres.scratch import policies as read_policies

Settle = Callable[[], None]
Found = list[tuple[str, dict[str, str]]]  # after what, who saw more
policies = cache(read_policies)  # a file is asked for in each way, there and back

# All that a State is read from, but for the manifest: reading it costs as much as a whole plan of a small file.
_FACTS = """
select to_regclass('mcp_rls.manifest') is not null, md5(concat(
  (select string_agg(row(polname, polrelid, polcmd, polpermissive, polroles, polqual, polwithcheck)::text, '' order by polrelid, polname)
   from pg_policy),
  (select string_agg(row(c.oid, relname, relnamespace, nspname, relkind, relowner, relrowsecurity, relforcerowsecurity, relacl)::text, '' order by c.oid)
   from pg_class c join pg_namespace n on n.oid = relnamespace where c.oid >= 16384),
  (select string_agg(row(attrelid, attname, attacl)::text, '' order by attrelid, attnum) from pg_attribute where attrelid >= 16384),
  (select string_agg(p::text, '' order by oid) from pg_proc p where oid >= 16384)))
"""  # noqa: E501
_MANIFEST = "select md5(string_agg(m::text, '' order by object)) from mcp_rls.manifest m where source <> 'seen'"

# After these a look at what can be read is enough.
_NOTES = ("comment on ", "insert into mcp_rls.manifest", "delete from mcp_rls.manifest", "select mcp_rls.note(")


@dataclass
class Run:
    """A migration in a database of its own; `origin` is the state before the app's change, `start` the one after it,
    `reached` the one at the other end. `settle` lets those read who read freely.
    """

    scratch: Scratch
    case: Migration
    settle: Settle = lambda: None
    origin: State = field(init=False)
    start: State = field(init=False)
    reached: State = field(init=False)
    up: Plan = field(init=False)
    down: Plan = field(init=False)
    ends: tuple[Seen, Seen] = field(init=False)
    resolved: ResolvedPolicies | None = None  # the other end's; None where there is no file
    known: dict[Hashable, State] = field(default_factory=dict)  # by what they are read from

    # --- where it stands

    def state(self) -> State:
        """All of ours that either file could see."""
        return self._state(*(text for text in (self.case.before, self.case.after) if text is not None))

    def _state(self, *texts: str) -> State:
        """All of ours that these files see, read once for the same facts."""
        ((installed, facts),) = self.scratch.run(_FACTS)
        files = [policies(text) for text in texts]
        schemas, roles, own = (
            frozenset(n for f in files for n in names(f))
            for names in (lambda f: f.schemas, lambda f: f.acting, lambda f: f.class_roles.values())
        )
        key = (facts, self.scratch.value(_MANIFEST) if installed else "", schemas, roles, own)
        if key not in self.known:
            self.known[key] = read_state(self.scratch.connection, schemas, roles, own)
        return self.known[key]

    def planned(self) -> tuple[Plan, Plan]:
        """There and back, from where the database stands now."""
        actual, desired = self._ends_of_a_plan()
        read = reads(self.scratch.connection, read_catalog(self.scratch.connection), actual, desired)
        assert (by_table(actual, desired, read) is None) == self.case.whole, "some go table by table, and others don't"
        return plan(actual, desired), way_back(actual, desired)

    def _ends_of_a_plan(self) -> tuple[State, State]:
        if self.case.after is None or self.resolved is None:
            actual = self.state()
            return actual, removed(actual)
        actual = self._state(self.case.after)
        return actual, lower(self.resolved, actual)

    def resolve(self) -> None:
        """Compiles the other end's file for the tables as they are now."""
        if self.case.after is not None:
            prepared = apply.prepare(self.scratch.connection, policies(self.case.after), self.case.accept)
            self.resolved = prepared.resolved

    def assert_nothing_left(self) -> None:
        """Nothing is left to do at the other end, also once the app has changed its tables."""
        words = [o.words for o in plan(*self._ends_of_a_plan()).operations]
        assert words == [], words

    def assert_arrived(self) -> None:
        """The other end, the same one each time."""
        now = self.state()
        assert now.fingerprint == self.reached.fingerprint, differences(self.reached, now)

    def assert_back(self, at: State) -> None:
        """The state `at`, but for row security: it stays on, under a policy that lets everybody see what they saw."""
        now = self.state()
        kept, switches = dict(now.policies), dict(now.switches)
        for table, switch in self.reached.switches.items():
            if switch.row_security and table in switches:
                assert switches[table].row_security, f"row security of {table} went off"
        for table, before in at.switches.items():
            if not before.row_security and switches[table].row_security:
                policy = kept.pop((table, as_before(table).name))
                assert (policy.permissive, policy.command, policy.roles) == (True, "all", ("public",))
                assert (policy.using, policy.check) == ("true", "true")
                switches[table] = replace(switches[table], row_security=False)
        bare = replace(now, policies=kept, switches=switches)
        assert bare.fingerprint == at.fingerprint, differences(at, bare)

    # --- there and back

    def begin(self) -> None:
        """The database as it was, with the first file if there is one, and the app's own change."""
        self.scratch.run(self.case.schema)
        if self.case.before is not None:
            apply.install(self.scratch.connection, policies(self.case.before), self.case.accept)
        self.origin = self.start = self.state()
        if self.case.first.there:
            self.scratch.run(self.case.first.there)
            self.start = self.state()
        self.resolve()
        self.up, self.down = self.planned()
        assert self.up, "a migration has something to do"

    def in_steps(self, looking: Looker) -> None:
        """Each statement by itself, committed: between any two of them every reader looks."""
        start = looking.look()
        found = self._steps(self.up, looking, start)
        self.reached = self.state()
        self.assert_nothing_left()
        self.ends = start, looking.look()
        if self.case.last.there:
            self.scratch.run(self.case.last.there)
            self.resolve()
            self.assert_nothing_left()
            self.scratch.run(self.case.last.back)
            self.resolve()
            self.assert_arrived()
        found += self._steps(self.down, looking, self.ends[1])
        self.assert_back(self.start)
        assert looking.look() == start
        assert found == [] or self.case.between, found
        assert not self.case.between or found, "no reader saw more between two statements"

    def _steps(self, carried: Plan, looking: Looker, start: Seen) -> Found:
        """Statements after which somebody saw more than at the wider of both ends."""
        seen = []
        self.scratch.run("set search_path = pg_catalog")
        for statement in carried.statements:
            self.scratch.run(statement)
            seen.append((statement, looking.look(writes=not statement.startswith(_NOTES))))
        self.scratch.run("reset search_path")
        end = looking.look()
        return [(statement[:100], more) for statement, now in seen if (more := wider(now, start, end))]

    def as_revision(self) -> None:
        """The same text as Alembic would run it, each way in one transaction."""
        head = preamble(self.up, self.down)
        with self._connected() as connection:
            _executed(connection, head, body(self.up), {})
            self.settle()
            self.assert_arrived()
            text = body(self.down, guarded=True)
            if self.down.opens:
                with pytest.raises(CommandError):
                    _executed(connection, head, text, {})
            _executed(connection, head, text, {"mcp_rls_open": "yes"})
        self.settle()
        self.assert_back(self.start)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(sqlalchemy_url(self.scratch.url), poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            yield connection

    def by_apply(self) -> None:
        """The tool's own way, planned anew, and the way back of that plan."""
        up, self.down = self.planned()
        if self.case.after is None:
            self._carry_out(up)
        elif self.case.accept:
            apply.install(self.scratch.connection, policies(self.case.after), self.case.accept)
        else:
            apply.apply_plan(self.scratch.connection, policies(self.case.after), up)
        self.settle()
        self.assert_arrived()
        self._carry_out(self.down)
        self.settle()
        self.assert_back(self.start)

    def by_table(self, looking: Looker) -> None:
        """A transaction for each table, with a look between any two; to the same end, and back to the first file."""
        if self.case.accept or self.case.after is None:
            return  # `apply_by_table` has no word for either
        if self.case.whole:
            with pytest.raises(Refused, match="takes one transaction"):
                self._by_table(self.case.after, looking, self.ends)
            self.assert_back(self.start)
            return
        found = self._by_table(self.case.after, looking, self.ends)
        self.assert_arrived()
        found += self._back_by_table(looking)
        self.settle()
        self.assert_back(self.start)
        assert found == [], found

    def _back_by_table(self, looking: Looker) -> Found:
        """By the file of the start where that leads there and can be done table by table, else by the plan back."""
        if self.case.before is not None and self._is_way_back():
            with suppress(Refused):
                return self._by_table(self.case.before, looking, (self.ends[1], self.ends[0]))
        self._carry_out(self.down)
        return []

    def _is_way_back(self) -> bool:
        """Whether the start's file leads there: row security and FORCE stay, and it makes no `as before` again."""
        start, kept = ({p for p in s.policies.values() if p.is_as_before} for s in (self.start, self.reached))
        same = self.start.switches == self.reached.switches
        return same and start <= kept and not self.case.first.there

    def _by_table(self, text: str, looking: Looker, ends: tuple[Seen, Seen]) -> Found:
        """Steps after which somebody saw more than at the wider of both ends."""
        seen: list[tuple[str, Seen]] = []
        apply.apply_by_table(
            self.scratch.connection, policies(text), progress=lambda step: seen.append((step, looking.look()))
        )
        self.settle()
        return [(step, more) for step, now in seen if (more := wider(now, *ends))]

    def finish(self) -> None:
        """The app's change is taken back too, and all is as it was in the beginning."""
        if self.case.first.back:
            self.scratch.run(self.case.first.back)
        if self.case.unbound:
            assert self.case.before is not None
            assert self.scratch.install(self.case.before, self.case.accept), "nothing was to be mended"
        self.assert_back(self.origin)

    def _carry_out(self, carried: Plan) -> None:
        with self.scratch.connection.transaction():
            self.scratch.run("set local search_path = pg_catalog")
            for statement in carried.statements:
                self.scratch.run(statement)

    # --- what was seen

    def assert_told(self) -> None:
        """At both ends each reader saw what the case says, and the plan says what it should."""
        for reader in self.case.sessions:
            for told, end in zip(self.case.seen(reader), self.ends, strict=True):
                answers = [end[reader, query] for query in self.case.reads]
                assert frozenset().union(*(a for a in answers if isinstance(a, frozenset))) == told, reader
        for text in self.case.does:
            assert any(text in statement for statement in self.up.statements), text
        for text in self.case.never:
            assert not any(text in statement for statement in self.up.statements), text

    def allowed(self, reader: str, query: str) -> set[Ids]:
        """What a reader may see while a transaction takes it from one end to the other: one of both."""
        found = {end[reader, query] for end in self.ends}
        return {ids for ids in found if isinstance(ids, frozenset)}


def _executed(connection: sa.Connection, head: str, text: str, said: dict[str, str]) -> None:
    """A revision's body in a transaction, with what Alembic gives it."""
    program: dict[str, Any] = {}
    exec(f"{head}\n\ndef run(context):\n    {textwrap.dedent(text)}", program)
    with connection.begin():
        program["op"] = Operations(MigrationContext.configure(connection))
        program["run"](SimpleNamespace(get_x_argument=lambda as_dictionary: said))


def differences(one: State, other: State) -> list[str]:
    """Where two states differ, for a message."""
    found = []
    for name in ("functions", "policies", "switches"):
        before, after = getattr(one, name), getattr(other, name)
        for key in sorted({*before, *after}):
            parts = _parts(before.get(key)), _parts(after.get(key))
            unlike = {part for part in {*parts[0], *parts[1]} if parts[0].get(part) != parts[1].get(part)}
            found += [f"{key}: {part} {parts[0].get(part)!r}, then {parts[1].get(part)!r}" for part in sorted(unlike)]
    for name in ("privileges", "revoked", "recorded", "grants", "class_roles", "uncommented"):
        before, after = getattr(one, name), getattr(other, name)
        if before != after:
            found.append(f"{name}: lost {sorted(before - after)}, too many {sorted(after - before)}")
    return found


def _parts(value: Any) -> dict[str, Any]:
    return {} if value is None else vars(value)
