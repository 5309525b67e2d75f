"""Hostile tokens for a suite: whatever comes near its clients' tokens, tried on its fixtures."""

from __future__ import annotations

from collections.abc import Iterable

from mcp_rls.compiler.model import PolicySet
from mcp_rls.database.introspect import read_catalog
from mcp_rls.diagnostics import Invalid
from mcp_rls.harness.check import check_suite
from mcp_rls.harness.clients import enter
from mcp_rls.harness.matrix.arena import Arena
from mcp_rls.harness.matrix.attack import Attack, Tally
from mcp_rls.harness.matrix.field import Field
from mcp_rls.harness.matrix.judge import judge
from mcp_rls.harness.matrix.layout import noted_conditions
from mcp_rls.harness.matrix.life import RowsLife, by_probe
from mcp_rls.harness.matrix.principals import Principal
from mcp_rls.harness.matrix.probe import Probe
from mcp_rls.harness.matrix.result import Hostile
from mcp_rls.harness.session import Connection
from mcp_rls.harness.stage import Stage, open_stage
from mcp_rls.harness.suite import Suite, TokenSpec
from mcp_rls.harness.token import is_client_token


def run_hostile(conn: Connection, policies: PolicySet, suite: Suite, only: Iterable[str] | None = None) -> Hostile:
    """What comes near the client tokens of a suite, tried on its fixtures, in a transaction that is rolled back.

    Raises: Invalid for what the suite names and the database lacks; CannotTest when a run would prove nothing.
    """
    catalog = read_catalog(conn)
    diagnostics = check_suite(suite, catalog)
    if diagnostics.has_errors:
        raise Invalid(diagnostics)
    tally = Tally()
    with open_stage(conn, policies, catalog, frozenset(policies.acting)) as stage:
        stage.insert_fixtures(suite.fixtures, suite.span)
        for spec in suite.tokens.values():
            if (only is None or spec.name in only) and is_client_token(policies, spec):
                _vary(stage, suite, spec, tally)
        return tally.result()


def _vary(stage: Stage, suite: Suite, spec: TokenSpec, tally: Tally) -> None:
    """Tries the variants of one token, with the rows that were brought for it."""
    policies = stage.policies
    bearer = enter(stage, spec)
    with stage.more_rows():
        probe = Probe(stage.conn, stage.covered, resolved=policies.resolved)
        life = RowsLife(by_probe(probe), policies)
        holder = judge(policies, life, bearer.claims, bearer.role)
        if not holder.live:
            return  # nothing comes near what is nothing itself
        fields = [
            Field(table, stage.snapshot(table), tuple(noted_conditions(policies, table).varied))
            for table in stage.covered
        ]
        arena = Arena(stage, probe, policies, fields)
        attack = Attack(arena, life, tally)
        people = {f"the person {name}": str(sub) for name, sub in suite.people.items() if name != spec.person}
        clients = {f"the client of {t.name}": t.client for t in suite.tokens.values() if t.client}
        base = Principal(spec.name, "", bearer.role, bearer.claims, "", holder.class_name or "")
        attack.vary(base, {**people, **clients})
        attack.settle()
        tally.tries += probe.tries
