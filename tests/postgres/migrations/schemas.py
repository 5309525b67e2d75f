"""Migrations in which the tables differ: names of every kind, tables that come and go, partitions, views, grants, and
policies of the app's own.
"""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from tests.postgres.migrations.migration import (
    NOTES,
    OWN_POLICIES,
    Change,
    Migration,
    clients,
    file,
    notes,
    people,
    rule,
)
from tests.postgres.scratch import ANN

ALL = ("1 2 3 4", "1 2 3 4")
EVERYTHING = ("1 2 3 4", "")  # of a stranger, before anything is installed
LONG = "t" * 63
BY_NAME = "the manifest names tables: what is there under another name is not what was recorded, and is written anew"


def table(name: str, first: int, columns: str = "id integer, kind text") -> str:
    """A table with two rows, `first` of kind a and the next of kind b."""
    return f"create table {name} ({columns}); insert into {name} values ({first}, 'a'), ({first + 1}, 'b'); grant select, delete on {name} to authenticated;\n"


A, B = rule("kind = 'a'"), rule("kind = 'b'")

NAMES = (
    Migration(
        "names in mixed case and with blanks",
        file('{\'"My App"."Open Notes"\': ' + clients(rule('"Kind Of" = \'a\'')) + "}", schemas='["My App"]'),
        file('{\'"My App"."Open Notes"\': ' + clients(rule('"Kind Of" = \'b\'')) + "}", schemas='["My App"]'),
        {"helper": ("1", "2"), "ann": ("1 2", "1 2")},
        schema='create schema "My App"; grant usage on schema "My App" to authenticated;' + table('"My App"."Open Notes"', 1, '"Id" integer, "Kind Of" text'),
        tables=('"My App"."Open Notes"',),
        key='"Id"',
    ),
    Migration(
        "a name with what quotes",
        file(r"""{'public."a""b''c:d %s\e$$"': """ + clients(A) + "}"),
        file(r"""{'public."a""b''c:d %s\e$$"': """ + clients(B, people=people("true")) + "}"),
        {"helper": ("1", "2"), "ann": ("1 2", "1 2")},
        schema=table(r"""public."a""b'c:d %s\e$$" """, 1),
        tables=(r"""public."a""b'c:d %s\e$$" """,),
    ),
    Migration(
        "a name of 63 bytes",
        file(f"{{public.{LONG}: {clients(A)}}}"),
        file(f"{{public.{LONG}: {clients(B, people=people('true'))}}}"),
        {"helper": ("1", "2"), "ann": ("1 2", "1 2")},
        schema=table(f"public.{LONG}", 1),
        tables=(f"public.{LONG}",),
    ),
    Migration(
        "two names of 63 bytes that differ in the last",
        file(f"{{public.{LONG[1:]}a: {clients(A)}}}"),
        file(f"{{public.{LONG[1:]}b: {clients(A)}}}"),
        {"helper": ("1", "3"), "ann": ("1 2 3 4", "1 2 3 4")},
        schema=table(f"public.{LONG[1:]}a", 1) + table(f"public.{LONG[1:]}b", 3),
        tables=(f"public.{LONG[1:]}a", f"public.{LONG[1:]}b",),
    ),
    Migration(
        "a name that is a word of SQL",
        file('{\'public."select"\': ' + clients(rule('"user" = \'a\'')) + "}"),
        file('{\'public."select"\': ' + clients(rule('"user" in (\'a\', \'b\')')) + "}"),
        {"helper": ("1", "1 2"), "ann": ("1 2", "1 2")},
        schema=table('public."select"', 1, 'id integer, "user" text'),
        tables=('public."select"',),
    ),
)  # fmt: skip

