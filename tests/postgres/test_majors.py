"""The same answers on every PostgreSQL found: the usual server and each other major version on this machine."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.harness.run import run_suite
from mcp_rls.harness.suite import load_suite
from mcp_rls.resources import bundled
from tests.postgres.gate_cases import CASES, WORLDS
from tests.postgres.scratch import ANN, NOTES, Scratch, ann, helper, make_roles, scratch_on

pytestmark = pytest.mark.postgres

TEMPLATES = sorted(path.parent.name for path in bundled("policy_templates").glob("*/policies.yaml"))


@pytest.mark.parametrize("world", WORLDS)
def test_every_token_means_the_same(world, each_server):
    """Each case of the gate's tests has the same answer here."""
    with scratch_on(each_server) as scratch:
        make_roles(scratch.connection, "visitor")
        scratch.run("grant anon to visitor")
        scratch.run(WORLDS[world].schema)
        scratch.install(WORLDS[world].policies)
        wrong = {
            str(case): answer
            for case in CASES
            if case.world == world and (answer := scratch.sees(case.claims, role=case.role)) != list(case.sees)
        }
        assert wrong == {}


def test_a_second_plan_is_empty(each_scratch):
    """What one version prints is compared with what that version recorded."""
    each_scratch.run(NOTES)
    text = """
sets: {mine: {type: uuid, query: "select owner from public.notes where owner = token.person"}}
tables:
  public.notes:
    people: [{allow: [select, insert, update, delete], rows: "owner in mine or status = 'open'"}]
    clients: [{who: helper, allow: [select, update], rows: "status in ('open', 'closed')"}]
"""
    assert each_scratch.install(text)
    assert each_scratch.left(text) == []
    assert each_scratch.sees(ann()) == each_scratch.sees(helper()) == [1, 2, 3]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_cases_of_a_template_hold(name, each_scratch):
    """Whatever a template's tests promise holds on each version."""
    folder = bundled("policy_templates") / name
    wanted, _ = load_policies(folder / "policies.yaml")
    assert wanted is not None
    suite, _ = load_suite(folder / "cases.yaml", wanted)
    assert suite is not None
    each_scratch.run((folder / "schema.sql").read_text(encoding="utf-8"))
    install(each_scratch.connection, wanted)
    result = run_suite(each_scratch.connection, wanted, suite)
    assert result.exit_code == 0
    assert len(result.results) > 5


# --- the claims as text: valid JSON or not


def _value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return chance.choice([0, -1, 7, 10**12, 1.5, -0.25, 1e-7, 12345678901234567890])
    if kind == 1:
        return chance.choice([True, False, None])
    if kind < 6:
        return "".join(chance.choices('ab ":,{}[]\\/é✓\n\t0-truefalsenull😀', k=chance.randrange(6)))
    if kind == 6:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {str(_value(chance, 9)): _value(chance, depth + 1) for _ in range(chance.randrange(4))}


def _documents(chance: random.Random, count: int) -> Iterator[str]:
    """Objects as an issuer might write them."""
    for _ in range(count):
        written = {"sub": "x", "extra": _value(chance), "more": _value(chance)}
        yield json.dumps(written, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, None, 1]))


def _broken(chance: random.Random, text: str) -> str:
    """The document with a few characters changed: mostly no JSON any more, sometimes still."""
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(text) + 1)
        put = chance.choice(
            ["", "", *'"{}[],:\\ \n0123456789.eE+-tfnu', "null", "true", '""', r"\u00", r"\ud83d", "\x01", "\x7f"]
        )
        text = text[:at] + put + text[at + chance.randrange(3) :]
    return text


_READ = """
create function pg_temp.read(document text, out ours jsonb, out theirs jsonb, out error text) language plpgsql as $$
begin
  perform set_config('request.jwt.claims', document, true);
  begin theirs := document::jsonb; exception when others then null; end;
  begin ours := mcp_rls.claims(); exception when others then error := sqlerrm; end;
end $$
"""


@pytest.fixture
def reader(each_scratch: Scratch) -> Scratch:
    each_scratch.run(NOTES)
    each_scratch.install("tables: {public.notes: {clients: [{who: helper, allow: select}]}}")
    each_scratch.run(_READ)
    return each_scratch


def _read(reader: Scratch, documents: list[str]) -> list[Any]:
    """(document, whether we read an object in it, whether it is the same as PostgreSQL's, our error) of each."""
    query = """select d, (r).ours is not null, (r).ours = (r).theirs and jsonb_typeof((r).theirs) = 'object', (r).error
      from (select d, pg_temp.read(d) as r from unnest(%s::text[]) d offset 0) x"""
    return reader.connection.execute(query, (documents,)).fetchall()


