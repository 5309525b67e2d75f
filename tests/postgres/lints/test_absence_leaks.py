"""Reads in which a missing row counts: each shows a client what its person doesn't see, is found, and then no more."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.database.server import Server
from mcp_rls.diagnostics import Invalid
from tests.postgres.lints.absence_cases import FILE, GAINS, POSITIVE, READ_AS_PERSON, SCHEMA
from tests.postgres.scratch import ANN, Answer, Claims, Scratch, ann, helper, scratch_on

pytestmark = pytest.mark.postgres

ACCEPT = frozenset({"gain-by-absence"})
INSERT = f"insert into notes values (9, '{ANN}', 'open')"
PAST = "alter function app.{} security definer set search_path = pg_catalog, pg_temp"
READABLE = "create policy readable on notes for select using (true);"
NOT_BLOCKED = GAINS["not exists"]


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """The name of a database with the schema."""
    with scratch_on(server) as made:
        made.run(SCHEMA)
        name = made.value("select current_database()")
        made.connection.close()
        yield str(name)


@pytest.fixture
def app(server: Server, template: str) -> Iterator[Scratch]:
    """A database of its own with the schema."""
    with scratch_on(server, template) as made:
        yield made


def checked(app: Scratch, text: str, folder: Path) -> list[str]:
    """The subjects of gains that `mcp-rls check FILE --database URL` finds; it fails just when there are some."""
    file = folder / "policies.yaml"
    file.write_text(text)
    ran = CliRunner().invoke(main, ["check", str(file), "--database", app.url, "--format", "json"])
    told = json.loads(ran.stdout)["diagnostics"]
    gains = [d for d in told if d["code"] == "gain-by-absence"]
    errors = [d for d in told if d["severity"] == "error" and d["code"] not in WAYS_ROUND]
    assert gains == errors, ran.output
    assert all(d["file"] == str(file) for d in gains)
    assert ran.exit_code == 1 or not gains
    return [d["subject"] for d in gains]


# the schema `app` isn't covered, and some cases go past policies: findings of their own
WAYS_ROUND = {"uncovered-table-open", "view-without-invoker", "definer-function-door", "trigger-writes-past"}


def sees(app: Scratch, claims: Claims) -> Answer:
    return app.sees(claims)


def changes(statement: str) -> Callable[[Scratch, Claims], Answer]:
    """How many rows the statement changes; none where it is refused."""

    def asked(app: Scratch, claims: Claims) -> Answer:
        answer = app.ask(claims, statement)
        return list(range(answer)) if isinstance(answer, int) else []

    return asked


def unrefused(app: Scratch, claims: Claims) -> Answer:
    """What it sees; nothing where PostgreSQL raises an error."""
    answer = app.ask(claims, "select id from notes")
    return answer if isinstance(answer, list) else []


@dataclass(frozen=True)
class Leak:
    """`found`: what is named. `fix` in the database and `fixed` in the file are the ways out of its page."""

    made: str
    found: str = "policy public.notes people"
    asked: Callable[[Scratch, Claims], Answer] = sees
    fix: str = ""
    fixed: str = READ_AS_PERSON
    file: str = FILE


def policy(condition: str) -> str:
    return f"create policy people on notes for select using ({condition});"


LEAKS = {name: Leak(policy(condition)) for name, condition in GAINS.items()} | {
    "a function that runs text": Leak(policy(GAINS["a function that runs text"]), fix=PAST.format("dynamic(integer)"), fixed=FILE),
    "a function, past row security": Leak(policy("app.free(id)"), fix=PAST.format("is_blocked(integer)"), fixed=FILE),
    "an operator, past row security": Leak(policy("operator(app.!?) id"), fix=PAST.format("free(integer)"), fixed=FILE),
    # the person has an error, of which a row that is missing makes a value
    **{
        name: Leak(policy(f"id = 1 and (select b.kind from public.blocks b where {where}) = 'seen'"), asked=unrefused)
        for name, where in {
            "a value by half a key": "b.note = notes.id",
            "a value by more than a key": "b.id >= notes.id and b.note = notes.id",
            "a value by a key or else": "b.id = 2 or b.note = notes.id",
            "a value by a key of its own": "b.id = b.id + 0 and b.note = notes.id",
            "a value by what a key becomes": "(b.id - 1) / 2 = notes.id / 2",
        }.items()
    },
    "a value by a key that another table doesn't hold to": Leak(
        "create table app.old_blocks () inherits (public.blocks); insert into app.old_blocks select id, person, note, active, day, 'seen' from blocks where id = 1;"
        + policy("id = 1 and (select b.kind from public.blocks b where b.id = notes.id) = 'seen'"),
        asked=unrefused,
    ),
    "one value of many": Leak(policy("id = 1 and (select true from public.blocks b where b.note = notes.id)"), asked=unrefused),
    "a restrictive policy": Leak(
        READABLE + f"create policy people on notes as restrictive for select using ({NOT_BLOCKED})",
    ),
    "an insert by a quota": Leak(
        READABLE + "create policy people on notes for insert with check ((select count(*) from blocks) < 3)",
        asked=changes(INSERT),
    ),
    "an insert by a quota on the table itself": Leak(
        READABLE
        + "create policy people on notes for insert with check ((select count(*) from notes n where n.owner = notes.owner) < 2);"
        "create function app.noted(person uuid) returns bigint language sql stable security definer set search_path = pg_catalog, pg_temp as 'select count(*) from public.notes where owner = person';",
        asked=changes(INSERT),
        file=FILE.replace("update, delete]", "update, delete], rows: \"status = 'open'\""),
        fixed=FILE.replace("update, delete]", "update, delete], rows: \"status = 'open'\""),
        fix="alter policy people on notes with check (app.noted(owner) < 2)",
    ),
    "an update": Leak(
        READABLE + f"create policy people on notes for update using ({NOT_BLOCKED})",
        asked=changes("update notes set status = 'closed' where id = 1"),
    ),
    "an update by its new row": Leak(
        READABLE + f"create policy people on notes for update using (true) with check ({NOT_BLOCKED})",
        asked=changes("update notes set status = 'closed' where id = 1"),
    ),
    "a delete, blindly": Leak(
        f"create policy people on notes for delete using ({NOT_BLOCKED})",
        asked=changes("delete from notes"),
    ),
    "a trigger that counts": Leak(
        "create policy readable on notes using (true);"
        """create function app.quota() returns trigger language plpgsql as $$
        begin if (select count(*) from public.blocks) >= 3 then raise 'full'; end if; return new; end $$;
        create trigger quota before insert on notes for each row execute function app.quota()""",
        found="trigger public.notes.quota",
        asked=changes(INSERT),
        fix=PAST.format("quota()"),
        fixed=FILE,
    ),
    **{
        f"a trigger that asks in WHEN, {does}": Leak(
            "create policy readable on notes using (true);"
            f"""create function app.guard() returns trigger language plpgsql as $$ begin {body} end $$;
            create trigger guard before update on notes for each row when ({when}) execute function app.guard()""",
            found="trigger public.notes.guard",
            asked=changes("update notes set status = 'closed' where id = 1"),
        )
        for does, body, when in (
            ("and raises", "raise 'blocked';", "app.is_blocked(new.id)"),
            ("and skips", "return null;", "new.id > 0 and app.is_blocked(old.id)"),
            ("through an operator", "raise 'blocked';", "not operator(app.!?) new.id"),
        )
    },
    **{
        f"a check of {what}": Leak(
            f"create policy readable on notes using (true); {made}",
            found="constraint public.notes.free",
            asked=changes(f"update notes set {'numbers = array[1]' if 'domain' in what else 'id = 1'} where id = 1"),
            fix=PAST.format("is_blocked(integer)"),
            fixed=FILE,
        )
        for what, made in (
            ("a table", "alter table notes add constraint free check (app.free(id)) not valid"),
            ("a table, by an operator", "alter table notes add constraint free check (operator(app.!?) id) not valid"),
            ("a domain", "create domain app.number as integer constraint free check (app.free(value));create domain app.numbered as app.number[];alter table notes add numbers app.numbered"),
        )
    },
    "a trigger that looks whether a row is there": Leak(
        "create policy readable on notes using (true);"
        """create function app.guard() returns trigger language plpgsql as $$
        begin if exists (select from public.blocks b where b.note = new.id and b.kind = 'hidden') then raise 'blocked'; end if; return new; end $$;
        create trigger guard before update on notes for each row execute function app.guard()""",
        found="trigger public.notes.guard",
        asked=changes("update notes set status = 'closed' where id = 1"),
    ),
    "a trigger that calls what runs text": Leak(
        "create policy readable on notes using (true);"
        """create function app.guard() returns trigger language plpgsql as $$
        begin if not app.dynamic(new.id) then raise 'blocked'; end if; return new; end $$;
        create trigger guard before update on notes for each row execute function app.guard()""",
        found="trigger public.notes.guard",
        asked=changes("update notes set status = 'closed' where id = 1"),
        fix=PAST.format("dynamic(integer)"),
        fixed=FILE,
    ),
    "a table that isn't covered and gains itself": Leak(
        f"""create table app.allowed (note integer); insert into app.allowed values (1), (2);
        alter table app.allowed enable row level security; grant select on app.allowed to authenticated;
        create policy free on app.allowed using ({NOT_BLOCKED.replace("notes.id", "allowed.note")});
        create policy people on notes for select using (exists (select from app.allowed a where a.note = notes.id))""",
        found="policy app.allowed free",
        fix="alter policy free on app.allowed using (app.free(note));" + PAST.format("is_blocked(integer)"),
        fixed=FILE,
    ),
    "a covered table, read as the person, whose policy reads one that isn't": Leak(
        """create table marks (note integer); insert into marks values (1); alter table marks enable row level security;
        grant select on marks to authenticated;
        create policy part on marks using (exists (select from blocks b where b.note = marks.note and b.kind = 'hidden'));
        create policy people on notes for select using (not exists (select from marks m where m.note = notes.id))""",
        file=FILE + "  public.marks: {clients: read_as_person}\n",
        fixed=READ_AS_PERSON + "  public.marks: {clients: read_as_person}\n",
    ),
    "a table read as the person, by the file's rule": Leak(
        """create table marks (note integer); insert into marks values (1); grant select on marks to authenticated;
        create policy people on notes for select using (not exists (select from marks m where m.note = notes.id))""",
        file=FILE + '  public.marks: {people: [{allow: select, sql: "exists (select from public.blocks b where b.note = marks.note and b.kind = \'hidden\')"}], clients: read_as_person}\n',
        fixed=READ_AS_PERSON + '  public.marks: {people: [{allow: select, sql: "exists (select from public.blocks b where b.note = marks.note and b.kind = \'hidden\')"}], clients: read_as_person}\n',
    ),
    "the file's own rule": Leak(
        "",
        found="table public.notes",
        file=FILE.replace("public.notes: {", f'public.notes: {{people: [{{allow: select, sql: "{NOT_BLOCKED}"}}], ').replace("[select, insert, update, delete]", "select"),
        fixed=READ_AS_PERSON.replace("public.notes: {", f'public.notes: {{people: [{{allow: select, sql: "{NOT_BLOCKED}"}}], ').replace("[select, insert, update, delete]", "select"),
    ),
}  # fmt: skip


def gained(app: Scratch, leak: Leak) -> set[object]:
    """What the client gets and its person, by the same claims without the client, doesn't."""
    mine, theirs = leak.asked(app, helper()), leak.asked(app, ann())
    assert isinstance(mine, list)
    assert isinstance(theirs, list)
    return set(mine) - set(theirs)


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_what_leaks_is_found_and_mended(leak: Leak, app: Scratch, tmp_path: Path) -> None:
    """The client gets what its person doesn't, `check` names the cause, `apply` refuses; after the fix nothing of it."""
    app.run(leak.made)
    assert checked(app, leak.file, tmp_path) == [leak.found]
    with pytest.raises(Invalid):
        app.prepare(leak.file)
    app.install(leak.file, ACCEPT)
    assert gained(app, leak) != set()
    assert checked(app, leak.file, tmp_path) == [leak.found]
    app.run(leak.fix)
    app.install(leak.fixed)
    assert gained(app, leak) == set()
    assert checked(app, leak.fixed, tmp_path) == []
    assert leak.asked(app, helper()) == leak.asked(app, ann()), "and it isn't shut out either"


