"""Coverage while it is gathered: stand-ins in each stage of a run, and after each token a look at what was noted."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler import helpers
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.model import Command, PolicySet
from mcp_rls.compiler.resolve import resolve
from mcp_rls.database.apply import state_for
from mcp_rls.diagnostics import Diagnostics, Invalid
from mcp_rls.harness.coverage import record
from mcp_rls.harness.coverage.gate import of_gate
from mcp_rls.harness.coverage.points import Point, Sighting
from mcp_rls.harness.coverage.result import Coverage
from mcp_rls.harness.coverage.rules import of_rules
from mcp_rls.harness.coverage.twins import Twins, make_twins
from mcp_rls.harness.facts import RoleFacts
from mcp_rls.harness.session import CannotTest, Connection, one_line, run
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.token import Bearer
from mcp_rls.plan import plan
from mcp_rls.state import SCHEMA


@dataclass
class Gathering:
    """Watches the stages of one policy file in one database, one after another; `result` says what they showed."""

    policies: PolicySet
    _twins: Twins | None = None
    _points: tuple[Point, ...] = ()
    _seen: set[str] = field(default_factory=set)

    def result(self) -> Coverage:
        return Coverage(self.policies.path, self._points, frozenset(self._seen))

    # --- what a stage calls

    def begin(self, stage: Stage) -> None:
        """Puts the stand-ins in place. Raises: CannotTest, Invalid."""
        facts = [stage.facts(role) for role in self.policies.acting]  # as they are without stand-ins
        try:
            twins = self._twins or self._prepare(stage, facts)
            record.require_room(stage.conn, twins.numbers)
            run(stage.conn, *record.recorder(stage.conn, self.policies.acting), *twins.statements)
        except psycopg.Error as error:
            raise CannotTest(
                f"coverage replaces the policies until its transaction is rolled back: {one_line(error)}\n"
                "hint: it takes the owner of the tables and of the schema mcp_rls, and tables that nobody else uses"
            ) from None

    def leave(self, stage: Stage, bearer: Bearer) -> None:
        """Takes down what was noted while `bearer` acted."""
        noted = record.read(stage.ask(record.notes(stage.conn)))
        live, held = self._known_to_the_gate(stage, bearer)
        stage.ask(record.forgetting(stage.conn))
        sighting = Sighting(bearer, noted, live, held)
        self._seen.update(p.key for p in self._points if p.key not in self._seen and p.shown(sighting))

    def end(self, conn: Connection) -> None:
        """Gives back what is left, once the transaction is over."""
        record.forget(conn)

    # --- how

    def _prepare(self, stage: Stage, facts: list[RoleFacts]) -> Twins:
        diagnostics = Diagnostics()
        resolved = resolve(self.policies, stage.catalog, diagnostics)
        if resolved is None or diagnostics.has_errors:
            raise Invalid(diagnostics)
        actual = state_for(stage.conn, self.policies)
        pending = plan(actual, lower(resolved, actual)).operations
        if pending:
            raise CannotTest(f"coverage is of policies in force, and the database lacks some: {pending[0].words}")
        twins = self._twins = make_twins(resolved, actual)

        def closed(table: TableName, command: Command) -> str:
            return _closed(facts, table, command)

        self._points = (*of_gate(twins), *of_rules(twins, closed))
        return twins

    def _known_to_the_gate(self, stage: Stage, bearer: Bearer) -> tuple[bool, frozenset[str]]:
        """Whether the gate takes the token for a live member of its class, and the scopes that it holds."""
        if bearer.class_name is None or bearer.identity.kind != "client":
            return False, frozenset()
        names = list(self.policies.scopes)
        asked = ", ".join(_gate(bearer, *scope) for scope in ((), *((name,) for name in names)))
        try:
            live, *held = stage.ask(f"select {asked}")[0]
        except psycopg.Error:  # nothing that could be asked; the statements of the token have told
            return False, frozenset()
        return live, frozenset(name for name, holds in zip(names, held, strict=True) if holds)


def _gate(bearer: Bearer, *scopes: str) -> str:
    """Whether the gate opens a case with these scopes for the token's class."""
    assert bearer.class_name is not None, "a member of a class"
    rules = sql.literal(helpers.json_text({bearer.class_name: [[1, *scopes]]}))
    return f"{SCHEMA}.gate({sql.literal(bearer.role)}, {rules}::jsonb) = 1"


def _closed(facts: list[RoleFacts], table: TableName, command: Command) -> str:
    """Why no token can do this whatever the ceilings say, or ''."""
    able = [f for f in facts if (reach := f.reach.get(table)) is not None and reach.may(command)]
    if not able:
        return f"no role of a token has the privilege to {command}"
    if not any(policy.permissive for f in able for policy in f.binding(table, command)):
        return f"no policy lets anybody {command}"
    return ""
