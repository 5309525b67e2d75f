"""Claims resolved once a transaction: the same verdicts, and nothing for a session that hasn't resolved its own."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from mcp_rls.alembic_plugin.wording import in_short, worth_telling
from mcp_rls.compiler.policy import load_policies, read_policies
from mcp_rls.database.apply import install
from mcp_rls.database.drift import Kind, drift
from mcp_rls.database.waiting import Refused
from mcp_rls.effect import Effect
from mcp_rls.harness.hostile import run_hostile
from mcp_rls.harness.matrix.result import Verdict
from mcp_rls.harness.matrix.run import Options, run_matrix
from mcp_rls.harness.mutation.score import Fate, mutation_score
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.suite import load_suite
from mcp_rls.report import Changes, write
from mcp_rls.resources import bundled, explanation
from tests.postgres.scratch import ANN, BOB, NOTES, Scratch, ann, document, helper, make_roles, policies, scratch_on
from tests.postgres.scratch import HEAD as PLAIN
from tests.postgres.test_class_roles import TEMPLATES, for_everybody
from tests.test_readme import blocks

pytestmark = pytest.mark.postgres

HEAD = PLAIN + 'resolved: true\nscopes: {"n:r": {text: Read}}\n'
OWN = '{allow: [select, insert, update, delete], rows: "owner = token.person"}'
RULES = f"""
tables:
  public.notes:
    people: [{OWN}]
    clients: [{{who: helper, allow: select, rows: "status = 'open'"}}]
"""
CLAIMS = "set_config('request.jwt.claims', '{}', true)"


*_, CALL, WRAPPER = blocks("sql")  # of the README


def ask(scratch: Scratch, *calls: str, query: str = "select id from notes order by id") -> list[Any]:
    """What a session is shown that has made these calls in one statement, one after the other."""
    with scratch.connection.transaction(force_rollback=True):
        scratch.connection.execute(f"select {', '.join(calls)}".encode())
        return [row[0] for row in scratch.connection.execute(query.encode()).fetchall()]


def claims(given: Any) -> str:
    return CLAIMS.format(document(given).replace("'", "''"))


def acts(role: str = "authenticated") -> str:
    return f"set_config('role', '{role}', true)"


def resolves(role: str = "authenticated") -> str:
    return f"mcp_rls.resolve('{role}')"


@pytest.mark.parametrize("class_roles", [False, True], ids=["shared roles", "class roles"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_say_the_same(name: str, class_roles: bool, server: Any, tmp_path: Path) -> None:
    """Every case of a template passes, and what tokens may do is what the file's words say, odd tokens included."""
    folder = bundled("policy_templates") / name
    more = r"\1\nresolved: true" + "\nclass_roles: true" * class_roles
    text = re.sub(r"^(roles: .*)$", more, (folder / "policies.yaml").read_text(), flags=re.MULTILINE)
    (tmp_path / "p.yaml").write_text(text)
    ours, _ = load_policies(tmp_path / "p.yaml")
    assert ours is not None
    assert (ours.resolved, bool(ours.class_roles)) == (True, class_roles)
    suite, _ = load_suite(folder / "cases.yaml", ours)
    assert suite is not None
    with scratch_on(server) as scratch:
        schema = (folder / "schema.sql").read_text()
        scratch.run(for_everybody(schema) if class_roles else schema)
        install(scratch.connection, ours)
        result = run_suite(scratch.connection, ours, suite)
        assert result.exit_code == 0, [f.message for f in result.failures[:3]]
        matrix = run_matrix(scratch.connection, ours, Options(full=True))
        assert not matrix.findings
        assert {Verdict.ALLOWED, Verdict.DENIED} <= {c.verdict for c in matrix.cells}
        hostile = run_hostile(scratch.connection, ours, suite)
        assert hostile.variants > 100
        assert not hostile.findings


