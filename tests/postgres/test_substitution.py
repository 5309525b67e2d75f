"""Equality substitution: hostile SQL can't have a policy's `column = value` tested on another expression.

PostgreSQL's planner puts equalities that must all hold into classes, a policy's with the query's own, and may then test
once that the token's value equals the query's expression, and each row by that expression alone. A STABLE function of
the caller whose value changes between the two lets other rows through. Claims stay fixed all the while.
"""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import itertools

import pytest

from mcp_rls.diagnostics import Invalid
from tests.postgres.scratch import ANN, BOB, HEAD, Scratch, ann, helper

pytestmark = pytest.mark.postgres

SCHEMA = f"""
create table public.notes (id integer primary key, owner uuid not null, org integer not null, status text not null);
insert into public.notes
  select n, case when n % 2 = 0 then '{ANN}'::uuid else '{BOB}'::uuid end, n % 2, 'open' from generate_series(1, 20) n;
create index on public.notes (owner);
create index on public.notes (org);
grant select, insert, update, delete on public.notes to authenticated;
create function public.turn() returns integer language plpgsql as $$
begin
  perform set_config('attack.calls', (current_setting('attack.calls')::integer + 1)::text, true);
  return current_setting('attack.calls')::integer - current_setting('attack.turn')::integer;
end $$;
create function public.flip() returns uuid language plpgsql stable as $$
begin return case when public.turn() <= 0 then '{ANN}'::uuid else '{BOB}'::uuid end; end $$;
create function public.flip_org() returns integer language plpgsql stable as $$
begin return case when public.turn() <= 0 then 0 else 1 end; end $$;
"""
STATEMENTS = {
    "select": "select owner from notes where {0}",
    "delete": "delete from notes where {0} returning owner",
    "update": "update notes set status = 'taken' where {0} returning owner",
    "for update": "select owner from notes where {0} for update",
}
SCANS = ("index", "bitmap", "seq")
TURNS = range(7)  # after how many calls the function turns; planning makes some of them


def leaks(
    scratch: Scratch,
    claims: dict[str, str],
    *statements: str,
    test: str = "owner = flip()",
    role: str = "authenticated",
) -> set[str]:
    """The statements by which Ann's session reached a row of Bob's, whenever the function turned and on any path."""
    found = set()
    for name, scan, turn in itertools.product(statements or STATEMENTS, SCANS, TURNS):
        settings = [("attack.calls", "0"), ("attack.turn", turn), *((f"enable_{s}scan", s == scan) for s in SCANS)]
        state = "select " + ", ".join(f"set_config('{key}', '{value}', true)" for key, value in settings)
        answer = scratch.ask(claims, state, STATEMENTS[name].format(test), role=role)
        # an UPDATE may be stopped by the check of its new row
        assert isinstance(answer, list) or (name == "update" and str(answer).startswith("42501 new row")), answer
        if isinstance(answer, list) and BOB in map(str, answer):
            found.add(name)
    return found


def test_the_attack_works_on_this_server(each_scratch):
    """A plain equality in a policy lets it through: the tests below would see a leak of ours."""
    each_scratch.run(
        SCHEMA + "alter table notes enable row level security; create policy plain on notes to authenticated"
        " using (owner = (select (current_setting('request.jwt.claims')::jsonb ->> 'sub')::uuid))"
    )
    for test in ("owner = flip()", "flip() = owner"):
        assert leaks(each_scratch, ann(), test=test) >= {"select", "delete"}


# ways to write that a row is the token's own; each condition of a case is a rule of its own
OWN = {
    "an equality": ("owner = token.person",),
    "the other way round": ("token.person = owner",),
    "and something else": ("owner = token.person and status = 'open'",),
    "rules with a common part": ("owner = token.person and status = 'open'", "owner = token.person and status = 'draft'"),
    "a common part within one rule": ("(owner = token.person and status = 'open') or (status <> 'open' and owner = token.person)",),
    "an OR that folds away": ("owner = token.person or 1 = 2",),
    "rules, of which one folds away": ("owner = token.person", "1 = 2 and status = 'x'"),
    "not unequal": ("not (owner <> token.person)",),
    "neither closed nor unequal": ("not (status = 'closed' or owner <> token.person)",),
    "not not": ("not (not (owner = token.person))",),
    "equal to true": ("(owner = token.person) = true",),
    "not equal to false": ("(owner = token.person) <> false",),
    "cast to boolean": ("(owner = token.person)::boolean",),
    "in a list of true": ("(owner = token.person) in (true)",),
    "in a list of truth": ("(owner = token.person) in (true, true)",),
    "not in a list of false": ("not ((owner = token.person) in (false))",),
    "any of true": ("(owner = token.person) = any (array[true])",),
    "true in a list of it": ("true in ((owner = token.person))",),
    "coalesced": ("coalesce((owner = token.person), false)",),
    "coalesced with nothing": ("coalesce((owner = token.person))",),
    "at most": ("(owner = token.person) >= true",),
    "an array of it": ("array[(owner = token.person)] = array[true]",),
    "not less": ("not ((owner = token.person) < true)",),
    "one of nothing else": ("not (not (owner = token.person) or status is null)",),
    "null or it": ("null or owner = token.person",),
    "is true": ("(owner = token.person) is true",),
    "is not false": ("(owner = token.person) is not false",),
    "is not distinct": ("owner is not distinct from token.person",),
    "not distinct": ("not (owner is distinct from token.person)",),
    "in a list of one": ("owner in (token.person)",),
    "in a list": ("owner in (token.person, token.person)",),
    "not in no other": ("not (owner not in (token.person))",),
    "any": ("owner = any (array[token.person])",),
    "coalesce": ("owner = coalesce(token.person, token.person)",),
    "between": ("owner between token.person and token.person",),
    "as text": ("owner::text = token.person::text",),
    "in a set": ("owner in me",),
    "two equalities": ("owner = token.person and org = token.org",),
    "columns equal": ("org = id % 2 and owner = token.person",),
}  # fmt: skip
EXTRA = """
claims: {org: {claim: org, type: integer}}
sets: {me: {type: uuid, query: "select token.person"}}
"""


