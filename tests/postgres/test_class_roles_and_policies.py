"""The app's policies, rules in SQL and triggers must hold for a class role as they hold for people."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import pytest

from mcp_rls.diagnostics import Invalid
from tests.postgres.scratch import ANN, BOB, NOTES, Scratch, ann, helper
from tests.postgres.test_class_roles import head, notes

pytestmark = pytest.mark.postgres


def test_policies_of_the_app_that_name_a_role(scratch: Scratch) -> None:
    """A policy for the shared role alone would leave the class's person without it: an error, mended by PUBLIC."""
    scratch.run(
        NOTES
        + f"alter table public.notes enable row level security; create policy own on public.notes to authenticated using (owner = '{ANN}')"
    )
    file = head("bound") + "tables: {public.notes: {clients: [{who: bound, allow: select}]}}"
    with pytest.raises(Invalid) as refused:
        scratch.install(file)
    (error,) = [d for d in refused.value.diagnostics if d.severity.label == "error"]
    assert (error.code, error.span.line) == ("class-role-people", 10)
    scratch.run(f"alter policy own on public.notes to public using (owner = '{ANN}' and current_user <> 'x')")
    with pytest.raises(Invalid):
        scratch.install(file)
    scratch.run(f"alter policy own on public.notes using (owner = '{ANN}')")
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_bound") == [1, 2]
    scratch.run("alter policy own on public.notes to authenticated, mcp_bound")
    assert scratch.left(file) == []
    assert scratch.sees(helper(), role="mcp_bound") == [1, 2]


def refused(scratch: Scratch, file: str) -> list[str]:
    """The messages of `class-role-people` and `people-wider`, for which a file isn't installed; none if it is."""
    try:
        scratch.install(file)
    except Invalid as invalid:
        return [d.message for d in invalid.diagnostics if d.code in ("class-role-people", "people-wider")]
    return []


EXISTING = "tables: {{public.notes: {{clients: [{{who: {0}, allow: select}}]}}}}"


def test_a_policy_for_the_class_role_alone(scratch: Scratch) -> None:
    """One that admits more than people's is an error, beside rules for people too; one that narrows is not."""
    scratch.run(
        NOTES
        + f"""create role mcp_alone nologin; alter table public.notes enable row level security;
        create policy own on public.notes using (owner = '{ANN}'); create policy wide on public.notes to mcp_alone using (true)"""
    )
    existing, rules = head("alone") + EXISTING.format("alone"), head("alone") + notes("{who: alone, allow: select}")
    (message,) = refused(scratch, existing)
    assert message.startswith('policy "wide" of table "public.notes" is for mcp_alone: a session in a class role')
    scratch.run("drop policy own on public.notes")
    assert refused(scratch, rules) == ['policy "wide" of table "public.notes" would add its rows to these rules']
    scratch.run(
        f"create policy own on public.notes using (owner = '{ANN}'); drop policy wide on public.notes;"
        "create policy less on public.notes as restrictive to mcp_alone using (id < 2)"
    )
    assert refused(scratch, existing) == []
    assert scratch.sees(ann()) == [1, 2]
    assert scratch.sees(helper(), role="mcp_alone") == [1]
    scratch.run("drop owned by mcp_alone; drop role mcp_alone")


def test_a_policy_for_a_role_that_people_inherit(scratch: Scratch) -> None:
    """It binds people and not the class role, which is a member of nothing: an error until it is for that too."""
    scratch.run(
        NOTES
        + f"""create role everyone nologin; grant everyone to authenticated; alter table public.notes enable row level security;
        create policy own on public.notes using (true); create policy less on public.notes as restrictive to everyone using (owner = '{ANN}')"""
    )
    file = head("heir") + EXISTING.format("heir")
    (message,) = refused(scratch, file)
    assert message.startswith('policy "less" of table "public.notes" is for everyone:')
    scratch.run("create role mcp_heir nologin; alter policy less on public.notes to everyone, mcp_heir")
    assert refused(scratch, file) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_heir") == [1, 2]
    scratch.run("drop owned by mcp_heir, everyone; drop role mcp_heir, everyone")


def test_a_policy_that_asks_for_the_role_in_a_function(scratch: Scratch) -> None:
    """What the function reads counts, also through another; one that reads claims is fine."""
    scratch.run(
        NOTES
        + f"""create function public.web() returns boolean language sql stable as $$ select current_user = 'authenticated' $$;
        create function public.bound() returns boolean language plpgsql stable as $$ begin return public.web(); end $$;
        alter table public.notes enable row level security;
        create policy own on public.notes using (not public.bound() or owner = '{ANN}')"""
    )
    file = head("asked") + EXISTING.format("asked")
    (message,) = refused(scratch, file)
    assert message.startswith('policy "own" of table "public.notes" reads current_user in public.web():')
    scratch.run(
        "create or replace function public.web() returns boolean language sql stable as"
        " $$ select current_setting('request.jwt.claims', true) <> '' $$"
    )
    assert refused(scratch, file) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_asked") == [1, 2]


def test_a_policy_of_a_table_that_is_not_covered(scratch: Scratch) -> None:
    """What a policy reads there must be the same rows for the class: fewer could admit more."""
    scratch.run(
        NOTES
        + f"""create schema far; create table far.blocks (owner uuid); insert into far.blocks values ('{BOB}');
        grant usage on schema far to public; grant select on far.blocks to public; alter table far.blocks enable row level security;
        create policy web on far.blocks to authenticated using (true); alter table public.notes enable row level security;
        create policy own on public.notes using (not exists (select from far.blocks b where b.owner = notes.owner))"""
    )
    file = head("away") + EXISTING.format("away")
    (message,) = refused(scratch, file)
    assert message.startswith('policy "web" of table "far.blocks" is for authenticated:')
    scratch.run("alter policy web on far.blocks to public")
    assert refused(scratch, file) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_away") == [1, 2]


def test_a_rule_for_people_in_sql_that_asks_for_the_role(scratch: Scratch) -> None:
    """It is for the class role too, and would say another thing there."""
    scratch.run(NOTES)
    rule = "[{allow: select, sql: \"owner = mcp_rls.person() or current_user <> 'authenticated'\"}]"
    file = head("sqlrole") + notes("{who: sqlrole, allow: select}", people=rule)
    (message,) = refused(scratch, file)
    assert message.startswith("this reads current_user:")
    assert refused(scratch, file.replace("owner = mcp_rls.person() or current_user <> 'authenticated'", "id < 2")) == []
    assert scratch.sees(ann()) == scratch.sees(helper(), role="mcp_sqlrole") == [1]


def test_a_trigger_that_asks_for_the_role(scratch: Scratch) -> None:
    """A warning: it may limit people and not the class. In a function that runs as its owner the role is the owner."""
    trigger = """create or replace function public.stop() returns trigger language plpgsql {0} as
        $$ begin if current_user = 'authenticated' then raise exception 'no'; end if; return new; end $$;"""
    scratch.run(
        NOTES
        + trigger.format("")
        + "create trigger t before update on public.notes for each row execute function public.stop()"
    )
    file = head("fired") + notes("{who: fired, allow: [select, update]}")

    def warned() -> list[str]:
        return [d.message for d in scratch.prepare(file).diagnostics if d.code == "class-role-trigger"]

    assert warned() == [
        'trigger "t" of table "public.notes" reads current_user in public.stop(): in a class role that is another'
    ]
    scratch.run(trigger.format("security definer"))
    assert warned() == []
