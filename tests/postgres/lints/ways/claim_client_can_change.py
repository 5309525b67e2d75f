"""user_metadata and headers; a setting that a callable function sets from its argument; e-mail under Supabase."""

from tests.postgres.lints.snippets import BASE, alter, function, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("tier", "(select app.claims()) -> 'app_metadata' ->> 'tier' = status")
        + policy("word", "status = 'user_metadata'"),
        bad=policy("own_words", "(select app.claims()) -> 'user_metadata' ->> 'tier' = status")
        + policy("deep", "((select app.claims()) #>> '{user_metadata,admin}')::boolean")
        + policy("header", "status = (select current_setting('request.headers', true)::json ->> 'x-tier')")
        + policy("name", "status = (select current_setting('application_name'))"),
        fix="".join(f"drop policy {name} on notes;" for name in ("own_words", "deep", "header", "name")),
        found=tuple(f"policy public.notes {name}" for name in ("own_words", "deep", "header", "name")),
        details=("user_metadata.tier", "headers", "application_name"),
    ),
    Ways(
        name="in a function, and from a setting",
        near_miss=BASE
        + function("app.tier()", "select app.claims() -> 'app_metadata' ->> 'tier'", returns="text")
        + policy("tier", "status = (select app.tier())")
        + policy("tenant", "status = (select current_setting('app.tenant', true))"),
        bad=function("app.tier()", "select app.claims() -> 'user_metadata' ->> 'tier'", returns="text")
        + "create function app.choose(tenant text) returns text language sql"
        " as $$ select set_config('app.tenant', tenant, false) $$;",
        fix=function("app.tier()", "select app.claims() ->> 'tier'", returns="text")
        + "revoke execute on function app.choose from public;",
        found=("function app.tier()", "policy public.notes tenant"),
    ),
    Ways(
        name="an e-mail address where clients can change it",
        file=(
            "mcp_rls: 1\nplatform: supabase\nschemas: [public]\nroles: [authenticated]\n"
            "identity: {direct: no_client}\ntables: {public.notes: {clients: none}}\n"
        ),
        near_miss=BASE + policy("title", "title = (select app.claims() ->> 'nickname')"),
        bad=policy("mail", "title = (select app.claims() ->> 'email')"),
        fix=alter("mail", "owner = (select app.me())"),
        found=("policy public.notes mail",),
    ),
]
