"""What we emit has the form that Supabase's database advisor accepts, and what it would still say is known by name."""

from __future__ import annotations

import pytest

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.inspection.read import read_facts
from mcp_rls.resources import bundled
from tests.postgres.advisor import RULES, advice
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

FOLDER = bundled("policy_templates")
TEMPLATES = sorted(path.parent.name for path in FOLDER.glob("*/policies.yaml"))
NOTES = """
create table notes (id integer primary key, owner uuid, secret text);
alter table notes enable row level security;
grant select, insert, update, delete on notes to authenticated;
create schema auth; grant usage on schema auth to authenticated;
create function auth.uid() returns uuid language sql stable set search_path = '' return gen_random_uuid();
create function auth.jwt() returns jsonb language sql stable set search_path = '' return '{}'::jsonb;
create policy own on notes for select to authenticated using (owner = (select auth.uid()));
"""
# each with the least that makes its rule speak
FAULTS = {
    "auth_rls_initplan": ("alter policy own on notes using (owner = auth.uid())", "public.notes own"),
    "multiple_permissive_policies": ("create policy more on notes using (owner is null)", "public.notes select"),
    "policy_exists_rls_disabled": ("alter table notes disable row level security", "public.notes"),
    "rls_enabled_no_policy": ("drop policy own on notes", "public.notes"),
    "rls_disabled_in_public": ("create table plans (id integer)", "public.plans"),
    "security_definer_view": ("create view v as table notes; grant select on v to authenticated", "public.v"),
    "relation_in_api": ("create materialized view m as table notes; grant select on m to public", "public.m"),
    "function_search_path_mutable": (
        "create function f() returns int language sql return 1",
        "function public.f()",
    ),
    "definer_function_executable": (
        "create function f() returns int language sql security definer set search_path = '' return 1",
        "function public.f()",
    ),
    "rls_references_user_metadata": (
        "alter policy own on notes using (((select auth.jwt()) -> 'user_metadata' ->> 'a') = 'b')",
        "public.notes own",
    ),
    "rls_policy_always_true": (
        "create policy del on notes for delete to authenticated using (true)",
        "public.notes del",
    ),
    "rls_policy_null_auth_disjunct": (
        "alter policy own on notes using ((select auth.uid()) is null or owner = (select auth.uid()))",
        "public.notes own",
    ),
    "sensitive_columns_exposed": ("alter table notes disable row level security", "public.notes secret"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_speaks(rule: object, scratch: Scratch) -> None:
    """Of a fault and its object, and not of the same table without it."""
    name = getattr(rule, "__name__", "")
    fault, found = FAULTS[name]
    scratch.run(NOTES)
    assert advice(read_facts(scratch.connection), ("authenticated",)) == set()
    scratch.run(fault)
    assert f"{name} {found}" in advice(read_facts(scratch.connection), ("authenticated",))


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_is_said_of_what_we_emit(name: str, scratch: Scratch) -> None:
    """Of what a template's policies add; but that token roles may EXECUTE definer functions, which they can't call,
    and that people are left with what they had where row security was off.
    """
    policies, _ = load_policies(FOLDER / name / "policies.yaml")
    assert policies is not None
    scratch.run((FOLDER / name / "schema.sql").read_text(encoding="utf-8"))
    before = advice(read_facts(scratch.connection), policies.roles)
    install(scratch.connection, policies)
    facts = read_facts(scratch.connection)
    ours = [f for f in facts.functions.values() if f.schema == "mcp_rls" and f.definer and f.name != "claims"]
    left = {f"rls_policy_always_true {t.name} {p.name}" for t in facts.tables.values() for p in t.policies
            if p.name.endswith("as before")}  # fmt: skip
    said = advice(facts, policies.roles) - before
    assert said == left | {f"definer_function_executable {f}" for f in ours}
    assert len(left) == {"read-only-agents": 1}.get(name, 0)
    assert not any(facts.enters(role, "mcp_rls") for role in policies.roles)