def test_a_session_that_has_not_resolved_is_closed(scratch: Scratch) -> None:
    """Be it a client's or its person's own; the same claims, resolved, show the rows."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    for given, rows in ((ann(), [1, 2]), (helper(), [1])):
        assert ask(scratch, claims(given), acts()) == []
        assert ask(scratch, claims(given), resolves(), acts()) == rows


def test_the_call_that_the_readme_shows(scratch: Scratch) -> None:
    """Claims, resolving and the role in one statement, with the claims as its parameter."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    with scratch.connection.transaction(force_rollback=True):
        scratch.connection.execute(CALL.replace("$1", "%s").encode(), (document(helper()),))
        assert scratch.connection.execute("select id from notes").fetchall() == [(1,)]


def test_other_claims_close_what_was_resolved(scratch: Scratch) -> None:
    """Claims that change after resolving give nothing, neither their own person's rows nor the first one's."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    bob = {"sub": BOB, "client_id": "helper"}
    assert ask(scratch, claims(bob), resolves(), acts()) == [3]
    assert ask(scratch, claims(helper()), resolves(), claims(bob), acts()) == []
    assert ask(scratch, claims(helper()), resolves(), claims(bob), resolves(), acts()) == [3]
    assert ask(scratch, claims(ann()), resolves(), claims(None), acts()) == []


def test_other_claims_close_what_a_class_role_may(scratch: Scratch) -> None:
    """Where its role is all that a ceiling asks for, a rule that names the person still tells stale claims."""
    scratch.run(NOTES)
    head = HEAD.replace("resolved: true", "resolved: true\nclass_roles: true").replace("helper:", "settled:")
    scratch.install(head + RULES.replace("helper", "settled"))
    bob = {"sub": BOB, "client_id": "helper"}
    role = acts("mcp_settled")
    assert ask(scratch, claims(helper()), resolves("mcp_settled"), role) == [1]
    assert ask(scratch, claims(helper()), resolves("mcp_settled"), claims(bob), role) == []
    assert ask(scratch, claims(bob), role) == []


def test_a_policy_for_a_role_that_inherits_a_class_role_opens_nothing_alone(scratch: Scratch) -> None:
    """Rows that the app's own policy adds there are for who has resolved, as all others are."""
    make_roles(scratch.connection, "heir")
    scratch.run(NOTES + "create index on notes (owner); alter table notes enable row level security")
    scratch.run("create policy wide on notes to heir using (true)")
    head = HEAD.replace("resolved: true", "resolved: true\nclass_roles: true").replace("helper:", "inherited:")
    text = f"{head}tables: {{public.notes: {{people: [{OWN}], clients: [{{who: inherited, allow: [select, update, delete]}}]}}}}"
    scratch.install(text)
    scratch.run("grant mcp_inherited to heir")
    scratch.install(text)
    for query in ("select id from notes order by id", "delete from notes returning id"):
        assert ask(scratch, claims(helper()), resolves("mcp_inherited"), acts("heir"), query=query) == [1, 2, 3]
        assert ask(scratch, claims(helper()), acts("heir"), query=query) == []


def test_commands_without_a_people_rule_are_the_apps(scratch: Scratch) -> None:
    """What an app's policy lets a role do that inherits a token's role goes by no equality of people's other rules."""
    make_roles(scratch.connection, "sweeper")
    scratch.run("grant authenticated to sweeper; alter role sweeper inherit")
    scratch.run(NOTES + "alter table notes enable row level security; create index on notes (owner)")
    scratch.run("grant delete on notes to sweeper; create policy sweep on notes for delete to sweeper using (true)")
    head = HEAD.replace("resolved: true", "resolved: true\nclass_roles: true").replace("helper:", "swept:")
    people = '{allow: select, rows: "owner = token.person"}'
    scratch.install(f"{head}tables: {{public.notes: {{people: [{people}], clients: [{{who: swept, allow: select}}]}}}}")
    query = "with gone as (delete from notes returning 1) select count(*) from gone"
    blind = "delete from notes"
    assert ask(scratch, claims(ann()), resolves(), acts("sweeper")) == [1, 2]
    with scratch.connection.transaction(force_rollback=True):
        scratch.connection.execute(f"select {claims(ann())}, {resolves()}, {acts('sweeper')}".encode())
        assert scratch.connection.execute(blind.encode()).rowcount == 3
    assert ask(scratch, claims(helper()), resolves(), acts("sweeper"), query=query) == [0]


