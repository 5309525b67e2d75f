"""How long a matrix takes: `python -m tests.bench.matrix [--tables 100] [--hostile] [--full] [--profile]`.

Tables of tasks that belong to organisations, half of them with the app's own policies, half with rules for people;
a rule for each command. Two classes with their scope sets and what comes near make a dozen tokens.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import Counter

from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database.apply import install
from mcp_rls.database.server import open_server
from mcp_rls.harness.matrix import Matrix, Options, run_matrix
from mcp_rls.harness.project import connected

HEAD = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [bench_user]
classes:
  assistant: {match: {ids: [the-assistant]}, consent: required}
  by_url: {match: {client_id_url_prefix: "https://agents.example/"}}
consent:
  table: public.grants
  columns: {person: user_id, client: client_id, scopes: scopes}
  where: "revoked_at is null"
scopes:
  "tasks:read": {text: Read}
  "tasks:write": {text: Write, implies: ["tasks:read"]}
sets:
  my_orgs: {type: bigint, query: "select org_id from public.members where user_id = token.person"}
tables:
  public.members: {clients: read_as_person}
"""
RULES = """\
    clients:
      - {who: [assistant, by_url], allow: select, scope: "tasks:read", rows: "status in ('open', 'closed')"}
      - {who: assistant, allow: [insert, update], scope: "tasks:write", rows: "status = 'open'"}
      - {who: assistant, allow: delete, scope: "tasks:write", rows: "status = 'closed'"}
"""
PEOPLE = '    people: [{allow: [select, insert, update, delete], rows: "org_id in my_orgs"}]\n'
SCHEMA = """\
do $$ begin create role bench_user nologin; exception when duplicate_object then null; end $$;
create function public.me() returns uuid language sql stable
  return (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid;
create table public.orgs (id bigint primary key, name text not null);
create table public.members (org_id bigint references public.orgs (id), user_id uuid, primary key (org_id, user_id));
create table public.grants (
  id bigint primary key, user_id uuid not null, client_id text not null, scopes text not null, revoked_at timestamptz);
alter table public.members enable row level security;
create policy mine on public.members using (user_id = (select public.me()));
grant select, insert, update, delete on public.orgs, public.members to bench_user;
"""
TABLE = """\
create table public.{0} (
  id bigint primary key, org_id bigint not null references public.orgs (id), author uuid not null,
  status text not null check (status in ('open', 'closed', 'spam')), title text not null{1});
grant select, insert, update, delete on public.{0} to bench_user;
"""
POLICY = """\
alter table public.{0} enable row level security;
create policy theirs on public.{0} using (org_id in (
  select m.org_id from public.members m where m.user_id = (select public.me())));
"""


def project(tables: int) -> tuple[str, PolicySet]:
    """The schema and the policy file for this many tables of tasks."""
    schema, file = SCHEMA, HEAD
    for number in range(tables):
        name = f"tasks_{number:03}"
        parent = f", parent bigint references public.tasks_{number - 1:03} (id)" if number % 3 else ""
        schema += TABLE.format(name, parent)
        schema += POLICY.format(name) if number % 2 else ""
        file += f"  public.{name}:\n" + ("" if number % 2 else PEOPLE) + RULES
    policies, diagnostics = read_policies("policies.yaml", file)
    assert policies is not None, [str(d) for d in diagnostics]
    return schema, policies


def told(matrix: Matrix, seconds: float) -> str:
    """What it came to, and how long it took."""
    cells = Counter(str(cell.verdict) for cell in matrix.cells)
    lines = [
        f"{len(matrix.tables)} tables x 4 commands x {len(matrix.principals)} tokens: {len(matrix.cells)} cells",
        f"{matrix.tries} tries in {seconds:.1f} s",
        ", ".join(f"{count} {verdict}" for verdict, count in sorted(cells.items())),
        f"{len(matrix.all_findings)} findings",
    ]
    if matrix.hostile is not None:
        lines.append(f"hostile: {matrix.hostile.variants} tokens, {matrix.hostile.tries} tries")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    schema, policies = project(given.tables)
    with open_server() as server, server.scratch_database() as url, connected(url) as connection:
        connection.execute(schema.encode())
        install(connection, policies)
        profile = cProfile.Profile()
        if given.profile:
            profile.enable()
        begun = time.perf_counter()
        matrix = run_matrix(connection, policies, Options(given.hostile, given.full))
        print(told(matrix, time.perf_counter() - begun))
        if given.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