LATER = f"""
create table app.allowed (note integer); insert into app.allowed values (1), (2), (7);
alter table app.allowed enable row level security; grant select on app.allowed to authenticated;
create policy free on app.allowed using ({NOT_BLOCKED.replace("notes.id", "allowed.note")});
"""
COVERED = (
    READ_AS_PERSON.replace("schemas: [public]", "schemas: [public, app]") + "  app.allowed: {clients: read_as_person}\n"
)


@pytest.mark.parametrize("resolved", [False, True], ids=["", "resolved"])
@pytest.mark.parametrize(
    "fix",
    [f"alter policy free on app.allowed using (app.free(note)); {PAST.format('is_blocked(integer)')}", ""],
    ids=["past row security", "covered"],
)
def test_who_sees_nothing_that_is_covered_gains_elsewhere(
    fix: str, resolved: bool, app: Scratch, tmp_path: Path
) -> None:
    """Though its clients read a table as their person: a client of no class, and a session that hasn't resolved."""
    file, fixed = (
        f"{text}resolved: {str(resolved).lower()}\n" for text in (READ_AS_PERSON, READ_AS_PERSON if fix else COVERED)
    )

    def allowed(claims: Claims) -> Answer:
        return app.ask(claims, "select note from app.allowed order by note")

    def unresolved() -> Answer:
        app.resolved = False
        answer = allowed(ann())
        app.resolved = resolved
        return answer

    stranger = {"sub": ANN, "client_id": "stranger"}
    app.run(LATER)
    assert checked(app, file, tmp_path) == ["policy app.allowed free"]
    with pytest.raises(Invalid, match=r"list app under `schemas`, and public\.blocks: \{clients: read_as_person\}"):
        app.prepare(file)
    app.install(file, ACCEPT)
    assert [allowed(ann()), allowed(helper()), allowed(stranger)] == [[2, 7], [2, 7], [1, 2, 7]]
    assert unresolved() == ([1, 2, 7] if resolved else [2, 7])
    app.run(fix)
    app.install(fixed)
    assert checked(app, fixed, tmp_path) == []
    assert [allowed(ann()), allowed(helper())] == [[2, 7], [2, 7]]
    shut_out = [2, 7] if fix else []
    assert allowed(stranger) == shut_out
    assert unresolved() == (shut_out if resolved else [2, 7])


