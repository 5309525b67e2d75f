"""An absent or broken client, or scope, that opens."""

from tests.postgres.lints.snippets import BASE, CLIENT, SCOPE, alter, function, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("key", "not ((select app.claims()) ? 'client_id') or status = 'open'")
        + policy("arrow", "((select app.claims()) -> 'client_id') is null or status = 'open'")
        + policy("there", f"({CLIENT}) is not null and ({CLIENT}) = 'a'")
        + policy("refused", f"case when ({CLIENT}) is null then false else true end")
        + policy("unset", "title is null"),
        bad=policy("missing", f"({CLIENT}) is null or status = 'open'")
        + policy("emptied", f"nullif({CLIENT}, '') is null")
        + policy("filled_in", f"coalesce({CLIENT}, '') = ''")
        + policy("named", f"coalesce({CLIENT}, 'web') in ('web', 'crm')")
        + policy("chosen", f"case when ({CLIENT}) is null then true else status = 'open' end")
        + policy("granted", f"'tickets:read' = any (string_to_array(coalesce({SCOPE}, 'tickets:read'), ' '))")
        + policy("scopeless", f"({SCOPE}) is null or ({SCOPE}) = 'tickets:read'"),
        fix="".join(
            f"drop policy {name} on notes;"
            for name in ("missing", "emptied", "filled_in", "named", "chosen", "granted", "scopeless")
        ),
        found=tuple(
            f"policy public.notes {name}"
            for name in ("missing", "emptied", "filled_in", "named", "chosen", "granted", "scopeless")
        ),
        details=("as if there were none", "not (claims ? 'client_id')"),
    ),
    Ways(
        name="in functions; the session's own row decides otherwise",
        near_miss=BASE
        + """
        create table sessions (id text, oauth_client_id text);
        create function app.direct() returns boolean language sql stable as $$
          select app.claims() ->> 'client_id' is null and exists (
            select from sessions s where s.id = app.claims() ->> 'session_id' and s.oauth_client_id is null) $$;
        """
        + policy("gate", "(select app.direct())"),
        bad=function("app.direct()", "select app.claims() ->> 'client_id' is null")
        + """
        create function app.owner_or_direct(row_owner uuid) returns boolean language plpgsql stable as $$
        begin
          if app.claims() ->> 'client_id' is null then return true; end if;
          return row_owner = app.me();
        end $$;
        """
        + policy("more", "app.owner_or_direct(owner)"),
        fix=function("app.direct()", "select not (app.claims() ? 'client_id')") + "drop policy more on notes;",
        found=("function app.direct()", "function app.owner_or_direct(row_owner uuid)"),
    ),
    Ways(
        name="in an arm of its own, beside one that asks for the key",
        near_miss=BASE
        + policy("keyed", f"not ((select app.claims()) ? 'client_id') and ({CLIENT}) is null or status = 'open'"),
        bad=policy("either", f"not ((select app.claims()) ? 'client_id') or ({CLIENT}) is null"),
        fix=alter("either", "not ((select app.claims()) ? 'client_id')"),
        found=("policy public.notes either",),
    ),
]
