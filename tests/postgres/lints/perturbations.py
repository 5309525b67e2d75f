"""One thing wrong at a time in what is sound, with everything that is then found: a line more is a case more."""

from __future__ import annotations

from dataclasses import dataclass

from tests.postgres.lints.snippets import CLIENT, SCOPE, alter, policy
from tests.postgres.lints.snippets import function as _function


@dataclass(frozen=True)
class Perturbation:
    """`found`: the code and the object of all that `check` (with the file) or `lint` (without one) then says."""

    name: str
    sql: str
    found: tuple[str, ...]
    version: int  # what the server says that it is; 0: what it is


def P(name: str, sql: str, *found: str, version: int = 0) -> Perturbation:  # noqa: N802 - short, in a long table
    return Perturbation(name, sql, found, version)


def on_tickets(name: str, using: str, command: str = "select", kind: str = "permissive") -> str:
    return policy(name, using, command, "tickets", kind=kind)


def ceiling(condition: str) -> str:
    """The ceiling by hand, with another condition for clients."""
    return alter("ceiling", f"not ((select app.claims()) ? 'client_id') or ({condition})", "tickets")


_NEW_TABLE = "create table drafts (id integer primary key, author uuid not null);"
_IN_MEMBERS = "org_id in (select m.org_id from members m where m.user_id = (select app.person()))"
_MEMBER = """create function app.is_member(org bigint) returns boolean language sql stable parallel safe
  security definer set search_path = pg_catalog, pg_temp
  as $$ select exists (select from public.members m where m.org_id = org and m.user_id = app.person()) $$;
"""

