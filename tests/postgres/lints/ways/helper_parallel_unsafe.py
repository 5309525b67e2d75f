"""Functions that only read, left PARALLEL UNSAFE."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + """
        create function app.caught() returns uuid language plpgsql stable as $$
        begin return app.me(); exception when others then return null; end $$;
        """
        + policy("one", "owner = (select app.caught())"),
        bad="alter function app.me() parallel unsafe",
        fix="alter function app.me() parallel safe",
        found=("function app.me()",),
        details=("no query on public.notes runs in parallel",),
    ),
    Ways(
        name="one that says nothing; Supabase's own are let be",
        near_miss=BASE
        + """
        create schema auth;
        create function auth.uid() returns uuid language sql stable
          as $$ select (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$;
        """
        + policy("one", "owner = (select auth.uid())"),
        bad="create function app.open(s text) returns boolean language sql stable return s = 'open';"
        + policy("two", "app.open(status)"),
        fix="alter function app.open(text) parallel restricted",
        found=("function app.open(s text)",),
    ),
]