def test_every_document_of_an_issuer_is_read(reader):
    """Whatever a JSON library writes, with escapes, blanks and all kinds of numbers, is the object it stands for."""
    documents = list(_documents(random.Random(1), 400))
    for document, read, same, error in _read(reader, documents):
        assert (read, same, error) == (True, True, None), document


def test_broken_documents_are_no_claims_and_no_error(reader):
    """What isn't a JSON object never raises and never counts; one that is counts as what PostgreSQL reads in it."""
    chance = random.Random(2)
    documents = [_broken(chance, d) for d in _documents(chance, 2500)]
    valid = 0
    for document, read, same, error in _read(reader, documents):
        assert error is None, document
        assert same or not read, document
        valid += read
    assert 50 < valid < len(documents) - 500


ODD = (  # what json takes and jsonb doesn't, and keys that stand there twice
    '"app": {"org": 1}, "app": {}', '"app": {"org": 1}, "app": 5', '"app": {"org": 1}, "\\u0061pp": null',
    '"app": {}, "app": {"org": 1}', '"app": {"org": 1, "org": "1"}', '"app": {"org": "1", "org": 1}',
    '"app": {"org": 1}, "x": 1e999999', '"app": {"org": 1}, "x": "\\u0000"', '"app": {"org": 1}, "x": "\\ud800"',
    *(f'"app": {{"org": {n}}}' for n in ("1", "1.0", "1e0", "10e-1", "-0", "01", '"1"', "true", "2147483648", "[1]")),
)  # fmt: skip


_THEIRS = """
create function pg_temp.theirs(document text, out person text, out org integer) language plpgsql as $$
begin
  person := document::jsonb ->> 'sub';
  if jsonb_typeof(document::jsonb #> '{app,org}') = 'number' then org := document::jsonb #>> '{app,org}'; end if;
exception when others then null;
end $$
"""


def test_odd_claims_are_what_jsonb_reads(each_scratch):
    """A claim is what the app's own policies find in it, by whichever way a major version has it read."""
    each_scratch.run(NOTES)
    each_scratch.install("""
claims: {org: {claim: app.org, type: integer}}
tables:
  public.notes:
    people: [{allow: select, rows: "owner = token.person"}]
    clients: [{who: helper, allow: select, rows: "id = token.org"}]
""")
    each_scratch.run(_THEIRS)
    found = set()
    for odd in ODD:
        text = '{"sub": "' + ANN + '", ' + odd + "}"
        with each_scratch.token(text, role="postgres") as session:
            ours = session.execute("select mcp_rls.person()::text, mcp_rls.claim_org()").fetchone()
            assert ours == session.execute("select person, org from pg_temp.theirs(%s)", (text,)).fetchone(), odd
        found.add(ours)
    assert found == {(ANN, 1), (ANN, 0), (ANN, None), (None, None)}


# --- plans that are kept, and plans that are shared out


def test_a_prepared_statement_follows_the_claims(each_scratch):
    """One plan, run for a client, its person and the client again: each has its own rows."""
    each_scratch.run(NOTES)
    each_scratch.install("tables: {public.notes: {clients: [{who: helper, allow: select, rows: \"status = 'open'\"}]}}")
    with each_scratch.token(helper()) as session:
        session.execute("set local plan_cache_mode = force_generic_plan")
        session.execute("prepare everything as select id from public.notes order by id")
        for claims, ids in ((helper(), [1, 3]), (ann(), [1, 2, 3]), (ann(client_id="x"), []), (helper(), [1, 3])):
            session.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            assert [i for (i,) in session.execute("execute everything").fetchall()] == ids
        session.execute("deallocate everything")


def test_parallel_workers_agree(each_scratch):
    """The functions are safe in a parallel plan: the same answers, malformed claims included, and no error."""
    each_scratch.run(NOTES + "insert into notes select n, null, 'open' from generate_series(4, 3000) n; analyze notes")
    each_scratch.install(
        'sets: {mine: {type: integer, query: "select id from public.notes where owner = token.person"}}\n'
        'tables: {public.notes: {clients: [{who: helper, allow: select, rows: "id in mine"}]}}'
    )
    major = each_scratch.connection.info.server_version // 10000
    force = "debug_parallel_query" if major >= 16 else "force_parallel_mode"
    settings = f"set local {force} = on; set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0; set local min_parallel_table_scan_size = 0"
    count = "select count(*) from public.notes"
    for claims, rows in ((ann(), 3000), (helper(), 2), ("{", 0), ("[" * 50_000, 0), (ann(client_id=""), 0)):
        plan = each_scratch.ask(claims, *settings.split("; "), f"explain {count}")
        assert "Gather" in str(plan)
        assert each_scratch.ask(claims, *settings.split("; "), count) == [rows]
