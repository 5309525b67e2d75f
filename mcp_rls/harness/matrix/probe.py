"""Many statements as one token in one round trip: each in a subtransaction of its own, undone, and judged by a look.

A trigger on every covered table lets UPDATE and DELETE pass by, when it is told to: it notes each row that the
policies let through and leaves it as it was. So one statement asks about all rows of a table, no foreign key or
constraint comes in between, and a blind statement still reads no column. Told of one row, it lets that one through.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.harness.session import LEGACY_SETTINGS, CannotTest, Connection, one_line, run
from mcp_rls.state import SCHEMA

LOGIN = "none"  # the role of a session that has taken none
EVERY_ROW = "all"  # the trigger notes rows, and lets none be written
_UNDONE = "MCPRL"
_TRIGGER = (
    '" mcp_rls left alone"'  # triggers fire by name, and a blank sorts first: a row left alone reaches no other trigger
)

_HELPERS = (
    """
create function pg_temp.mcp_rls_left_alone(part oid, place tid) returns boolean language plpgsql as $$
declare
  target constant text := current_setting('mcp_rls.target', true);
begin
  if coalesce(target, '') = '' then return false; end if;
  if target <> 'all' then return target <> part::text || place::text; end if;
  perform set_config('mcp_rls.hits', current_setting('mcp_rls.hits', true) || part::text || place::text || ' ', true);
  return true;
end $$""",
    "grant execute on function pg_temp.mcp_rls_left_alone(oid, tid) to public",
    "create function pg_temp.mcp_rls_let_be() returns trigger language plpgsql as 'begin return null; end'",
    f"""
create function pg_temp.mcp_rls_probe(acting text, resolved boolean, settings text[], tries text[]) returns text[]
language plpgsql as $$
declare
  answers text[] := '{{}}';
  found jsonb; state text; message text; named text; relation text; context text;
begin
  for i in 1 .. coalesce(array_length(settings, 1), 0) loop
    perform set_config(settings[i][1], settings[i][2], true);
  end loop;
  if resolved then perform {SCHEMA}.resolve(acting); end if;
  perform set_config('role', acting, true);  -- one that can't be taken ends it all: no try has been denied by that
  for i in 1 .. coalesce(array_length(tries, 1), 0) loop
    begin
      found := null;
      perform set_config('mcp_rls.hits', '', true), set_config('mcp_rls.target', tries[i][1], true),
        set_config('role', acting, true);
      if tries[i][3] = '' then
        execute tries[i][2] into found;
      else
        execute tries[i][2];
        perform set_config('role', 'none', true), set_config('mcp_rls.target', '', true),
          set_config('search_path', 'pg_catalog', true);
        execute tries[i][3] into found;
      end if;
      raise exception using errcode = '{_UNDONE}', message = coalesce(found, 'null')::text;
    exception when others then
      get stacked diagnostics state = returned_sqlstate, message = message_text, named = constraint_name,
        relation = table_name, context = pg_exception_context;
      answers := answers || case when state = '{_UNDONE}' then message
        else jsonb_build_object('state', state, 'message', message, 'named', named, 'relation', relation,
          'context', context)::text end;
    end;
  end loop;
  return answers;
end $$""",
    """
create function pg_temp.mcp_rls_keep(statements text[]) returns text[] language plpgsql as $$
declare
  answers text[] := '{}';
  found text; state text; message text; named text;
begin
  for i in 1 .. coalesce(array_length(statements, 1), 0) loop
    begin
      execute statements[i] into found;
      answers := answers || ('+' || coalesce(found, ''));
    exception when others then
      get stacked diagnostics state = returned_sqlstate, message = message_text, named = constraint_name;
      answers := answers || (state || ' ' || coalesce(named, '') || E'\\n' || message);
    end;
  end loop;
  return answers;
end $$""",
)


@dataclass(frozen=True)
class Try:
    """One statement. Without a `look` it answers itself, with one jsonb value; else the look does, past row security.

    `target`: the row that UPDATE and DELETE reach, or EVERY_ROW to note all that they would; '': as always.
    """

    statement: str
    look: str = ""
    target: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of a try: the value that was found, or the error that ended it (`state` is not '')."""

    found: Any = None
    state: str = ""
    message: str = ""
    constraint: str = ""
    relation: str = ""
    context: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.state)


