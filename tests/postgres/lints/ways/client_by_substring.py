"""Parts of a client's id; an address up to the end of its host is whole."""

from tests.postgres.lints.snippets import BASE, CLIENT, alter, function, policy
from tests.postgres.lints.world import Ways

_WELL_FORMED = """
create or replace function app.client() returns text language plpgsql stable parallel safe as $$
declare client_id text := app.claims() ->> 'client_id';
begin
  if client_id ~ '[^!-~]|%2[eE]' or client_id like '%\\%' then raise 'no id'; end if;
  return client_id;
end $$;
"""

WAYS = [
    Ways(
        near_miss=BASE
        + policy("named", f"({CLIENT}) in ('assistant', 'reader')")
        + policy("address", f"({CLIENT}) like 'https://claude.ai/%'")
        + policy("begins", f"starts_with({CLIENT}, 'https://claude.ai/')")
        + policy("pattern", f"({CLIENT}) ~ '^https://claude\\.ai/'")
        + policy("title", "title like 'assistant%'"),
        bad=policy("liked", f"({CLIENT}) like 'assistant%'")
        + policy("open_host", f"({CLIENT}) like 'https://claude.ai%'")
        + policy("any_dot", f"({CLIENT}) ~ '^https://claude.ai/'")
        + policy("cut", f"left({CLIENT}, 9) = 'assistant'"),
        fix="".join(f"drop policy {name} on notes;" for name in ("liked", "open_host", "any_dot", "cut")),
        found=tuple(f"policy public.notes {name}" for name in ("liked", "open_host", "any_dot", "cut")),
        details=("a part of its id",),
    ),
    Ways(
        name="given to a function",
        near_miss=BASE
        + function("app.known(client text)", "select client = any (array['assistant'])")
        + policy("gate", f"(select app.known({CLIENT}))"),
        bad=function("app.known(client text)", "select strpos(client, 'assistant') = 1"),
        fix=alter("gate", "owner = (select app.me())"),
        found=("function app.known(client text)",),
    ),
    Ways(
        name="a function that turns away what is no id",
        near_miss=BASE
        + _WELL_FORMED
        + policy("gate", "(select app.client()) = 'assistant'")
        + policy("plain", f"({CLIENT}) !~ '[[:space:]]' and ({CLIENT}) = 'reader' and strpos({CLIENT}, ' ') = 0"),
        bad=_WELL_FORMED.replace("'[^!-~]|%2[eE]'", "'[^!-~]|evil[0-9]'"),
        fix=_WELL_FORMED,
        found=("function app.client()",),
        details=("evil",),
    ),
]