def test_a_table_that_reads_itself_takes_rows_of_who_resolved(scratch: Scratch) -> None:
    """With class roles people's policy asks for values that still count, without a sub-select in such a table."""
    scratch.run(NOTES + "create index on notes (owner)")
    scratch.run("create policy quota on notes as restrictive for insert with check ((select count(*) from notes) < 99)")
    head = HEAD.replace("resolved: true", "resolved: true\nclass_roles: true").replace("helper:", "settled:")
    scratch.install(
        f"{head}tables: {{public.notes: {{people: [{OWN}], clients: [{{who: settled, allow: [select, insert]}}]}}}}",
        accept=frozenset({"gain-by-absence"}),
    )
    insert = f"insert into notes values (9, '{ANN}', 'open') returning id"
    for given, role in ((ann(), "authenticated"), (helper(), "mcp_settled")):
        assert ask(scratch, claims(given), resolves(role), acts(role), query=insert) == [9]


MORE_THAN_NAMES = (  # what people may see, what the class may: each says more where the token says nothing
    ("true", "owner is distinct from token.person"),
    ("true", "not (id in hidden)"),
    ("true", "token.org is null or status = 'open'"),
    ("owner is distinct from token.person", "status = 'open'"),
    ("owner = token.person", "token.org is null or status = 'open'"),
)


@pytest.mark.parametrize(("people", "rows"), MORE_THAN_NAMES)
def test_a_class_role_alone_opens_nothing(people: str, rows: str, scratch: Scratch) -> None:
    """Where its role is all that a ceiling asks for, who hasn't resolved is not taken for one without values."""
    scratch.run(NOTES + f"create table public.hides (person uuid, note integer); insert into hides values ('{ANN}', 1)")
    head = HEAD.replace("resolved: true", "resolved: true\nclass_roles: true").replace("helper:", "settled:")
    query = "select note from public.hides where person = token.person"
    scratch.install(f"""{head}
claims: {{org: {{claim: org, type: integer}}}}
sets: {{hidden: {{type: integer, query: "{query}"}}}}
tables:
  public.notes:
    people: [{{allow: [select, update], rows: "{people}"}}]
    clients: [{{who: settled, allow: [select, update], rows: "{rows}"}}]
  public.hides: {{clients: none}}
""")
    given, role = helper(org=1), acts("mcp_settled")
    shown = {"true": {"not (id in hidden)": [2, 3], "token.org is null or status = 'open'": [1, 3]}}
    shown["owner = token.person"] = {"token.org is null or status = 'open'": [1]}
    for query in ("select id from notes order by id", "update notes set status = status where true returning id"):
        resolved = ask(scratch, claims(given), resolves("mcp_settled"), role, query=query)
        assert sorted(resolved) == shown.get(people, {}).get(rows, [3])
        assert ask(scratch, claims(given), role, query=query) == []
        assert ask(scratch, claims(ann()), resolves("mcp_settled"), claims(given), role, query=query) == []


def test_nothing_outlives_the_transaction(scratch: Scratch) -> None:
    """The next transaction on the connection has to resolve again, its claims set or not."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    assert ask(scratch, claims(helper()), resolves(), acts()) == [1]
    with scratch.connection.transaction():
        scratch.connection.execute(f"select {claims(helper())}, {resolves()}".encode())
    assert ask(scratch, acts()) == []
    assert ask(scratch, claims(helper()), acts()) == []
    assert ask(scratch, claims(helper()), resolves(), acts()) == [1]


@pytest.mark.parametrize("name", ["authenticate", "Authenticated", "postgres", "mcp_helper", "", None])
def test_a_role_that_the_file_does_not_name_is_refused(name: str | None, scratch: Scratch) -> None:
    """With an error that lists those it names, and nothing resolved; what was resolved before that stays as it was."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    call = f"mcp_rls.resolve({'null' if name is None else repr(name)})"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="the policy file has no role") as refused:
        ask(scratch, claims(helper()), call, acts())
    assert refused.value.diag.message_hint == "one of: authenticated, anon"
    with scratch.connection.transaction(force_rollback=True):
        for before, rows in (([], []), ([resolves()], [(1,)])):
            scratch.connection.execute(f"select {', '.join([claims(helper()), *before])}".encode())
            with pytest.raises(psycopg.errors.InvalidParameterValue), scratch.connection.transaction():
                scratch.connection.execute(f"select {call}".encode())
            with scratch.connection.transaction(force_rollback=True):
                scratch.connection.execute(f"select {acts()}".encode())
                assert scratch.connection.execute("select id from notes").fetchall() == rows