HITS = "select to_jsonb(string_to_array(rtrim(current_setting('mcp_rls.hits', true)), ' '))"


class Probe:
    """The helper functions and triggers of one transaction. `tries` counts what was run as a token.

    `resolved`: policies read what mcp_rls.resolve makes of a token's claims.
    """

    def __init__(self, conn: Connection, tables: Sequence[Table], *, resolved: bool = False) -> None:
        self.conn = conn
        self.resolved = resolved
        self.tries = 0
        run(conn, *_HELPERS)
        for statements in _batches([_trap(table) for table in tables if not _inherits_trigger(table, tables)]):
            try:
                run(conn, *statements)
            except psycopg.Error as error:
                raise CannotTest(f"no trigger could be made for the run: {one_line(error)}") from None

    def ask(
        self, role: str, claims: str, tries: Sequence[Try], settings: Mapping[str, str] | None = None
    ) -> list[Answer]:
        """The answers of statements run as a token, in order."""
        self.tries += len(tries)
        return self._ask(role, claims, tries, settings or {})

    def look(self, queries: Sequence[str]) -> list[Answer]:
        """The answers of queries past row security, each of one jsonb value; a bare name is PostgreSQL's own."""
        return self._ask(LOGIN, "", [Try(query) for query in queries], {"search_path": "pg_catalog"})

    def rehearse(self, claims: str, tries: Sequence[Try]) -> list[Answer]:
        """The answers of statements run past row security; nothing of them stays."""
        return self._ask(LOGIN, claims, tries, {})

    def _ask(self, role: str, claims: str, tries: Sequence[Try], settings: Mapping[str, str]) -> list[Answer]:
        if not tries:
            return []
        given = {**dict.fromkeys(LEGACY_SETTINGS, ""), "request.jwt.claims": claims, **settings}
        try:
            with self.conn.transaction(force_rollback=True):
                answered = self.conn.execute(
                    "select pg_temp.mcp_rls_probe(%s, %s, %s::text[], %s::text[])",
                    (
                        role,
                        self.resolved and role != LOGIN,
                        [list(pair) for pair in given.items()],
                        [[t.target, t.statement, t.look] for t in tries],
                    ),
                    prepare=False,
                ).fetchone()
        except psycopg.Error as error:
            raise CannotTest(f'can\'t act as the role "{role}": {one_line(error)}') from None
        assert answered is not None, "a function returns a row"
        return [_answer(text) for text in answered[0]]

    def keep(self, statements: Sequence[str]) -> list[str]:
        """Runs statements that return one text, and stay; of each '+' with that text, or its error."""
        if not statements:
            return []
        keep = "select pg_temp.mcp_rls_keep(%s::text[])"
        answered = self.conn.execute(keep, (list(statements),), prepare=False).fetchone()
        assert answered is not None, "a function returns a row"
        return list(answered[0])


def _answer(text: str) -> Answer:
    value = json.loads(text)
    if isinstance(value, dict) and "state" in value:
        return Answer(
            None,
            value["state"],
            value["message"] or "",
            value["named"] or "",
            value["relation"] or "",
            value["context"],
        )
    return Answer(value)


def _trap(table: Table) -> str:
    return (
        f"create trigger {_TRIGGER} before update or delete on {sql.table(table.name)} for each row"
        " when (pg_temp.mcp_rls_left_alone(old.tableoid, old.ctid)) execute function pg_temp.mcp_rls_let_be()"
    )


def _inherits_trigger(table: Table, tables: Iterable[Table]) -> bool:
    """Whether it gets the trigger from a partitioned table above it."""
    above = {t.name for t in tables if t.kind == "partitioned"}
    return table.kind != "table" and bool(above & set(table.parents))


def _batches(statements: Sequence[str], size: int = 50) -> Iterable[Sequence[str]]:
    return (statements[at : at + size] for at in range(0, len(statements), size))
