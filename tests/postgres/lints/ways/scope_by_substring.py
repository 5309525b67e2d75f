"""LIKE, position and patterns in a scope, in policies, in functions, and in a table of grants."""

from tests.postgres.lints.snippets import BASE, SCOPE, alter, function, policy
from tests.postgres.lints.world import Ways

_HAS = "'tickets:read' = any (string_to_array(app.claims() ->> 'scope', ' '))"

_BAD = ("liked", "found", "matched", "turned", "whole", "joined")

WAYS = [
    Ways(
        near_miss=BASE
        + policy("words", f"'tickets:read' = any (string_to_array({SCOPE}, ' '))")
        + policy("padded", f"' ' || ({SCOPE}) || ' ' like '% tickets:read %'")
        + policy("cut", f"strpos(' ' || ({SCOPE}) || ' ', ' tickets:read ') > 0")
        + policy("anchored", f"({SCOPE}) ~ '(^| )tickets:read( |$)'")
        + policy("element", "((select app.claims()) -> 'scopes')::text like '%\"tickets:read\"%'")
        + policy("title", "title like '%tickets:read%'")
        + policy("formed", f"({SCOPE}) !~ '[^a-z: ]|[ ]{{2}}' and (app.claims())::text !~ '\\s\\s'")
        + policy("each", f"exists (select from unnest(string_to_array({SCOPE}, ' ')) w where w like 'tickets:%')"),
        bad=policy("liked", f"({SCOPE}) like '%tickets:read%'")
        + policy("found", f"position('tickets:read' in ({SCOPE})) > 0")
        + policy("matched", f"({SCOPE}) ~ '\\mtickets:read\\M'")
        + policy("turned", f"'tickets:read' like '%' || ({SCOPE}) || '%'")
        + policy("joined", f"array_to_string(string_to_array({SCOPE}, ' '), ',') like '%tickets:read%'")
        + policy("whole", "(select current_setting('request.jwt.claims', true)) like '%tickets:read%'"),
        fix="".join(f"drop policy {name} on notes;" for name in _BAD),
        found=tuple(f"policy public.notes {name}" for name in _BAD),
        details=("inside a longer one", "LIKE '%tickets:read%'"),
    ),
    Ways(
        name="in a function that a policy calls through another",
        near_miss=BASE
        + function("app.has(word text)", "select word = any (string_to_array(app.claims() ->> 'scope', ' '))")
        + function("app.may_read()", "select app.has('tickets:read')")
        + policy("gate", "(select app.may_read())"),
        bad=function("app.has(word text)", "select app.claims() ->> 'scope' like '%' || word || '%'"),
        fix=function("app.has(word text)", "select ' ' || (app.claims() ->> 'scope') || ' ' like '% ' || word || ' %'"),
        found=("function app.has(word text)",),
    ),
    Ways(
        name="in PL/pgSQL, and in the scopes of a table",
        near_miss=BASE
        + "create table grants (person uuid, scopes text);"
        + policy("gate", "exists (select from grants g where g.scopes = 'tickets:read')"),
        bad="""
        create function app.has(word text) returns boolean language plpgsql stable as $$
        declare held text := app.claims() ->> 'scope';
        begin
          if word is null then return false; end if;
          return strpos(held, word) > 0;
        end $$;
        """
        + policy("called", "(select app.has('tickets:read'))")
        + alter("gate", "exists (select from grants g where g.scopes like '%tickets:read%')"),
        fix="drop policy called on notes; " + alter("gate", "owner = (select app.me())"),
        found=("function app.has(word text)", "policy public.notes gate"),
    ),
]
