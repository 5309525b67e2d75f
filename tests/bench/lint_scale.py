"""How long the lints take on a large database by hand: 500 tables of 4 policies, 300 functions, 200 views.

Prints seconds for reading the facts and for each lint; the first lint that asks pays for taking the policies apart.
Exit 1 when all together took more of the processor than the goal: other work on the machine doesn't decide.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# Found from the root, when this is started as a script too.
from mcp_rls.database.server import open_server  # noqa: E402
from mcp_rls.inspection.read import read_facts  # noqa: E402
from mcp_rls.lints import World, run  # noqa: E402
from tests.postgres.lints.snippets import CLAIMS  # noqa: E402
from tests.postgres.scratch import policies, scratch_on  # noqa: E402

FUNCTION = """
create function app.f{n}(word text) returns boolean language {language} stable as $$ {body} $$;
"""
TABLE = """
create table t{n} (id integer primary key, owner uuid, org_id integer, client text, status text, parent integer
  references t{parent}, unique (org_id, status));
alter table t{n} enable row level security; grant select, insert, update, delete on t{n} to authenticated;
create policy sees on t{n} for select to authenticated using (owner = (select app.me()) or org_id in
  (select m.org_id from t{parent} m where m.owner = (select (app.claims() ->> 'sub')::uuid) and m.status = 's{n}'));
create policy adds on t{n} for insert to authenticated with check (owner = app.me() and app.f{f}('w{n}'));
create policy changes on t{n} for update to authenticated
  using (owner = (select app.me()) and (select app.f{f}('w{n}')))
  with check (owner = (select app.me()) and status <> 'closed{n}');
create policy gate on t{n} as restrictive to authenticated using (not ((select app.claims()) ? 'client_id') or
  (((select app.claims()) ->> 'client_id') = any (array['a{n}', 'b{n}', 'c{n}']) and app.f{g}('r{n}')
   and client = 'x'));
"""


def main() -> int:
    arguments = _arguments()
    with open_server() as server, scratch_on(server) as scratch:
        scratch.run(script(arguments.tables, arguments.functions, arguments.views))
        begun, used = time.perf_counter(), time.process_time()
        facts = read_facts(scratch.connection)
        read = time.perf_counter() - begun
    report = run(World(facts, policies(file(arguments.tables)) if arguments.file else None))
    used = time.process_time() - used
    for name, seconds in sorted(report.seconds.items(), key=lambda item: -item[1]):
        print(f"{seconds:8.3f} s  {name}")
    total = read + sum(report.seconds.values())
    print(f"{read:8.3f} s  facts\n{total:8.3f} s  in all, on the clock; {len(report.diagnostics)} findings")
    print(f"{used:8.3f} s  of the processor; goal {arguments.goal} s")
    return int(used > arguments.goal)


def file(tables: int) -> str:
    """A policy file with a rule to read for each table, and one to write for every other."""
    lines = ["tables:"]
    for n in range(tables + 1):
        write = ", {who: helper, allow: update}" if n % 2 else ""
        lines.append(f"  public.t{n}: {{clients: [{{who: helper, allow: select}}{write}]}}")
    return "\n".join(lines)


def script(tables: int, functions: int, views: int) -> str:
    """The database: its functions call each other in chains of ten, every other one in PL/pgSQL."""
    parts = [CLAIMS, "create table t0 (id integer primary key, owner uuid, org_id integer, status text);"]
    for n in range(functions):
        value = f"app.f{n - 1}(word)" if n % 10 else "word = any (string_to_array(app.claims() ->> 'scope', ' '))"
        body = f"begin if word is null then return false; end if; return {value} and length(word) > {n}; end"
        language, text = ("plpgsql", body) if n % 2 else ("sql", f"select {value} and length(word) > {n}")
        parts.append(FUNCTION.format(n=n, language=language, body=text))
    parts += [TABLE.format(n=n, parent=n - 1, f=n % functions, g=n * 7 % functions) for n in range(1, tables + 1)]
    for n in range(1, views + 1):
        parts.append(f"create view v{n} as select * from t{n % tables + 1}; grant select on v{n} to authenticated;")
    return "\n".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("tables", 500), ("functions", 300), ("views", 200), ("goal", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--file", action="store_true", help="under a policy file with rules for every table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