def install_people(scratch: Scratch, rules: tuple[str, ...], clients: str = "", way: str = "") -> None:
    people = "".join(f'      - {{allow: [select, delete], rows: "{rule}"}}\n' for rule in rules)
    people += f'      - {{allow: update, rows: "{rules[0]}", check: "id is not null"}}\n'
    scratch.install(HEAD + way + EXTRA + f"tables:\n  public.notes:\n    people:\n{people}{clients}")


@pytest.mark.parametrize("rules", OWN.values(), ids=OWN)
def test_people_rules_hold(rules, scratch):
    """However a rule says whose the row is, direct sessions reach their own rows alone."""
    scratch.run(SCHEMA)
    install_people(scratch, rules)
    claims = {**ann(), "org": 0}
    assert len(scratch.sees(claims)) == 10
    assert leaks(scratch, claims, "select", "delete") == set()


@pytest.mark.parametrize("way", ["", "resolved: true\n", "class_roles: true\n", "class_roles: true\nresolved: true\n"])
@pytest.mark.parametrize("rule", ["owner = token.person", "not (owner <> token.person)", "owner in (token.person)"])
def test_people_rules_hold_in_every_statement_way_and_version(rule, way, each_scratch):
    """SELECT, FOR UPDATE, UPDATE and DELETE, through a client that may do all that its person may, too."""
    each_scratch.run(SCHEMA)
    install_people(each_scratch, (rule,), "    clients: [{who: helper, allow: [select, update, delete]}]\n", way)
    client = "mcp_helper" if "class_roles" in way else "authenticated"
    each_scratch.run(f"grant execute on function flip(), turn() to {client}")
    for claims, role in (({**ann(), "org": 0}, "authenticated"), ({**helper(), "org": 0}, client)):
        assert len(each_scratch.sees(claims, role=role)) == 10
        assert leaks(each_scratch, claims, role=role) == set()


@pytest.mark.parametrize("way", ["", "resolved: true\n", "class_roles: true\n", "class_roles: true\nresolved: true\n"])
@pytest.mark.parametrize("statement", ["delete from own", "update own set status = 'taken'"])
def test_a_view_of_the_sessions_own_hides_its_condition_from_no_policy(statement, way, each_scratch):
    """A write that names no column of a view meets no SELECT policy, though the view's own condition reads one."""
    each_scratch.run(SCHEMA)
    install_people(
        each_scratch, ("owner = token.person",), "    clients: [{who: helper, allow: [select, update, delete]}]\n", way
    )
    client = "mcp_helper" if "class_roles" in way else "authenticated"
    each_scratch.run(f"grant execute on function flip(), turn() to {client}")
    view = "create temporary view own with (security_invoker) as select * from public.notes where owner = public.flip()"
    count = "select owner::text, count(*) filter (where status = 'open') from notes group by 1 order by 1"
    for (claims, role), scan, turn in itertools.product(
        (({**ann(), "org": 0}, "authenticated"), ({**helper(), "org": 0}, client)), SCANS, TURNS
    ):
        state = [("attack.calls", "0"), ("attack.turn", turn), *((f"enable_{s}scan", s == scan) for s in SCANS)]
        with each_scratch.token(claims, role) as session:
            session.execute(view.encode())
            session.execute(
                ("select " + ", ".join(f"set_config('{key}', '{value}', true)" for key, value in state)).encode()
            )
            reached = session.execute(statement.encode()).rowcount
            session.execute(b"reset role")
            left = dict(session.execute(count.encode()).fetchall())
        assert (left[BOB], reached) == (10, 10 - left.get(ANN, 0)), (scan, turn)


