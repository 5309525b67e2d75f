"""What the catalog proves where no row can: a ceiling that is false for a token whatever the row closes the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Command
from mcp_rls.harness.facts import BindingPolicy
from mcp_rls.harness.matrix.arena import Arena
from mcp_rls.harness.matrix.principals import Principal
from mcp_rls.harness.matrix.probe import Try
from mcp_rls.harness.session import run

Place = tuple[TableName, Command]


def open_functions(arena: Arena, role: str) -> None:
    """Lets the role name the functions that policies call: a policy needs no USAGE for that, its text does."""
    if "mcp_rls" in arena.stage.catalog.schemas:
        run(arena.probe.conn, f"grant usage on schema mcp_rls to {sql.ident(role)}")


def closed_whatever_the_row(arena: Arena, principal: Principal, places: Sequence[Place]) -> Mapping[Place, str]:
    """For each place that is closed to the token, why: asked as the token, in the layer that it acts in."""
    asked: list[tuple[Place, BindingPolicy, str]] = []
    for place in places:
        reach = arena.reach(principal.role, place[0])
        for policy in arena.facts(principal.role).binding(*place) if reach.row_security else ():
            gate = policy.whatever_the_row(place[1])
            if gate is not None:
                asked.append((place, policy, gate))
    answers = arena.probe.ask(
        principal.role, principal.claims, [Try(f"select to_jsonb(({gate}) is true)") for _, _, gate in asked]
    )
    found: dict[Place, str] = {}
    for (place, policy, _), answer in zip(asked, answers, strict=True):
        if answer.found is False:
            found.setdefault(place, f'by catalog: "{policy.name}" is false for this token whatever the row')
    return found