BY_HAND = (
    # --- ways round
    P("nothing", "select 1"),
    P("a view of its caller", "create view more with (security_invoker) as table tickets;"
      "grant select on more to anon"),
    P("a view of its owner", "alter view open_tickets reset (security_invoker)",
      "view-without-invoker view public.open_tickets"),
    P("a view that nobody may read", "create view totals as select count(*) from tickets"),
    P("a materialized view",
      "create materialized view copy as table tickets; grant select on copy to authenticated",
      "materialized-view-open materialized view public.copy"),
    P("a foreign table", "create foreign data wrapper w; create server s foreign data wrapper w;"
      "create foreign table far (id integer) server s; grant select on far to authenticated",
      "foreign-table-open foreign table public.far"),
    P("a definer function", "create function totals() returns bigint language sql stable security definer"
      " return (select count(*) from public.tickets)",
      "definer-function-callable function public.totals()"),
    P("a way to helper functions", "grant usage on schema app to authenticated",
      "definer-function-callable function app.my_orgs()"),
    P("row security off", "alter table tickets disable row level security",
      "policies-without-row-security table public.tickets"),
    P("a table beside", _NEW_TABLE + "grant select on drafts to authenticated",
      "row-security-off table public.drafts"),
    P("a table that nobody reaches", _NEW_TABLE),
    P("a partition in the open", "create table events_2 partition of events for values from (2) to (3);"
      "grant select on events_2 to authenticated",
      "partition-open table public.events_2"),
    P("a partition that nobody reaches", "create table events_2 partition of events for values from (2) to (3)"),
    P("an owner who logs in", "create role lint_new_owner login; alter table tickets owner to lint_new_owner",
      "force-off role lint_new_owner"),
    P("a blinded definer", "alter role lint_sound_reader nobypassrls",
      "force-blinds-definer function app.my_orgs()"),
    P("a role past row security", "create role lint_new_boss bypassrls; grant lint_new_boss to authenticated",
      "bypass-role-reachable role authenticated lint_new_boss"),
    P("TRUNCATE", "grant truncate on tickets to authenticated",
      "blind-privilege-granted table public.tickets"),
    P("a role that no policy is for", "create role lint_new_robot; grant select on tickets to lint_new_robot"),
    P("a role outside the ceiling",
      "create role lint_new_robot; grant select on tickets to lint_new_robot; alter policy seen on tickets to public",
      "role-outside-ceilings role lint_new_robot", "to-public policy public.tickets seen"),
    P("objects of their own", "grant create on schema public to authenticated",
      "create-in-schema schema public"),
    P("a sequence", "grant usage on sequence tickets_id_seq to authenticated",
      "sequence-shared sequence public.tickets_id_seq"),
    P("an old version", "select 1",
      "minor-version server CVE-2023-2455", "minor-version server CVE-2023-39418",
      "minor-version server CVE-2024-10976", "minor-version server CVE-2025-8713", version=150002),
    # --- who is admitted
    P("for everybody", "alter policy seen on tickets to public",
      "to-public policy public.tickets seen"),
    P("no condition to delete", alter("deleted", "true", "tickets"),
      "permissive-true policy public.tickets deleted"),
    P("no condition to read", alter("seen", "true", "orgs"),
      "readable-by-all policy public.orgs seen"),
    P("signed in", alter("seen", "(select app.person()) is not null", "orgs"),
      "readable-by-all policy public.orgs seen"),
    P("two that add up", on_tickets("mine", "author = (select app.person())"),
      "several-permissive table public.tickets"),
    P("nothing to read by", "drop policy seen on tickets",
      "update-without-select policy public.tickets deleted", "update-without-select policy public.tickets worked_on"),
    P("a wider check", "alter policy worked_on on tickets with check (true)",
      "update-check-wider policy public.tickets worked_on"),
    P("a check on the author alone", "alter policy opened on tickets with check (author = app.person())",
      "foreign-key-oracle table public.tickets tickets_org_id_fkey"),
    P("nobody's membership", "create policy joins on members for insert to authenticated"
      " with check (user_id = app.person()); grant insert on members to authenticated",
      "foreign-key-oracle table public.members members_org_id_fkey", "membership-writable table public.members"),
    P("a comment on what isn't seen", "alter policy written on comments with check (author = app.person())",
      "foreign-key-oracle table public.comments comments_ticket_id_fkey"),
    P("a title that must be one's own", "alter table tickets add unique (subject, id)",
      "unique-oracle table public.tickets tickets_subject_id_key"),
    P("a unique key of the author", "alter table tickets add unique (author, subject)"),
    P("NULL", alter("seen", "org_id = any (array(select app.my_orgs())) and subject <> 'x'", "tickets"),
      "null-trap policy public.tickets seen isn't true where subject is NULL"),
    P("compared with itself", alter("followed", "exists (select from tickets t where t.id = t.id)", "comments"),
      "compared-with-itself policy public.comments followed"),
    # --- which client
    P("a part of a scope", ceiling(f"({SCOPE}) like '%tickets:read%'"),
      "scope-by-substring policy public.tickets ceiling"),
    P("a part of a client", ceiling("(select app.client()) like 'assistant%'"),
      "client-by-substring policy public.tickets ceiling"),
    P("a client by a URL", ceiling("(select app.client()) like 'https://claude.ai/%'")),
    P("all but one client", ceiling("(select app.client()) <> 'scraper'"),
      "client-by-exclusion policy public.tickets ceiling"),
    P("no client is the app", ceiling("(select app.client()) is null"),
      "client-null-as-direct policy public.tickets ceiling"),
    P("a ceiling for every client alike", ceiling("(select app.client()) is not null")),
    P("any client", alter("ceiling", "(select app.client()) is not null", "tickets"),
      "claim-presence-only policy public.tickets ceiling"),
    P("a broken client beside the key", alter("ceiling", "not ((select app.claims()) ? 'client_id')"
      " and (select app.client()) is null or status = 'open'", "tickets")),
    P("no client, by its value", alter("ceiling", "(select app.client()) is null or status = 'open'", "tickets"),
      "client-null-as-direct policy public.tickets ceiling"),
    P("a client in any case", ceiling("lower((select app.client())) = 'assistant'"),
      "claim-by-case policy public.tickets ceiling"),
    P("what a client can change", ceiling("((select app.claims()) -> 'user_metadata' ->> 'trusted') = 'yes'"),
      "claim-client-can-change policy public.tickets ceiling"),
    P("a header", ceiling("(select current_setting('request.headers', true)::json ->> 'x-client') = 'assistant'"),
      "claim-client-can-change policy public.tickets ceiling"),
    P("a gate that adds", "drop policy ceiling on tickets;" + on_tickets("gate", f"({CLIENT}) = 'assistant'"),
      "permissive-gate policy public.tickets gate", "several-permissive table public.tickets"),
    P("a ceiling that is permissive", "drop policy ceiling on tickets;"
      + on_tickets("gate", f"({CLIENT}) = 'assistant' and status = 'open'", "update"),
      "permissive-gate policy public.tickets gate", "several-permissive table public.tickets"),
    # --- helper functions
    P("a helper that is immutable", "alter function app.person() immutable",
      "helper-immutable function app.person()"),
    P("a helper that is volatile", "alter function app.claims() volatile",
      "helper-volatile function app.claims()"),
    P("a helper not in parallel", "alter function app.client() parallel unsafe",
      "helper-parallel-unsafe function app.client()"),
    P("a helper's path", _function("app.client()", "select app.claims() ->> 'client_id'", returns="text"),
      "helper-search-path function app.client()"),
    P("a definer's path", "alter function app.my_orgs() reset search_path",
      "helper-definer-search-path function app.my_orgs()"),
    P("a helper that they may not call", "revoke execute on function app.client() from public",
      "helper-execute-missing policy public.tickets ceiling app.client()"),
    P("a helper that claims much, out of reach", "alter function app.has_scope(text) leakproof"),
    P("a function that claims much", "create function shown(a text) returns integer language sql immutable leakproof"
      " parallel safe return length(a)",
      "helper-leakproof-claimed function public.shown(a text)"),
    # --- the price
    P("a claim for each row", alter("seen", "author = app.person()", "tickets"),
      "claims-per-row policy public.tickets seen"),
    P("a look-up for each row", _MEMBER + alter("seen", "app.is_member(org_id)", "tickets"),
      "membership-per-row policy public.tickets seen"),
    P("a sub-select", alter("seen", _IN_MEMBERS, "tickets"),
      "membership-in-subselect policy public.tickets seen"),
    P("a cast", alter("own", "author::text = (select app.claims() ->> 'sub')", "events"),
      "cast-on-column policy public.events own"),
    P("no index", "drop index tickets_org_id",
      "index-missing table public.tickets org_id"),
    P("no index for a sub-select", alter("seen", "org_id = any (array(select m.org_id from members m where m.title ="
      " (select app.claims() ->> 'title')))", "tickets"),
      "index-missing table public.members title"),
    P("an index that isn't valid",
      "update pg_index set indisvalid = false where indexrelid = 'tickets_org_id'::regclass",
      "index-missing table public.tickets org_id"),
    P("an arm without an index", alter("deleted", "author = (select app.person()) or status = 'spam'", "tickets"),
      "or-arm-unindexed policy public.tickets deleted"),
    P("a search beside the policy's index", "create index search on tickets using gin (to_tsvector('simple', subject))",
      "leakproof-index-unused table public.tickets search"),
    P("a search under a policy without", "create index search on comments using gin (to_tsvector('simple', body))",
      "leakproof-lost-index table public.comments search"),
    P("a search under the policy's index", "create index on tickets (org_id, subject text_pattern_ops)"),
    P("SQL of their own", "create role lint_new_agent login; grant select on comments, tickets to lint_new_agent;"
      "grant authenticated to lint_new_agent",
      "unhardened-equality policy public.comments deleted", "unhardened-equality policy public.comments written",
      "unhardened-equality policy public.events own", "unhardened-equality policy public.grants own",
      "unhardened-equality policy public.members own", "unhardened-equality policy public.tickets deleted",
      "unhardened-equality policy public.tickets opened"),
)  # fmt: skip