def test_each_role_that_the_file_names_resolves(scratch: Scratch) -> None:
    """A token's, a class's, and one that row security doesn't bind: it meets the call of all requests too."""
    scratch.run(NOTES)
    make_roles(scratch.connection, "keeper")
    roles = "resolved: true\nclass_roles: true\ntrusted_roles: {keeper: it keeps}"
    scratch.install(
        HEAD.replace("resolved: true", roles).replace("helper:", "settled:") + RULES.replace("helper", "settled")
    )
    for role in ("authenticated", "anon", "mcp_settled", "keeper"):
        assert ask(scratch, claims(ann()), resolves(role), acts()) == [1, 2]


def test_nobody_passes_in_the_role_that_was_resolved_for(scratch: Scratch) -> None:
    """Without claims the anonymous role is left to the people's rules; what was resolved for it counts in no other."""
    scratch.run(NOTES + "; grant select on notes to anon; create table public.news (id integer); insert into news values (1);"
                " alter table news enable row level security; create policy all_of_it on news using (true);"
                " grant select on news to anon, authenticated")  # fmt: skip
    scratch.install(HEAD + RULES + "  public.news: {clients: none}\n")
    news = "select id from news"
    for given in (None, "{}"):
        assert ask(scratch, claims(given), resolves("anon"), acts("anon"), query=news) == [1]
        assert ask(scratch, claims(given), resolves("anon"), acts(), query=news) == []
        assert ask(scratch, claims(given), resolves(), acts(), query=news) == []
        assert ask(scratch, claims(given), acts("anon"), query=news) == []
    assert ask(scratch, claims(ann()), resolves(), acts(), query=news) == [1]


def test_in_a_function_of_another_owner_what_was_resolved_counts_too(scratch: Scratch) -> None:
    """A policy that hides what such a function finds would show more, if that were closed to it."""
    make_roles(scratch.connection, "keeper")
    scratch.run(
        NOTES
        + f"""; create table public.blocks (blocker text, blocked uuid); insert into blocks values ('{ANN}', '{BOB}');
      grant authenticated to keeper; grant select on blocks to authenticated;
      alter table blocks enable row level security; alter table notes enable row level security;
      create policy own on blocks to authenticated using (blocker = current_setting('request.jwt.claims')::json ->> 'sub');
      create function public.blocked(who uuid) returns boolean stable security definer language sql
      begin atomic select exists (select from blocks where blocked = who); end;
      alter function public.blocked owner to keeper;
      create policy others on notes to authenticated using (not public.blocked(owner))"""
    )
    scratch.install(HEAD + """
doors: {public.blocked: {reason: asks for one person}}
tables:
  public.notes: {clients: [{who: helper, allow: select}]}
  public.blocks: {clients: read_as_person}
""")  # fmt: skip
    for given in (ann(), helper()):
        assert ask(scratch, claims(given), resolves(), acts()) == [1, 2]
        assert ask(scratch, claims(given), resolves(), acts(), query="select blocked from blocks") == [UUID(BOB)]
        assert ask(scratch, claims(given), acts()) == []
    assert ask(scratch, claims({"sub": BOB}), resolves(), acts()) == [1, 2, 3]


def test_a_revoked_consent_counts_from_the_next_transaction(scratch: Scratch) -> None:
    """What tables say of a client is asked when it resolves."""
    scratch.run(NOTES + f"; create table public.grants (person uuid, client text, live boolean);"
                f" insert into grants values ('{ANN}', 'helper', true)")  # fmt: skip
    consent = 'consent: {table: public.grants, columns: {person: person, client: client}, where: "live"}\n'
    head = HEAD.replace("{match: {ids: [helper]}}", "{match: {ids: [helper]}, consent: required}")
    scratch.install(head + consent + RULES + "  public.grants: {clients: none}\n")
    assert ask(scratch, claims(helper()), resolves(), acts()) == [1]
    scratch.run("update grants set live = false")
    assert ask(scratch, claims(helper()), resolves(), acts()) == []


