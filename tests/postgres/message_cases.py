"""One way to fail for each kind of message: the help desk with one thing wrong, and the check that must notice it."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_rls.compiler.model import Command
from tests.postgres.scratch import ANN, BOB


@dataclass(frozen=True)
class Failing:
    """A change to the help desk (SQL, the policy file or the cases file), and a case, or a cell that no case lists."""

    name: str
    case: str = ""
    sql: str = ""
    policies: tuple[str, str] = ("", "")  # what stands there, and what in its place
    cases: tuple[tuple[str, str], ...] = ()
    cell: tuple[str, str, Command] | None = None


TICKET = f"insert: {{public.tickets: {{id: 9, org_id: 1, author_id: {ANN}, subject: Hello, status: %s}}}}"
SEALED = "create table public.sealed (id int primary key, seal bytea not null check (length(seal) > 40))"

LEAKS = (
    Failing(
        "select-rule-too-wide",
        "as: ann-claude, select: public.tickets, sees: [1, 5, 6]",
        policies=("\"status in ('open', 'pending')\"}", "\"status in ('open', 'pending') or status = 'spam'\"}"),
    ),
    Failing(
        "select-policy-true-of-every-row",
        "as: ann-assistant, select: public.tickets, sees: [1, 2, 5, 6]",
        sql="create policy debug on public.tickets for select using (true)",
    ),
    Failing(
        "select-people-as-before",
        "as: ann, select: public.tickets, sees: [1, 2, 3, 5, 6]",
        sql='create policy "mcp_rls: tickets as before" on public.tickets using (true)',
    ),
    Failing(
        "select-policy-with-an-or",
        "as: ann, select: public.tickets, sees: [1, 2, 3, 5, 6]",
        sql="create policy triage on public.tickets for select to authenticated"
        " using (status = 'open' and not (org_id = 1) or author_id = app.person_id())",
    ),
    Failing(
        "select-people-rule-too-wide",
        "as: ann, select: public.invoices, sees: [1, 2, 4]",
        policies=(
            'public.invoices:\n    people:\n      - {allow: select, rows: "org_id in my_orgs"}',
            "public.invoices:\n    people:\n      - {allow: select, rows: \"org_id in my_orgs or status = 'sent'\"}",
        ),
    ),
    Failing(
        "select-ceiling-dropped",
        "as: ann-claude, select: public.tickets, sees: [1, 5, 6]",
        sql='drop policy "mcp_rls: tickets select" on public.tickets',
    ),
    Failing(
        "select-row-security-off",
        "as: ann-claude, select: public.tickets, sees: [1, 5, 6]",
        sql="alter table public.tickets disable row level security",
    ),
    Failing(
        "select-many-rows",
        "as: ann-claude-invoices, select: public.tickets, sees: []",
        sql='drop policy "mcp_rls: tickets select" on public.tickets;'
        " create policy everything on public.tickets using (true)",
    ),
    Failing(
        "insert-that-must-be-refused",
        f"as: ann-assistant, {TICKET % 'spam'}, refused: policy",
        policies=("check: \"status = 'open'\"", "check: \"status <> 'closed' and subject <> ''\""),
    ),
    Failing(
        "update-that-must-be-refused",
        "as: ann-assistant, update: {public.tickets: {where: {id: 1}, set: {status: closed}}}, refused: policy",
    ),
    Failing(
        "update-without-where",
        "as: ann-claude, update: {public.tickets: {where: {id: 3}, set: {subject: x}}}, changes: []",
        sql='drop policy "mcp_rls: tickets update" on public.tickets',
    ),
    Failing(
        "delete-that-must-find-nothing",
        "as: ann-assistant, delete: {public.tickets: {where: {id: 2}}}, changes: []",
        policies=(
            "    clients:                      # spam",
            '    clients:\n      - {who: assistant, allow: delete, scope: "tickets:write", rows: "id > 0"}\n #',
        ),
    ),
    Failing("cell-select", cell=("ann-ledgerly", "public.invoices", "select")),
    Failing("cell-insert", cell=("ann-assistant", "public.tickets", "insert")),
    Failing("cell-update", cell=("ann-assistant", "public.tickets", "update")),
    Failing("cell-delete", cell=("ann-assistant", "public.comments", "delete")),
)
DENIALS = (
    Failing("denied-by-a-rule", "as: ann-claude, select: public.tickets, sees: [1, 2, 5, 6]"),
    Failing("denied-for-want-of-a-scope", "as: ann-assistant-typo, select: public.tickets, sees: [1]"),
    Failing("denied-for-want-of-a-consent", "as: ann-claude-revoked, select: public.tickets, sees: [1]"),
    Failing("denied-for-want-of-a-rule", "as: ann-ledgerly-tickets, select: public.tickets, sees: [1, 2]"),
    Failing("denied-to-a-stranger", "as: ann-stranger, select: public.tickets, sees: [1]"),
    Failing("denied-an-unlisted-table", "as: ann-assistant, select: public.oauth_apps, sees: [ledgerly]"),
    Failing("denied-to-the-person", "as: ann-claude, select: public.tickets, sees: [1, 4, 5, 6]"),
    Failing("denied-by-a-people-rule", "as: ann, select: public.invoices, sees: [1, 2, 3, 4]"),
    Failing(
        "denied-by-a-restrictive-policy",
        "as: ann, select: public.tickets, sees: [1, 2, 3, 5, 6]",
        sql="create policy \"no spam\" on public.tickets as restrictive for select using (status <> 'spam')",
    ),
    Failing(
        "denied-without-a-permissive-policy",
        "as: ann, select: public.tickets, sees: [1, 2, 3, 5, 6]",
        sql='drop policy "members see tickets" on public.tickets',
    ),
    Failing(
        "denied-for-want-of-a-grant",
        "as: ann-claude, select: public.tickets, sees: [1, 5, 6]",
        sql="revoke select on public.tickets from authenticated",
    ),
    Failing("denied-insert", f"as: ann-assistant, {TICKET % 'closed'}, allowed: true"),
    Failing(
        "denied-update",
        "as: ann-assistant, update: {public.tickets: {where: {id: 1}, set: {status: spam}}}, changes: [1]",
    ),
    Failing(
        "denied-out-of-sight",
        "as: ann-assistant, update: {public.tickets: {where: {id: 1}, set: {status: spam}}}, changes: [1]",
        policies=("check: \"status in ('open', 'pending', 'closed')\"}\n\n", "check: \"status <> 'closed'\"}\n\n"),
    ),
    Failing("denied-delete", "as: ann-claude, delete: {public.comments: {where: {id: 1}}}, changes: [1]"),
)
OTHERS = (
    Failing(
        "wrong-reason-grant-for-policy",
        f"as: ann-claude, {TICKET % 'open'}, refused: policy",
        sql="revoke insert on public.tickets from authenticated",
    ),
    Failing("wrong-reason-policy-for-grant", f"as: ann-claude, {TICKET % 'open'}, refused: grant"),
    Failing(
        "wrong-reason-constraint-for-policy",
        f"as: ann-assistant, insert: {{public.tickets: {{id: 1, org_id: 1, author_id: {ANN}, subject: Hello}}}},"
        " refused: policy",
    ),
    Failing(
        "wrong-reason-hidden-for-policy",
        "as: ann-claude, update: {public.tickets: {where: {id: 3}, set: {status: open}}}, refused: policy",
    ),
    Failing(
        "wrong-reason-policy-for-hidden",
        "as: ann-assistant, update: {public.tickets: {where: {id: 1}, set: {status: spam}}}, changes: []",
    ),
    Failing(
        "wrong-reason-nothing-seen",
        "as: ann-claude, select: public.tickets, sees: []",
        sql="revoke select on public.tickets from authenticated",
    ),
    Failing(
        "error-by-a-constraint",
        "as: ann, update: {public.tickets: {where: {id: 1}, set: {status: lost}}}, changes: [1]",
    ),
    Failing(
        "error-by-a-policy",
        "as: ann, select: public.tickets, sees: [1, 2, 3, 5, 6]",
        sql='alter policy "members see tickets" on public.tickets using (1 / (id - id) = 1)',
    ),
    Failing("vacuous-row-that-is-not-there", "as: ann-claude, select: public.tickets, sees: [1, 77]"),
    Failing(
        "vacuous-empty-table",
        "as: ann-claude, select: public.visits, sees: []",
        sql="create table public.visits (id int primary key)",
    ),
    Failing(
        "vacuous-where-that-finds-nothing",
        "as: ann-claude, update: {public.tickets: {where: {id: 77}, set: {status: open}}}, changes: []",
    ),
    Failing(
        "vacuous-where-that-finds-another-row",
        "as: ann-assistant, update: {public.tickets: {where: {id: 1}, set: {status: pending}}}, changes: [1, 5]",
    ),
    Failing("error-no-such-row", "as: ann-claude, select: public.tickets, sees: [{subject: Nobody wrote this}]"),
    Failing("error-no-such-key", "as: ann-claude, select: public.tickets, sees: [one]"),
    Failing(
        "undecided-error",
        cell=("ann-assistant", "public.tickets", "select"),
        sql='alter policy "members see tickets" on public.tickets using (1 / (id - id) = 1)',
    ),
    Failing(
        "undecided-no-rows",
        cell=("ann-stranger", "public.sealed", "select"),
        sql=f"{SEALED}; grant all on public.sealed to authenticated",
    ),
    Failing(
        "undecided-nothing-to-set",
        cell=("ann-stranger", "public.made", "update"),
        sql="create table public.made (id int generated always as identity); grant all on public.made to authenticated",
    ),
    Failing(
        "undecided-no-client",
        "as: ann-ledgerly, select: public.tickets, sees: []",
        sql="alter table public.oauth_apps add check (not approved or disabled_at is not null)",
        cases=(
            ("ann-ledgerly:        {person: ann, client: ledgerly", "ann-ledgerly: {person: ann, class: partners"),
            ("name: Ledgerly, approved: true", "name: Ledgerly, approved: false"),
        ),
    ),
)
LOGIN = (
    "create role desk_login bypassrls;"
    " grant select, insert, update, delete on all tables in schema public to desk_login; {}"
    " set session authorization desk_login"
)
UNDECIDED = (
    Failing(
        "undecided-no-consent",
        "as: ann-claude, select: public.tickets, sees: [1, 5, 6]",
        sql="alter table public.mcp_grants add check (client_id <> 'https://claude.ai/oauth/desktop')",
    ),
    Failing("undecided-role-not-taken", "as: ann, select: public.tickets, sees: [1]", sql=LOGIN.format("")),
    Failing(
        "undecided-row-not-alone",
        "as: ann, update: {public.tickets: {where: {id: 4}, set: {status: open}}}, changes: []",
        sql=LOGIN.format("grant authenticated to desk_login;"),
    ),
)
FAILING = (*LEAKS, *DENIALS, *OTHERS, *UNDECIDED)
REFUSALS = (
    Failing("a superuser acts", sql="alter role authenticated superuser"),
    Failing("a role that bypasses row security acts", sql="alter role authenticated bypassrls"),
    Failing("an owner acts", sql="alter table public.tickets owner to authenticated"),
    Failing(
        "a member of the owner acts",
        sql="create role desk_owner; alter table public.tickets owner to desk_owner; grant desk_owner to authenticated",
    ),
    Failing("the role is missing", sql="alter role authenticated rename to authenticated_no_more"),
    Failing("the connection acts already", sql="set role authenticated"),
    Failing("the login is under row security", sql="create role desk_login; set session authorization desk_login"),
    Failing(
        "the login can't look",
        sql="create role desk_login bypassrls; grant authenticated to desk_login;"
        " revoke select on public.oauth_apps from authenticated; set session authorization desk_login",
    ),
    Failing("a fixture doesn't fit", cases=(("status: closed}", "status: lost}"),)),
)

NOTES = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [authenticated]
classes:
  helper: {match: {ids: [helper]}}
scopes:
  "notes:read": {text: Read your notes}
tables:
  public.notes:
    people:
      - {allow: [select, insert, update, delete], rows: "owner = token.person"}
    clients:
      - {who: helper, allow: select, scope: "notes:read", rows: "not secret and status <> 'gone'"}
"""
NOTES_SCHEMA = """\
do $$ begin create role authenticated nologin; exception when duplicate_object then null; end $$;
create table public.notes (id int primary key, owner uuid not null, status text not null default 'open',
  secret boolean not null default false);
create unique index on public.notes (status, owner);
create view public.note_list as select * from public.notes;
grant select, insert, update, delete on public.notes to authenticated;
"""
NOTES_CASES = f"""\
fixtures:
  public.notes:
    - {{id: 1, owner: {ANN}}}
    - {{id: 2, owner: {ANN}, secret: true, status: a}}
    - {{id: 3, owner: {BOB}, status: b}}
people: {{ann: {{sub: {ANN}}}, bob: {{sub: {BOB}}}}}
tokens:
  ann: {{person: ann}}
  ann-helper: {{person: ann, class: helper, scope: "notes:read"}}
cases:
  - {{as: ann, select: public.notes, sees: [1, 2]}}
  - {{as: ann-helper, select: public.notes, sees: [1]}}
"""
GATES = {
    "empty-client": ("when not (document ? 'client_id') then", "when v_client is null then"),
    "error": ("exception when others then", "exception when no_data_found then"),
}
MATRICES = {
    "ceiling-dropped": 'drop policy "mcp_rls: notes select" on public.notes',
    "people-policy-dropped": 'drop policy "mcp_rls: notes people select" on public.notes',
    "policy-true-of-every-row": "create policy debug on public.notes for select using (true)",
    "row-security-off": "alter table public.notes disable row level security",
    "no-grant": "revoke select on public.notes from authenticated",
    "update-policy-narrowed": 'alter policy "mcp_rls: notes people update" on public.notes using (false)',
    "no-row": "alter table public.notes add constraint never check (id is null) not valid",
    "error": "create policy odd on public.notes as restrictive for select using (1 / (id - id) = 1)",
}