COLUMNS = (
    Migration(
        "a new column and the rule that uses it",
        notes(rule("status = 'open'")),
        notes(rule("status = 'open' and not private")),
        {"helper": ("1 3", "1"), "ann": ALL},
        first=Change("alter table public.notes add private boolean not null default false; update public.notes set private = true where id = 3", "alter table public.notes drop private"),
    ),
    Migration(
        "a column that goes, and the rule without it",
        notes(rule("status = 'open' and rank > 1")),
        notes(rule("status = 'open'")),
        {"helper": ("3", "1 3"), "ann": ALL},
        last=Change("alter table public.notes drop rank", "alter table public.notes add rank integer; update public.notes set rank = id"),
    ),
    Migration(
        "a column's type changes once no rule reads it",
        notes(rule("status = 'open' and rank > 1")),
        notes(rule("status = 'open'")),
        {"helper": ("3", "1 3"), "ann": ALL},
        last=Change("alter table public.notes alter rank type numeric", "alter table public.notes alter rank type integer"),
    ),
    Migration(
        "a column's type changes before a rule reads it",
        notes(rule("status = 'open'")),
        notes(rule("status = 'open' and rank = '3'")),
        {"helper": ("1 3", "3"), "ann": ALL},
        first=Change("alter table public.notes alter rank type text", "alter table public.notes alter rank type integer using rank::integer"),
    ),
    Migration(
        "clients may read nothing any more",
        file("{public.notes: {clients: read_as_person}}"),
        file("{public.notes: {clients: none}}"),
        {"helper": ("1 2 3 4", ""), "ann": ("1 2 3 4", "1 2 3 4")},
        does=("create policy", "drop policy"),
    ),
    Migration(
        "a column is renamed under its rule",
        notes(rule("status = 'open'")),
        notes(rule("state = 'open'")),
        {"helper": ("1 3", "1 3"), "ann": ALL},
        first=Change("alter table public.notes rename status to state", "alter table public.notes rename state to status"),
    ),
    Migration(
        "a column is renamed, and its rule changes",
        notes(rule("status = 'open'"), people=people("owner = token.person")),
        notes(rule("state = 'closed'"), people=people("owner = token.person")),
        {"helper": ("1", "2"), "ann": ("1 2 4", "1 2 4")},
        first=Change("alter table public.notes rename status to state", "alter table public.notes rename state to status"),
    ),
)  # fmt: skip