def test_a_registry_may_ask_what_the_token_says(scratch: Scratch) -> None:
    """A set in its `where` is of the token that resolves, the first time and after another token."""
    scratch.run(NOTES + f"create table public.apps (id text); insert into apps values ('helper');"
                f" create table public.barred (person uuid, app text); insert into barred values ('{ANN}', 'helper')")  # fmt: skip
    registry = '{table: public.apps, id: id, where: "not (id in barred)"}'
    head = HEAD.replace("ids: [helper]", f"registry: {registry}")
    sets = 'sets: {barred: {type: text, query: "select app from public.barred where person = token.person"}}\n'
    scratch.install(head + sets + RULES + "  public.apps: {clients: none}\n  public.barred: {clients: none}\n")
    bob = {"sub": BOB, "client_id": "helper"}
    for before in ([], [claims(bob), resolves()], [claims(ann()), resolves()], [claims(helper()), resolves()]):
        assert ask(scratch, *before, claims(helper()), resolves(), acts()) == []
        assert ask(scratch, *before, claims(bob), resolves(), acts()) == [3]


def test_a_token_role_resolves_through_a_function_of_the_apps(scratch: Scratch) -> None:
    """PostgREST calls one as the token's role, which has no way into the schema mcp_rls and needs none."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    scratch.run(WRAPPER + "; grant execute on function public.pre_request() to authenticated")
    assert ask(scratch, claims(helper()), acts(), "public.pre_request()") == [1]
    assert ask(scratch, claims(ann()), acts(), "public.pre_request()") == [1, 2]
    assert str(scratch.ask(helper(), f"select {resolves()}")).startswith("42501 permission denied for schema mcp_rls")


def test_a_file_that_turns_to_it_and_back(scratch: Scratch) -> None:
    """The plan says it all: afterwards nothing is left to do, and the function comes and goes with the key."""
    scratch.run(NOTES)
    plain = HEAD.replace("resolved: true\n", "")
    there = "select to_regprocedure('mcp_rls.resolve(name)') is not null"
    for text, resolved in ((plain, False), (HEAD, True), (plain, False)):
        scratch.install(text + RULES)
        assert scratch.value(there) is resolved
        assert scratch.left(text + RULES) == []
        assert scratch.sees(helper()) == [1]


@pytest.mark.parametrize("way", ["on", "off"])
def test_turning_it_is_told_first(way: str, scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    """By a plan, in the refusal of a revision's way back and by `drift`: what it means for every session."""
    scratch.run(NOTES)
    plain, turned = HEAD.replace("resolved: true\n", "") + RULES, HEAD + RULES
    before, after = (plain, turned) if way == "on" else (turned, plain)
    scratch.install(before)
    word, words = ("CLOSES", "must call it") if way == "on" else ("OPENS", "need not call it")
    found = drift(scratch.connection, policies(after))
    (told,) = (f for f in found.of(Kind.PENDING) if f.object == "function mcp_rls.resolve(name)")
    assert (told.effect, words in told.words) == (Effect[word], True)
    planned = scratch.prepare(after).plan
    write("changes", "text", Changes(planned, "a database"), sys.stdout)
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{word:<7}(make|drop) function mcp_rls.resolve\(name\)", first)
    assert words in second
    rewritten = [line for line in rest if "policies are written anew and say the same: public.notes" in line]
    assert len(rewritten) == 1
    assert not any("change policy" in line for line in rest)
    assert [words in line for line in in_short(worth_telling(planned))] == [True]
    scratch.install(after)
    assert drift(scratch.connection, policies(after)).findings == ()