@pytest.mark.parametrize("condition", POSITIVE.values(), ids=POSITIVE)
def test_positive_reads_are_accepted(condition: str, app: Scratch, tmp_path: Path) -> None:
    """They only narrow, and the client sees no row that its person doesn't."""
    app.run(policy(condition))
    assert checked(app, FILE, tmp_path) == []
    app.install(FILE)
    assert app.sees(ann())
    assert gained(app, Leak("")) == set()


TRIGGER = """create function app.guard() returns trigger language plpgsql as $$ begin {} return new; end $$;
create trigger guard before update on notes for each row when ({}) execute function app.guard()"""


@pytest.mark.parametrize(
    "key",
    [
        "unique (kind) deferrable", "exclude (kind with =)",
    ],
)  # fmt: skip
def test_a_key_that_may_have_two_rows_is_none(key: str, app: Scratch, tmp_path: Path) -> None:
    """What is checked at the end of the transaction only, and what PostgreSQL doesn't call unique."""
    app.run(
        "delete from blocks where id = 3;"
        + policy("(select b.person from public.blocks b where b.kind = notes.status) = owner")
    )
    for made, found in ((key, ["policy public.notes people"]), ("unique (kind)", [])):
        app.run(f"alter table blocks add constraint once {made}")
        assert checked(app, FILE, tmp_path) == found
        app.run("alter table blocks drop constraint once")


