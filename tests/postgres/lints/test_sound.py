"""What is sound gets no finding: the shipped templates, with their policies and without, and a bare database."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.diagnostics import Severity
from mcp_rls.inspection.read import read_facts
from mcp_rls.lints import Report, World, run
from mcp_rls.resources import bundled
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

FOLDER = bundled("policy_templates")
TEMPLATES = sorted(path.name for path in FOLDER.iterdir() if (path / "policies.yaml").exists())

# These leave row security of a table to policies.yaml, so that without it the table really is open beside others.
LEFT_TO_THE_FILE: Mapping[str, tuple[str, ...]] = {
    "help-desk": ("public.invoices", "public.members"),
    "read-only-agents": ("public.announcements",),
    "self-registered-clients": ("public.events",),
}


def grave(report: Report) -> list[str]:
    return [str(d) for d in report.diagnostics if d.severity > Severity.NOTE]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_sound_with_its_policies(name: str, scratch: Scratch) -> None:
    """Before they are installed and afterwards, looked at with the file and without one; no acceptance is idle."""
    policies, _ = load_policies(FOLDER / name / "policies.yaml")
    assert policies is not None
    scratch.run((FOLDER / name / "schema.sql").read_text(encoding="utf-8"))
    before = run(World(read_facts(scratch.connection), policies), policies.accepted)
    assert (grave(before), before.unused) == ([], ())
    install(scratch.connection, policies)
    facts = read_facts(scratch.connection)
    after = run(World(facts, policies), policies.accepted)
    assert (grave(after), after.unused) == ([], ())
    assert grave(run(World(facts))) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_s_schema_is_sound(name: str, scratch: Scratch) -> None:
    """Without any policies of ours: but for tables whose row security is left to them."""
    scratch.run((FOLDER / name / "schema.sql").read_text(encoding="utf-8"))
    left = {
        f"row-security-off table {table}": "policies.yaml switches it on" for table in LEFT_TO_THE_FILE.get(name, ())
    }
    report = run(World(read_facts(scratch.connection)), left)
    assert (grave(report), report.unused) == ([], ())


@pytest.mark.parametrize("statements", ["", "create table notes (id integer primary key)"])
def test_a_database_without_policies_is_sound(statements: str, scratch: Scratch) -> None:
    """Nobody's tokens reach anything there."""
    scratch.run(statements or "select 1")
    assert run(World(read_facts(scratch.connection))).diagnostics == ()


def test_a_hundred_tables_take_no_time(scratch: Scratch) -> None:
    """All lints together, with policies that read one another and functions in them."""
    scratch.run("create function me() returns uuid language sql stable return gen_random_uuid()")
    for number in range(100):
        other = f"t{max(0, number - 1)}"
        scratch.run(
            f"create table t{number} (id integer primary key, up integer, owner uuid);"
            f"create function f{number}(x integer) returns boolean language plpgsql stable security definer as"
            f" $$ begin return exists (select from public.{other} where id = x); end $$;"
            f"alter table t{number} enable row level security;"
            f"create policy own on t{number} using (owner = me() and f{number}(id));"
            f"create policy also on t{number} using (exists (select from {other} o where o.id = up));"
            f"grant all on t{number} to authenticated"
        )
    facts = read_facts(scratch.connection)
    report = run(World(facts))
    assert len(report.diagnostics) >= 100
    assert sum(report.seconds.values()) < 15, dict(report.seconds)