def test_what_opens_is_told_with_the_switch_first(scratch: Scratch) -> None:
    """A revision asks for a word before it opens anything, and tells the first few: the switch is among them."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    wider = HEAD.replace("resolved: true\n", "") + RULES.replace("status = 'open'", "id > 0")
    opens = scratch.prepare(wider).plan.opens
    assert len(opens) > 1
    assert "need not call it" in opens[0].words


def test_many_constants_of_one_shape(scratch: Scratch) -> None:
    """Conditions that differ in constants alone are picked by what was resolved."""
    scratch.run(NOTES)
    classes = ", ".join(f"c{n}: {{match: {{ids: [client-{n}]}}}}" for n in range(12))
    rules = ", ".join(f'{{who: c{n}, allow: select, rows: "id = {n}"}}' for n in range(12))
    head = HEAD.replace("classes: {helper: {match: {ids: [helper]}}}", f"classes: {{{classes}}}")
    scratch.install(f"{head}tables:\n  public.notes: {{people: [{OWN}], clients: [{rules}]}}\n")
    text = scratch.value("select pg_get_expr(polqual, polrelid) from pg_policy where polname = 'mcp_rls: notes select'")
    assert "ARRAY[" in text
    for number, rows in ((1, [1]), (2, [2]), (3, [])):
        given = {"sub": ANN, "client_id": f"client-{number}"}
        assert ask(scratch, claims(given), resolves(), acts()) == rows
        assert ask(scratch, claims(given), acts()) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_mutants_have_the_same_fate(name: str, server: Any) -> None:
    """What is wrong in a policy shows in what sessions resolve, and nothing but that."""
    folder = bundled("policy_templates") / name
    fates = {}
    for way in ("", "resolved: true"):
        text = re.sub(r"^(roles: .*)$", rf"\1\n{way}", (folder / "policies.yaml").read_text(), flags=re.MULTILINE)
        policies, _ = read_policies("policies.yaml", text)
        assert policies is not None
        suite, _ = load_suite(folder / "cases.yaml", policies)
        assert suite is not None
        with scratch_on(server) as scratch:
            scratch.run((folder / "schema.sql").read_text())
            install(scratch.connection, policies)
            score = mutation_score(scratch.connection, policies, suite, search=False)
        fates[bool(way)] = {(t.mutant.kind, t.mutant.sentence): t.fate for t in score.trials}
    assert {key: fates[True].get(key) for key in fates[False]} == fates[False]
    assert Fate.KILLED in fates[True].values()


def test_what_holds_the_function_fast_is_named(scratch: Scratch) -> None:
    """A function of the app's that is bound to it must go before the key does; nothing is changed until then."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    scratch.run(WRAPPER)
    plain = HEAD.replace("resolved: true\n", "") + RULES
    with pytest.raises(Refused, match=r"function (public\.)?pre_request\(\) depends on"):
        scratch.install(plain)
    scratch.resolved = True
    assert scratch.sees(helper()) == [1]
    scratch.run("drop function public.pre_request()")
    scratch.install(plain)
    assert scratch.sees(helper()) == [1]


def test_what_holds_the_function_fast_is_told_before(scratch: Scratch) -> None:
    """Of the app's whatever PostgreSQL would name, and of ours nothing; the page's way out holds before and after."""
    scratch.run(NOTES)
    scratch.install(HEAD + RULES)
    plain = HEAD.replace("resolved: true\n", "") + RULES
    assert not in_use(scratch, plain)
    scratch.run(WRAPPER + "; create view public.asked as select mcp_rls.resolve('anon')::text")
    assert in_use(scratch, plain) == ["function public.pre_request()", "view public.asked"]
    assert not in_use(scratch, HEAD + RULES)
    scratch.run("drop view public.asked")
    page = explanation("function-in-use") or ""
    wrong, fixed = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    scratch.run("drop function public.pre_request()")
    scratch.run(wrong)
    assert in_use(scratch, plain) == ["function public.pre_request()"]
    scratch.run(fixed)
    for text in (HEAD + RULES, plain):
        assert not in_use(scratch, text)
        scratch.install(text)
        assert ask(scratch, claims(helper()), acts(), "public.pre_request()") == [1]
        assert ask(scratch, claims(ann()), acts(), "public.pre_request()") == [1, 2]


def in_use(scratch: Scratch, text: str) -> list[str]:
    return [d.subject for d in scratch.prepare(text).diagnostics if d.code == "function-in-use"]