TABLES = (
    Migration(
        "a new table with rules",
        notes(rule("id = 1")),
        file(f"{{public.notes: {clients(rule('id = 1'))}, public.tags: {clients(A, people=people('true'))}}}"),
        {"stranger": ("5 6", ""), "helper": ("1 5 6", "1 5"), "ann": ("1 2 3 4 5 6", "1 2 3 4 5 6")},
        first=Change(table("public.tags", 5), "drop table public.tags"),
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "a new table that the file doesn't list",
        notes(rule("id = 1")),
        notes(rule("id = 1")),
        {"stranger": ("5 6", ""), "helper": ("1 5 6", "1"), "ann": ("1 2 3 4 5 6", "1 2 3 4 5 6")},
        first=Change(table("public.tags", 5), "drop table public.tags"),
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "a table that is dropped",
        file(f"{{public.notes: {clients(rule('id = 1'))}, public.tags: {clients(A, people=people('true'))}}}"),
        notes(rule("id = 1")),
        {"helper": ("1", "1"), "ann": ALL},
        schema=NOTES + table("public.tags", 5),
        first=Change("drop table public.tags", table("public.tags", 5)),
        unbound="a table that is made anew has no policies until the next plan",
        does=("delete from mcp_rls.manifest",),
    ),
    Migration(
        "a table is listed no more",
        file(f"{{public.notes: {clients(rule('id = 1'))}, public.tags: {clients(A)}}}"),
        notes(rule("id = 1")),
        {"helper": ("1 5", "1"), "ann": ("1 2 3 4 5 6", "1 2 3 4 5 6")},
        schema=NOTES + table("public.tags", 5),
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "a table is listed",
        notes(rule("id = 1")),
        file(f"{{public.notes: {clients(rule('id = 1'))}, public.tags: {clients(A)}}}"),
        {"helper": ("1", "1 5"), "ann": ("1 2 3 4 5 6", "1 2 3 4 5 6")},
        schema=NOTES + table("public.tags", 5),
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "a table is renamed under the policy that keeps people as they were",
        notes(rule("id = 1")),
        file(f"{{public.memos: {clients(rule('id = 1'))}}}"),
        {"helper": ("1", "1"), "ann": ALL},
        first=Change("alter table public.notes rename to memos", "alter table public.memos rename to notes"),
        tables=("public.memos",),
        unbound=BY_NAME,
    ),
    Migration(
        "a table is renamed under rules for people",
        notes(rule("id < 4"), people=people("owner = token.person")),
        file(f"{{public.memos: {clients(rule('id < 4'), people=people('owner = token.person'))}}}"),
        {"helper": ("1 2", "1 2"), "ann": ("1 2 4", "1 2 4")},
        first=Change("alter table public.notes rename to memos", "alter table public.memos rename to notes"),
        tables=("public.memos",),
        unbound=BY_NAME,
    ),
    Migration(
        "a table moves to another schema",
        notes(rule("id = 1"), schemas="[public, app]"),
        file(f"{{app.notes: {clients(rule('id = 1'))}}}", schemas="[public, app]"),
        {"helper": ("1", "1"), "ann": ALL},
        schema=NOTES + "create schema app; grant usage on schema app to authenticated;",
        first=Change("alter table public.notes set schema app", "alter table app.notes set schema public"),
        tables=("app.notes",),
        unbound=BY_NAME,
    ),
    Migration(
        "a schema more",
        notes(rule("id = 1")),
        file(f"{{public.notes: {clients(rule('id = 1'))}, two.tags: {clients(A)}}}", schemas="[public, two, three]"),
        {"stranger": ("5 6 7 8", ""), "helper": ("1 5 6 7 8", "1 5"), "ann": ("1 2 3 4 5 6 7 8", "1 2 3 4 5 6 7 8")},
        schema=NOTES + "create schema two; create schema three; grant usage on schema two, three to authenticated;" + table("two.tags", 5) + table("three.tags", 7),
        tables=("public.notes", "two.tags", "three.tags",),
    ),
    Migration(
        "a schema leaves",
        file(f"{{public.notes: {clients(rule('id = 1'))}, two.tags: {clients(A)}}}", schemas="[public, two]"),
        notes(rule("id = 1")),
        {"stranger": ("", "5 6"), "helper": ("1 5", "1 5 6"), "ann": ("1 2 3 4 5 6", "1 2 3 4 5 6")},
        schema=NOTES + "create schema two; grant usage on schema two to authenticated;" + table("two.tags", 5) + "grant all on two.tags to authenticated;",
        tables=("public.notes", "two.tags",),
    ),
    Migration(
        "a schema under rules for people leaves",
        file(f"{{public.notes: {clients(rule('id = 1'))}, two.tags: {clients(A, people=people('true'))}}}", schemas="[public, two]"),
        notes(rule("id = 1")),
        {"helper": ("1 5", "1"), "ann": ("1 2 3 4 5 6", "1 2 3 4")},
        schema=NOTES + "create schema two; grant usage on schema two to authenticated;" + table("two.tags", 5),
        tables=("public.notes", "two.tags",),
    ),
    Migration(
        "all rules are for another table",
        notes(rule("id < 3", allow="[select, delete]"), people=people("owner = token.person", "[select, delete]")),
        file(f"{{public.tags: {clients(rule(allow='[select, delete]'), people=people('true', '[select, delete]'))}}}"),
        {"helper": ("1 2", "5 6"), "ann": ("1 2 4 5 6", "5 6")},
        schema=NOTES + table("public.tags", 5),
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "FORCE is asked for",
        notes(rule("id = 1")),
        notes(rule("id = 1"), force=True),
        {"helper": ("1", "1"), "ann": ALL},
        does=("force row level security",),
    ),
    Migration(
        "FORCE is asked for no more, and stays",
        notes(rule("id = 1"), force=True),
        notes(rule("id = 2")),
        {"helper": ("1", "2"), "ann": ALL},
        never=("no force",),
    ),
    Migration(
        "FORCE of the app's own stays",
        None,
        notes(rule("id = 1")),
        {"stranger": ("1 2 4", ""), "helper": ("1 2 4", "1"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES + OWN_POLICIES + "alter table public.notes force row level security;",
        never=("force row level security",),
    ),
)  # fmt: skip

LOGS = """
create table public.logs (id integer, kind text) partition by list (kind);
create table public.logs_a partition of public.logs for values in ('a');
create table public.logs_b partition of public.logs for values in ('b') partition by range (id);
create table public.logs_b1 partition of public.logs_b default;
insert into public.logs values (1, 'a'), (2, 'b');
grant select, insert, delete on public.logs, public.logs_a, public.logs_b, public.logs_b1 to authenticated;
"""
KINDS = (
    Migration(
        "the rule of a partitioned table",
        file(f"{{public.logs: {clients(A)}}}"),
        file(f"{{public.logs: {clients(B)}, public.logs_a: {clients(rule())}}}"),
        {"helper": ("1", "1 2"), "ann": ("1 2", "1 2")},
        schema=LOGS,
        tables=("public.logs", "public.logs_a", "public.logs_b", "public.logs_b1",),
    ),
    Migration(
        "a new partition",
        file(f"{{public.logs: {clients(rule())}}}"),
        file(f"{{public.logs: {clients(rule())}}}"),
        {"stranger": ("3", ""), "helper": ("1 2 3", "1 2 3"), "ann": ("1 2 3", "1 2 3")},
        schema=LOGS,
        first=Change(
            "create table public.logs_c partition of public.logs for values in ('c'); insert into public.logs values (3, 'c'); grant select on public.logs_c to authenticated",
            "drop table public.logs_c",
        ),
        tables=("public.logs", "public.logs_a", "public.logs_c",),
    ),
    Migration(
        "a partition is detached",
        file(f"{{public.logs: {clients(rule())}}}"),
        file(f"{{public.logs: {clients(rule())}, public.logs_a: {clients(rule())}}}"),
        {"helper": ("2", "1 2"), "ann": ("1 2", "1 2")},
        schema=LOGS,
        first=Change(
            "alter table public.logs detach partition public.logs_a",
            "alter table public.logs attach partition public.logs_a for values in ('a')",
        ),
        tables=("public.logs", "public.logs_a",),
    ),
    Migration(
        "an inheriting table",
        file(f"{{public.base: {clients(A)}}}"),
        file(f"{{public.base: {clients(B)}, public.child: {clients(A)}}}"),
        {"helper": ("1 3", "2 3 4"), "ann": ("1 2 3 4", "1 2 3 4")},
        schema=table("public.base", 1) + "create table public.child () inherits (public.base); insert into public.child values (3, 'a'), (4, 'b'); grant select, delete on public.child to authenticated;",
        tables=("public.base", "public.child",),
    ),
    Migration(
        "a view that asks as its reader, and one that asks as its owner",
        notes(rule("status = 'open'")),
        notes(rule("status = 'closed'")),
        {"stranger": ("owner1", "owner1"), "helper": ("1 3 owner1", "2 owner1"), "ann": ("1 2 3 4 owner1", "1 2 3 4 owner1")},
        schema=NOTES + "create view public.seen with (security_invoker) as select * from public.notes; create view public.owned as select 'owner' || id as id from public.notes where id = 1; grant select on public.seen, public.owned to authenticated;",
        views=("public.seen", "public.owned"),
    ),
)  # fmt: skip

QUOTA = """
alter table public.notes enable row level security;
create policy everybody on public.notes using (true);
create policy quota on public.notes as restrictive for insert with check ((select count(*) from public.notes n where n.owner = notes.owner) < 9);
"""
LABELLED = '{who: helper, allow: select, sql: "exists (select from public.labels l where l.id = notes.id)"}'
RELABELLED = LABELLED.replace("notes.id", "notes.id - 2 and l.kind = 'b'")
FOREIGN = (
    Migration(
        "policies as Supabase names them",
        None,
        notes(rule("status = 'open'")),
        {"stranger": ("1 2 4", ""), "helper": ("1 2 4", "1"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES
        + f"""
alter table public.notes enable row level security;
create policy "Users can view their own notes." on public.notes for select to authenticated using (owner = '{ANN}');
create policy "Enable update for ""owners"" (100%s, :own)" on public.notes for update to authenticated using (owner = '{ANN}') with check (owner = '{ANN}');
create policy "it's; drop table notes --" on public.notes as restrictive for delete using (id > 1);
comment on policy "Users can view their own notes." on public.notes is 'mcp_rls, not ours';
""",
        never=("Users can", "owners", "drop table", "disable row"),
    ),
    Migration(
        "policies of the app's own that read their own table",
        notes(rule("status = 'open'", allow="[select, insert]")),
        notes(rule("status = 'closed'", allow="[select, insert]")),
        {"helper": ("1 3", "2"), "ann": ALL},
        schema=NOTES + QUOTA,
        accept=frozenset({"gain-by-absence"}),
    ),
    Migration(
        "a policy of the app's own that reads its own table comes",
        notes(rule("status = 'open'", allow="[select, insert]")),
        notes(rule("status = 'open'", allow="[select, insert]")),
        {"helper": ("1 3", "1 3"), "ann": ALL},
        schema=NOTES + "alter table public.notes enable row level security; create policy everybody on public.notes using (true);",
        first=Change("create policy q on public.notes for insert with check ((select count(*) from public.notes n) < 9)", "drop policy q on public.notes"),
        accept=frozenset({"gain-by-absence"}),
    ),
    Migration(
        "a table that others' policies read",
        file(f"{{public.notes: {clients(rule())}, public.tags: {clients(A)}}}"),
        file(f"{{public.notes: {clients(rule())}, public.tags: {clients(B)}}}"),
        {"helper": ("1 5", "2 6"), "ann": ("1 2 5 6", "1 2 5 6")},
        schema=NOTES
        + table("public.tags", 5)
        + "alter table public.notes enable row level security; create policy tagged on public.notes using (exists (select from public.tags t where t.id = notes.id + 4));",
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "a rule that reads another table's rows, and both change",
        file(f"{{public.labels: {clients(A)}, public.notes: {clients(LABELLED)}}}"),
        file(f"{{public.labels: {clients(rule())}, public.notes: {clients(RELABELLED)}}}"),
        {"helper": ("1 labelled1", "4 labelled1 labelled2"), "ann": ("1 2 3 4 labelled1 labelled2", "1 2 3 4 labelled1 labelled2")},
        schema=NOTES + table("public.labels", 1) + "create view public.shown with (security_invoker) as select 'labelled' || id as id from public.labels; grant select on public.shown to authenticated;",
        views=("public.shown",),
        between="a rule sees rows of another table that are new there, before it changes itself",
    ),
    Migration(
        "row security of the app's own that lets nobody through",
        None,
        notes(rule()),
        {"helper": ("", ""), "ann": ("", "")},
        schema=NOTES + "alter table public.notes enable row level security;",
        never=("as before",),
    ),
)  # fmt: skip

GRANTS = (
    Migration(
        "privileges that row security can't narrow",
        None,
        notes(rule("id = 1")),
        {"stranger": EVERYTHING, "helper": ("1 2 3 4", "1"), "ann": ALL},
        schema=NOTES + "grant all on public.notes to authenticated; grant truncate, trigger on public.notes to public; grant references on public.notes to anon;",
        does=("TRUNCATE", "from public", "from authenticated", "from anon"),
    ),
    Migration(
        "privileges that come back with the rules that use them",
        notes(rule(), people=people("owner = token.person")),
        notes(rule(), people=people("owner = token.person", "[select, insert, update, delete]")),
        {"helper": ("1 2 4", "1 2 4"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES + "grant all on public.notes to authenticated;",
        does=("grant DELETE, INSERT, UPDATE",),
        never=("grant TRUNCATE", "TRUNCATE on"),
    ),
    Migration(
        "privileges of everybody",
        None,
        notes(rule("id < 3"), people=people("owner = token.person")),
        {"stranger": EVERYTHING, "helper": ("1 2 3 4", "1 2"), "ann": ("1 2 3 4", "1 2 4")},
        schema=NOTES + "revoke all on public.notes from authenticated, anon; grant select, insert on public.notes to public;",
    ),
    Migration(
        "privileges on columns",
        None,
        notes(rule("id = 1")),
        {"stranger": EVERYTHING, "helper": ("1 2 3 4", "1"), "ann": ALL},
        schema=NOTES + "revoke all on public.notes from authenticated; grant select (id), update (id), references (id) on public.notes to authenticated;",
    ),
)  # fmt: skip

WHOLE = notes(
    rule("id < 4", scope="n:r", allow="[select, update]"),
    people=people("owner = token.person", "[select, update]"),
    scopes='{"n:r": {text: t}}',
    sets='{mine: {type: integer, query: "select id from public.notes"}}',
)
ENDS = (
    Migration(
        "the first rules",
        None,
        notes(rule("status = 'open'")),
        {"stranger": EVERYTHING, "helper": ("1 2 3 4", "1 3"), "ann": ALL},
        does=("create schema mcp_rls", "enable row level security", "as before"),
    ),
    Migration(
        "the first rules, for people too",
        None,
        notes(rule("id in mine", scope="n:r"), people=people("owner = token.person"), scopes='{"n:r": {text: t}}', sets='{mine: {type: integer, query: "select id from public.notes where id < 4"}}'),
        {"stranger": EVERYTHING, "helper": ("1 2 3 4", "1 2"), "ann": ("1 2 3 4", "1 2 4")},
        never=("as before',",),
    ),
    Migration(
        "the first file closes everything",
        None,
        file(),
        {"stranger": EVERYTHING, "helper": ("1 2 3 4", ""), "ann": ALL},
    ),
    Migration(
        "a first column of the app's, a first table, and the first rules",
        None,
        file(f"{{public.notes: {clients(rule('kind = 1'))}, public.tags: {clients(A)}}}"),
        {"stranger": ("1 2 3 4 5 6", ""), "helper": ("1 2 3 4 5 6", "2 5"), "ann": ("1 2 3 4 5 6", "1 2 3 4 5 6")},
        first=Change("alter table public.notes add kind integer; update public.notes set kind = id - 1;" + table("public.tags", 5), "alter table public.notes drop kind; drop table public.tags"),
        tables=("public.notes", "public.tags",),
    ),
    Migration(
        "all of ours goes",
        notes(rule("status = 'open'")),
        None,
        {"stranger": ("", "1 2 3 4"), "helper": ("1 3", "1 2 3 4"), "ann": ALL},
        does=("drop schema mcp_rls",),
        never=("disable row",),
    ),
    Migration(
        "all of ours goes, and the app's own policies are left",
        notes(rule("status = 'open'"), claims="{level: {claim: level}}", sets='{mine: {type: integer, query: "select id from public.notes where owner = token.person"}}'),
        None,
        {"stranger": ("", "1 2 4"), "helper": ("1", "1 2 4"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES + OWN_POLICIES + "grant all on public.notes to authenticated;",
        does=("grant ",),
    ),
    Migration(
        "all of ours goes, and with it the rules for people",
        notes(rule("id < 4", allow="[select, update]"), people=people("owner = token.person", "[select, update]")),
        None,
        {"helper": ("1 2", ""), "ann": ("1 2 4", "")},
        never=("disable row",),
    ),
)  # fmt: skip

CASES = (*NAMES, *COLUMNS, *TABLES, *KINDS, *FOREIGN, *GRANTS, *ENDS)
