"""What we emit is held to our own lints, as if somebody had written it by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from mcp_rls import sql
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import World, key_of, lints
from mcp_rls.resources import bundled
from tests.postgres.plans import WAYS, template
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

TEMPLATES = sorted(path.parent.name for path in bundled("policy_templates").glob("*/policies.yaml"))
# What an unlisted table showed before stays for whom it was.
ARGUED: Mapping[str, tuple[str, ...]] = {
    "read-only-agents": ("to-public policy public.announcements by hand announcements as before",),
}


def by_hand(scratch: Scratch) -> None:
    """Nothing is ours any more: other names for the policies and the schema, also in the text of the functions."""
    policies = "select polname, polrelid::regclass::text from pg_policy where polname like 'mcp_rls: %'"
    for name, table in scratch.run(policies):
        new = name.replace("mcp_rls: ", "by hand ")
        scratch.run(f"alter policy {sql.ident(name)} on {table} rename to {sql.ident(new)}")
    scratch.run("alter schema mcp_rls rename to hand; set check_function_bodies = off")
    functions = "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'hand'::regnamespace"
    for (text,) in scratch.run(functions):
        scratch.run(re.sub(r"\bmcp_rls\.", "hand.", text))
    scratch.run("set check_function_bodies = on")


def found(scratch: Scratch) -> set[str]:
    """The keys of all errors and warnings, without a policy file."""
    world = World(read_facts(scratch.connection))
    serious = [lint for lint in lints().values() if lint.severity > Severity.NOTE]
    return {key_of(lint, each) for lint in serious for each in lint.find(world)}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_we_emit_is_clean(name: str, way: str, scratch: Scratch) -> None:
    """No error and no warning comes with it, but for what is argued; the app's own policies are there before."""
    with template(name, scratch, way=way):
        theirs = found(scratch)
    by_hand(scratch)
    assert sorted(found(scratch) - theirs) == sorted(ARGUED.get(name, ()))


def test_what_we_emit_is_looked_at(scratch: Scratch) -> None:
    """A ceiling, and a function of ours, with one thing wrong in each is found."""
    with template("help-desk", scratch):
        theirs = found(scratch)
    by_hand(scratch)
    ((name, using),) = scratch.run(
        "select polname, pg_get_expr(polqual, polrelid) from pg_policy where not polpermissive and polcmd = 'r'"
        " and polrelid = 'public.tickets'::regclass"
    )
    scratch.run(f"alter policy {sql.ident(name)} on tickets using (({using}) and org_id <> null)")
    scratch.run("alter function hand.claims() volatile")
    assert {key.split()[0] for key in found(scratch) - theirs} == {"null-trap", "helper-volatile"}
