"""Foreign keys that do what no rule lets a client do."""

from tests.postgres.lints.world import Ways

_FILE = """
scopes: {w: {text: write}, x: {text: more}}
tables:
  public.tickets:
    clients:
      - {who: helper, allow: [select, delete], scope: w}
  public.closed: {clients: none}
  public.open_ones:
    clients:
      - {who: helper, allow: [select, delete], scope: w}
  public.other_scope:
    clients:
      - {who: helper, allow: [select, delete], scope: x}
  public.codes:
    clients:
      - {who: helper, allow: [select, update], scope: w}
"""
_TABLES = """
create table tickets (id integer primary key, code text unique);
create table codes (code text primary key);
create table closed (id integer primary key, ticket integer references tickets);
create table open_ones (id integer primary key, ticket integer references tickets on delete cascade);
create table other_scope (id integer primary key, ticket integer references tickets on delete restrict);
create table deeper (id integer primary key, open_one integer references open_ones);
grant select, delete on all tables in schema public to authenticated;
"""

WAYS = [
    Ways(
        file=_FILE,
        near_miss=_TABLES,
        bad="""
        alter table closed add constraint closed_owner foreign key (ticket) references tickets on delete set null;
        alter table other_scope add constraint other_owner foreign key (ticket) references tickets on delete cascade;
        alter table deeper add constraint deeper_owner foreign key (open_one) references open_ones on delete cascade;
        """,
        fix="""
        alter table closed drop constraint closed_owner;
        alter table other_scope drop constraint other_owner;
        alter table deeper drop constraint deeper_owner,
          add constraint deeper_owner foreign key (open_one) references open_ones on delete restrict;
        """,
        found=(
            "foreign key public.closed.closed_owner",
            "foreign key public.deeper.deeper_owner",
            "foreign key public.other_scope.other_owner",
        ),
        details=("helper may delete rows of public.tickets", "set null", "drop constraint closed_owner"),
    ),
    Ways(
        name="a change of the key, where its column may be set; one is accepted",
        file=_FILE + 'doors: {public.closed.closed_code: {reason: "a code is renamed everywhere"}}\n',
        near_miss=_TABLES
        + """
        alter table closed add code text, add constraint closed_code foreign key (code) references codes
          on update cascade;
        alter table deeper add code text, add constraint deeper_code foreign key (code) references codes
          on update cascade;
        """,
        bad="grant update on codes to authenticated",
        fix="revoke update on codes from authenticated",
        found=("foreign key public.deeper.deeper_code",),
        details=("helper may update rows of public.codes",),
    ),
    Ways(
        name="a partitioned table is one table",
        file=_FILE.replace("public.closed: {clients: none}", "public.log: {clients: none}"),
        near_miss=_TABLES
        + """
        create table log (day integer, ticket integer) partition by range (day);
        create table log_1 partition of log for values from (1) to (2);
        """,
        bad="alter table log add constraint log_ticket foreign key (ticket) references tickets on delete cascade",
        fix="alter table log drop constraint log_ticket",
        found=("foreign key public.log.log_ticket",),
    ),
    Ways(
        name="to and from a schema that isn't covered, where clients may do that themselves and where not",
        file=_FILE,
        near_miss=_TABLES
        + """
        create schema side; grant usage on schema side to authenticated;
        create table side.plans (id integer primary key, ticket integer references tickets on delete cascade);
        create table side.steps (plan integer references side.plans on delete cascade);
        create table side.known (id integer primary key);
        create table side.more (known integer references side.known on delete cascade);
        alter table side.known enable row level security;
        grant delete on side.plans, side.known to authenticated;
        create policy seen on side.known for select using (true);
        alter table side.steps drop constraint steps_plan_fkey;
        alter table closed add constraint closed_known foreign key (ticket) references side.known on delete cascade;
        """,
        bad="""
        alter table side.steps add constraint steps_plan foreign key (plan) references side.plans on delete cascade;
        create policy deleted on side.known for delete using (true);
        """,
        fix="alter table side.steps drop constraint steps_plan; drop policy deleted on side.known",
        found=("foreign key public.closed.closed_known", "foreign key side.steps.steps_plan"),
        details=("helper may delete rows of public.tickets, through side.plans", "every client may delete"),
    ),
]
