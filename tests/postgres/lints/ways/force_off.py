"""Owners that can log in."""

from tests.postgres.lints.world import Ways

_TABLES = """
do $$ begin create role lint_app; exception when duplicate_object then null; end $$;
alter role lint_app login;
do $$ begin create role lint_keeper nologin; exception when duplicate_object then null; end $$;
create table notes (id integer primary key);
create table kept (id integer primary key);
create table plain (id integer primary key);
alter table notes enable row level security;
alter table kept enable row level security;
alter table kept owner to lint_keeper;
alter table plain owner to lint_app;
"""

WAYS = [
    Ways(
        near_miss=_TABLES,
        bad="alter table notes owner to lint_app",
        fix="alter table notes force row level security",
        found=("role lint_app",),
        details=("public.notes", "alter table public.notes force row level security"),
    ),
    Ways(
        name="the policy file asks for FORCE on one of two",
        file="tables: {public.notes: {force: true, clients: none}, public.kept: {clients: none}}\n",
        near_miss=_TABLES + "alter table notes owner to lint_app;",
        bad="alter table kept owner to lint_app",
        fix="alter table kept owner to lint_keeper; alter role lint_app nologin;",
        found=("role lint_app",),
        details=("public.kept",),
    ),
]
