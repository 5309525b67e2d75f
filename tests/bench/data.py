"""The data that everything is measured on: the same to the byte on every machine, for nothing in it is random."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

OWNER = "bench_owner"  # owns the tables: row security doesn't apply to it
USER = "bench_user"  # the role that tokens arrive as
REFERENCE = "bench_reference"  # like USER, but no ceiling names it
ROLES = (OWNER, USER, REFERENCE)

ROWS_PER_TENANT = 100
LEAST_ROWS = 10 * ROWS_PER_TENANT
TENANT = 7
REGION = "r2"  # one row in seven
STATUSES = ("draft", "published")  # four rows in five; the fifth is archived
LARGEST_AMOUNT = 10_006
PERSON = "00000000-0000-4000-8000-00000000002a"

# Knuth's multiplicative hash spreads regions and amounts over the table; statuses and words lie across tenants.
_TABLES = """
create table public.docs (
  id bigint not null, tenant_id integer not null, region text not null, status text not null, amount integer not null,
  title text not null, body text not null, created_at timestamptz not null, words tsvector not null
){partitioned};
{partitions}
insert into public.docs
  select i, i % {tenants},
    case when share < 60 then 'r0' when share < 85 then 'r1' when share < 99 then 'r2' else 'r3' end,
    case when i / {tenants} % 5 = 0 then 'archived' when i / {tenants} % 5 = 1 then 'published' else 'draft' end,
    i * 7919 % 10007, 'title ' || to_hex(i * 2654435761 % 4294967296), 'body ' || md5(i::text),
    timestamptz '2024-01-01 00:00:00+00' + i * interval '7 seconds',
    array_to_tsvector(array['w' || i / {tenants} % 20, 'x' || i % 211])
  from (select i, i * 2654435761 % 4294967296 / 42949673 as share from generate_series(1, {rows}::bigint) i) numbers;
alter table public.docs add primary key (id);
create index on public.docs (tenant_id, created_at desc);
create index on public.docs using gin (words);

create table public.comments (id bigint not null, doc_id bigint not null, tenant_id integer not null,
  status text not null, amount integer not null, body text not null);
insert into public.comments select id, id, tenant_id, status, amount, 'comment ' || md5(id::text) from public.docs;
alter table public.comments add primary key (id);
create index on public.comments (tenant_id);
create index on public.comments (doc_id);

create table public.wide (id bigint not null, region text not null, status text not null, amount integer not null);
insert into public.wide select id, region, status, amount from public.docs;
alter table public.wide add primary key (id);

create table public.consents (person uuid not null, client text not null, scopes text[] not null,
  revoked_at timestamptz, primary key (person, client));
"""

_OWN_POLICY = """
alter table public.{table} enable row level security;
create policy "own rows" on public.{table} using (
  {column} = (select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> '{claim}'){cast}));
"""

_CLEAR = """
do $$
declare found record;
begin
  for found in select polname as name, polrelid::regclass as relation from pg_policy loop
    execute format('drop policy %I on %s', found.name, found.relation);
  end loop;
  for found in select oid::regclass as relation from pg_class where relrowsecurity loop
    execute format('alter table %s disable row level security', found.relation);
  end loop;
  for found in select distinct c.oid::regclass as relation, r.rolname as role
    from pg_class c, aclexplode(c.relacl) held join pg_roles r on r.oid = held.grantee
    where c.relnamespace = 'public'::regnamespace and not r.rolname = any ('{{{roles}}}') loop
    execute format('revoke all on %s from %I', found.relation, found.role);
  end loop;
end $$;
drop schema if exists mcp_rls cascade;
truncate public.consents;
"""


@dataclass(frozen=True)
class Owned:
    """How a table says whose a row is: its column, the claim compared with it, and the claim's value in the token."""

    column: str
    claim: str
    value: int | str
    cast: str

    @property
    def by_hand(self) -> str:
        """The condition as one writes it who knows the value."""
        return f"{self.column} = {self.value if isinstance(self.value, int) else repr(self.value)}"


OWNED = {
    "docs": Owned("tenant_id", "tenant", TENANT, "::integer"),
    "comments": Owned("tenant_id", "tenant", TENANT, "::integer"),
    "wide": Owned("region", "region", REGION, ""),
}


def create(connection: Connection, rows: int, partitions: int = 0) -> None:
    """Makes roles, tables and rows; `rows` in each table, 100 a tenant. `partitions`: so many of docs, by id."""
    for role in ROLES:
        if connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is None:
            connection.execute(f"create role {role} nologin".encode())
    tables = [*OWNED, "consents"]
    parts = _partitions(rows, partitions) if partitions else []
    text = _TABLES.format(
        rows=rows,
        tenants=rows // ROWS_PER_TENANT,
        partitioned=" partition by range (id)" if parts else "",
        partitions="\n".join(parts),
    )
    statements = [text, *(f"alter table public.{table} owner to {OWNER}" for table in tables)]
    names = ", ".join(f"public.{table}" for table in tables)
    statements.append(f"grant select, insert, update, delete on {names} to {USER}, {REFERENCE}")
    connection.execute(";\n".join(statements).encode())
    connection.execute("vacuum analyze")


def _partitions(rows: int, number: int) -> list[str]:
    """Statements that make so many partitions of equal size; what is inserted later goes into the last."""
    edges = ["minvalue", *(str(1 + rows * n // number) for n in range(1, number)), "maxvalue"]
    return [
        f"create table public.docs_{n} partition of public.docs for values from ({low}) to ({high});"
        for n, (low, high) in enumerate(pairwise(edges))
    ]


def clear(connection: Connection) -> None:
    """Takes every policy away, what was granted for them, and the consents: the data is as it was made."""
    connection.execute(_CLEAR.format(roles=",".join(ROLES)).encode())


def give_consents(connection: Connection, client: str) -> None:
    """10,000 people's consents, among them the one that lets `client` act for PERSON."""
    connection.execute(
        "insert into public.consents"
        " select ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, %s, '{notes:read,notes:write}'"
        " from generate_series(1, 10000) i",
        (client,),
    )
    connection.execute("vacuum analyze public.consents")


def add_own_policies(connection: Connection) -> None:
    """The app's own row security, as an app would write it that never heard of clients."""
    for table, owned in OWNED.items():
        text = _OWN_POLICY.format(table=table, column=owned.column, claim=owned.claim, cast=owned.cast)
        connection.execute(text.encode())


def claims(client: str, role: str = USER, *, size: int = 0, scopes: int = 0) -> str:
    """The token's claims, about 400 bytes as tokens have in practice; or of `size` bytes, or with so many scopes."""
    words = [*(f"service-{n:03}:read" for n in range(1, scopes)), "notes:write"]
    token = {
        "iss": "https://auth.example.com/",
        "aud": "https://mcp.example.com/",
        "sub": PERSON,
        "iat": 1760000000,
        "exp": 1999999999,
        "jti": "f3b1c7de-6f0a-4a57-9d5e-0b2f4f6f9a11",
        "client_id": client,
        "role": role,
        "tenant": TENANT,
        "region": REGION,
        "scope": " ".join(words) if scopes else "openid profile email notes:read notes:write",
    }
    groups: list[str] = []
    while len(json.dumps({**token, "groups": groups})) + 24 <= size:
        groups.append(f"/teams/europe/{len(groups):04}")
    return json.dumps({**token, "groups": groups} if groups else token)