@pytest.mark.parametrize(
    "index", ["(lower(kind))", "(kind) where active", "(kind, day)", "(kind text_pattern_ops)", '(kind collate "C")']
)
def test_a_unique_index_of_something_else_is_none(index: str, app: Scratch, tmp_path: Path) -> None:
    """Of an expression, of some rows, of more columns, by another equality."""
    app.run(
        "delete from blocks where id = 3;"
        + policy("(select b.person from public.blocks b where b.kind = notes.status) = owner")
    )
    for made, found in ((index, ["policy public.notes people"]), ("(kind) include (day)", [])):
        app.run(f"create unique index once on blocks {made}")
        assert checked(app, FILE, tmp_path) == found
        app.run("drop index public.once")


@pytest.mark.parametrize(
    "made",
    [
        TRIGGER.format("raise 'not blocked';", "not app.is_blocked(new.id)"),
        TRIGGER.format("if not app.is_blocked(new.id) then raise 'not blocked'; end if;", "new.id > 0"),
        "alter table notes add constraint listed check (app.is_blocked(id)) not valid",
    ],
    ids=["WHEN", "IF", "CHECK"],
)
def test_what_refuses_by_a_missing_row_is_accepted(made: str, app: Scratch, tmp_path: Path) -> None:
    """A trigger or a constraint that wants a row to be there: the person's is, the client finds none."""
    app.run(f"create policy readable on notes using (true); {made}")
    assert checked(app, FILE, tmp_path) == []
    app.install(FILE)
    asked = changes("update notes set status = 'closed' where id = 1")
    assert asked(app, ann())
    assert asked(app, helper()) == []