WITH_FILE = (
    P("nothing", "select 1"),
    P("a view of its owner", "alter view open_tickets reset (security_invoker)",
      "view-without-invoker view public.open_tickets"),
    P("a view of what is closed", "create view joined as table members; grant select on joined to authenticated",
      "view-without-invoker view public.joined"),
    P("a materialized view", "create materialized view copy as table tickets; grant select on copy to authenticated",
      "materialized-view-open materialized view public.copy"),
    P("a foreign table", "create foreign data wrapper w; create server s foreign data wrapper w;"
      "create foreign table far (id integer) server s; grant select on far to authenticated",
      "foreign-table-open foreign table public.far"),
    P("a definer function", "create function totals() returns bigint language sql stable security definer"
      " return (select count(*) from public.tickets)",
      "definer-function-door function public.totals()"),
    P("a definer function that grants", "create function agree() returns void language sql security definer"
      " as $$ insert into public.grants values (app.person(), app.client(), '{tickets:write}') $$",
      "deciding-table-behind-door table public.grants function public.agree()",
      "definer-function-door function public.agree()"),
    P("a table of another schema", "create schema side; grant usage on schema side to authenticated;"
      "create table side.plans (id integer); grant select on side.plans to authenticated",
      "uncovered-table-open table side.plans"),
    P("a table that isn't listed", _NEW_TABLE,
      "as-before-open table public.drafts"),
    P("a table that isn't listed, in good form", _NEW_TABLE + "alter table drafts enable row level security;"
      "create index on drafts (author); grant select on drafts to authenticated;"
      "create policy own on drafts for select to authenticated using (author = (select app.person()))",
      "ceiling-missing table public.drafts"),
    P("a table that isn't listed, in the open", _NEW_TABLE + "grant select on drafts to authenticated",
      "as-before-open table public.drafts", "ceiling-missing table public.drafts"),
    P("a cascade", "alter table comments drop constraint comments_ticket_id_fkey,"
      "add constraint gone foreign key (ticket_id) references tickets on delete cascade",
      "cascade-into-closed foreign key public.comments.gone"),
    P("a cascade into what is closed", "alter table members add ticket bigint,"
      "add constraint gone foreign key (ticket) references tickets on delete set null",
      "cascade-into-closed foreign key public.members.gone"),
    P("a trigger", "create or replace function app.stamped() returns trigger language plpgsql security definer"
      " set search_path = pg_catalog, pg_temp as $$ begin delete from public.members; return new; end $$",
      "trigger-writes-past trigger public.tickets.stamped"),
    P("a trigger in place of what a view does", "create schema inside; create function inside.away() returns trigger"
      " language plpgsql security definer set search_path = pg_catalog, pg_temp"
      " as $$ begin delete from public.members; return new; end $$;"
      "create trigger away instead of update on open_tickets for each row execute function inside.away();"
      "grant update on open_tickets to authenticated",
      "trigger-writes-past trigger public.open_tickets.away"),
    P("a rule", "create rule away as on update to open_tickets do instead delete from members where org_id = new.id;"
      "grant update on open_tickets to authenticated",
      "rule-past-ceilings rule public.open_tickets.away"),
    P("a rule that grants", "create rule agree as on insert to tickets do instead"
      " insert into grants values (new.author, new.subject)",
      "deciding-table-behind-door table public.grants rule public.tickets.agree",
      "rule-past-ceilings rule public.tickets.agree"),
    P("an aggregate of a definer function", "create schema inside; create function inside.plus(bigint, bigint)"
      " returns bigint language sql stable security definer set search_path = pg_catalog, pg_temp"
      " as $$ select count(*) from public.tickets $$; revoke execute on function inside.plus from public;"
      "create aggregate total(bigint) (sfunc = inside.plus, stype = bigint)",
      "definer-function-door function inside.plus(bigint, bigint)"),
    P("a cascade into another schema", "create schema inside;"
      "create table inside.notes (ticket bigint constraint gone references tickets on delete cascade)",
      "cascade-into-closed foreign key inside.notes.gone"),
    P("a trigger that registers", "create or replace function app.stamped() returns trigger language plpgsql"
      " security definer set search_path = pg_catalog, pg_temp"
      " as $$ begin insert into public.apps values (new.subject, true); return new; end $$",
      "deciding-table-behind-door table public.apps trigger public.tickets.stamped",
      "trigger-writes-past trigger public.tickets.stamped"),
    P("a closed table that a policy reads", alter("seen", _IN_MEMBERS, "tickets"),
      "membership-in-subselect policy public.tickets seen", "support-table-closed table public.members"),
    P("a table of consent that its owner can't see", "create role lint_new_blind;"
      "alter table grants owner to lint_new_blind; alter table grants force row level security"),
    P("a registry that people may write", "create policy own on apps for insert to authenticated with check (true);"
      "grant insert on apps to authenticated",
      "permissive-true policy public.apps own"),
    P("an owner of our functions who is bound", "create role lint_new_blind; grant select on grants to lint_new_blind;"
      "alter function mcp_rls.claims() owner to lint_new_blind;"
      "alter function mcp_rls.gate(name, jsonb) owner to lint_new_blind",
      "support-tables-hidden-from-owner table public.apps", "support-tables-hidden-from-owner table public.grants",
      "unbound-role role lint_new_blind"),
    P("row security off", "alter table tickets disable row level security",
      "policies-without-row-security table public.tickets"),
    P("a ceiling that was dropped", 'drop policy "mcp_rls: tickets select" on tickets',
      "ceiling-missing table public.tickets"),
    P("a partition of later", "create table events_2 partition of events for values from (2) to (3);"
      "grant select on events_2 to authenticated",
      "as-before-open table public.events_2", "partition-open table public.events_2"),
    P("a role that isn't bound", "create role lint_new_robot; grant select on tickets to lint_new_robot",
      "unbound-role role lint_new_robot"),
    P("a role past row security", "create role lint_new_boss bypassrls; grant lint_new_boss to authenticated",
      "bypass-role-reachable role authenticated lint_new_boss"),
    P("a blinded definer", "alter role lint_sound_reader nobypassrls",
      "force-blinds-definer function app.my_orgs()", "unbound-role role lint_sound_reader"),
    P("absence", alter("seen", "not exists (select from comments c where c.ticket_id = tickets.id)", "tickets"),
      "gain-by-absence policy public.tickets seen", "support-table-closed table public.comments"),
    P("a sequence", "grant usage on sequence tickets_id_seq to authenticated",
      "sequence-shared sequence public.tickets_id_seq"),
    P("TRUNCATE", "grant truncate on tickets to authenticated"),
    P("objects of their own", "grant create on schema public to authenticated",
      "create-in-schema schema public"),
    P("for everybody", "alter policy seen on tickets to public",
      "to-public policy public.tickets seen"),
    P("a part of a scope", on_tickets("gate", f"({SCOPE}) like '%tickets:read%'", "select", "restrictive"),
      "scope-by-substring policy public.tickets gate"),
    P("a column that is gone", "alter table tickets rename status to state",
      "unknown-column"),
    P("no index", "drop index tickets_org_id",
      "index-missing table public.tickets org_id"),
    P("no index for consents, whose table is large", "alter table grants drop constraint grants_pkey;"
      "insert into grants select gen_random_uuid(), 'a', '{}' from generate_series(1, 1500); analyze grants",
      "index-missing table public.grants user_id"),
    P("a search under a ceiling", "create index search on comments using gin (to_tsvector('simple', body))",
      "leakproof-lost-index table public.comments search"),
)  # fmt: skip