@pytest.mark.parametrize("rule", ["owner = token.person", "owner = token.person or 1 = 2"])
def test_ceilings_hold(rule, each_scratch):
    """A client whose rule says that the rows are its person's reaches no others, though the person reaches all."""
    each_scratch.run(SCHEMA)
    each_scratch.install(
        HEAD
        + EXTRA
        + f'tables: {{public.notes: {{clients: [{{who: helper, allow: [select, update, delete], rows: "{rule}"}}]}}}}'
    )
    assert len(each_scratch.sees(ann())) == 20
    claims = {**helper(), "org": 0}
    assert len(each_scratch.sees(claims)) == 10
    assert leaks(each_scratch, claims) == set()


@pytest.mark.parametrize("rule", ["org = token.org", "org + 0 = token.org", "org <> 1 and not (org <> token.org)"])
def test_other_claims_hold_too(rule, scratch):
    """Not only the person: a number that a claim carries, also where the column is computed with."""
    scratch.run(SCHEMA)
    install_people(scratch, (rule,))
    claims = {**ann(), "org": 0}
    assert len(scratch.sees(claims)) == 10
    assert leaks(scratch, claims, "select", "delete", test="flip_org() = org") == set()


@pytest.mark.parametrize("way", ["", "resolved: true\n", "class_roles: true\n", "class_roles: true\nresolved: true\n"])
@pytest.mark.parametrize("collation", ["C", "POSIX", "default"])
def test_text_is_compared_as_its_column_says(collation, way, each_scratch):
    """What a ceiling repeats takes the column's collation, not that of the role's name, which it is asked with."""
    each_scratch.run(f'{SCHEMA} alter table notes alter status type text collate "{collation}"')
    rule = "{allow: [select, update, delete], rows: status = token.status}"
    each_scratch.install(
        f"{HEAD}{way}claims: {{status: {{claim: status, type: text}}}}\n"
        f"tables: {{public.notes: {{people: [{rule}], clients: [{{who: helper, allow: [select, update, delete]}}]}}}}"
    )
    client = "mcp_helper" if "class_roles" in way else "authenticated"
    for claims, role in ((ann(), "authenticated"), (helper(), client)):
        assert len(each_scratch.sees({**claims, "status": "open"}, role=role)) == 20
        assert each_scratch.sees({**claims, "status": "closed"}, role=role) == []


@pytest.mark.parametrize("rule", ["owner = token.person", "owner in (token.person)", "not (owner <> token.person)"])
def test_a_table_that_reads_itself_holds(rule, scratch):
    """There the token's value stands bare in the policy, without a sub-select."""
    scratch.run(
        SCHEMA + "create policy quota on notes as restrictive for insert with check ((select count(*) from notes) < 99)"
    )
    people = f'{{allow: [select, update, delete], rows: "{rule}"}}'
    scratch.install(
        HEAD
        + EXTRA
        + f"tables: {{public.notes: {{people: [{people}], clients: [{{who: helper, allow: [select, update, delete]}}]}}}}",
        accept=frozenset({"gain-by-absence"}),
    )
    for claims in (ann(), helper()):
        assert len(scratch.sees(claims)) == 10
        assert leaks(scratch, claims, "select", "delete") == set()


@pytest.mark.parametrize("rule", ["owner = token.person", "owner in me", "owner = token.person and status = 'open'"])
@pytest.mark.parametrize("clients", ["", ", rows: \"status <> 'spam'\""])
def test_the_index_serves(rule, clients, scratch):
    """A large table is read by the person's index, for the person and for a client, and not row by row."""
    scratch.run(
        SCHEMA
        + "insert into notes select n, md5(n::text)::uuid, n, 'open' from generate_series(100, 20000) n; analyze notes"
    )
    scratch.install(
        HEAD + EXTRA + f'tables: {{public.notes: {{people: [{{allow: [select, delete], rows: "{rule}"}}],'
        f" clients: [{{who: helper, allow: [select, delete]{clients}}}]}}}}"
    )
    for claims in (ann(), helper()):
        assert len(scratch.sees(claims)) == 10
        for statement in ("select * from notes", "delete from notes", "select count(*) from notes"):
            plan = "\n".join(map(str, scratch.ask(claims, f"explain (costs off) {statement}")))
            assert "notes_owner_idx" in plan, plan
            assert "Seq Scan" not in plan, plan


def test_policies_of_the_file_are_what_was_attacked(scratch):
    """The people policies in these tests are ours and the only permissive ones."""
    scratch.run(SCHEMA)
    install_people(scratch, OWN["an equality"])
    names = {row[0] for row in scratch.run("select policyname from pg_policies where permissive = 'PERMISSIVE'")}
    assert names == {"mcp_rls: notes people select", "mcp_rls: notes people delete", "mcp_rls: notes people update"}
    scratch.run("create policy mine on notes using (true)")
    with pytest.raises(Invalid, match="people-wider"):
        scratch.prepare(HEAD + 'tables: {public.notes: {people: [{allow: select, rows: "owner = token.person"}]}}')