@pytest.mark.parametrize("kind", ["restrictive", "permissive"])
@pytest.mark.parametrize("command", ["select", "insert", "update", "delete", "all"])
def test_policies_of_every_kind_and_command_are_read(kind: str, command: str, app: Scratch, tmp_path: Path) -> None:
    """Whatever the policy is for, and in USING as well as in WITH CHECK; not where clients have no such rule."""
    part = f"with check ({NOT_BLOCKED})" if command == "insert" else f"using ({NOT_BLOCKED})"
    app.run(f"create policy people on notes as {kind} for {command} {part}")
    assert checked(app, FILE, tmp_path) == ["policy public.notes people"]
    closed = FILE.replace("[{who: helper, allow: [select, insert, update, delete]}]", "none")
    assert checked(app, closed, tmp_path) == []


def test_one_that_is_meant_so_is_accepted_with_a_reason(app: Scratch, tmp_path: Path) -> None:
    """By its key in the file: `check` is silent then, and `apply` goes on."""
    app.run(policy(NOT_BLOCKED))
    key = '"gain-by-absence policy public.notes people"'
    for accepted in (f"accepted: {{{key}: hidden blocks are no secret}}\n", ""):
        text = FILE + accepted
        assert (checked(app, text, tmp_path) == []) is bool(accepted)
        if accepted:
            app.prepare(text)


def test_without_a_database_the_file_is_judged_alone(app: Scratch, tmp_path: Path) -> None:
    """One finding either way, at the place of the rule."""
    file, text = tmp_path / "policies.yaml", LEAKS["the file's own rule"].file
    file.write_text(text)
    for more in ([], ["--database", app.url]):
        ran = CliRunner().invoke(main, ["check", str(file), "--format", "json", *more])
        (found,) = (d for d in json.loads(ran.stdout)["diagnostics"] if d["code"] == "gain-by-absence")
        line = text.splitlines()[found["line"] - 1]
        assert line[found["column"] - 1 :].startswith("not exists")
