"""Functions that only read, left VOLATILE."""

from tests.postgres.lints.snippets import BASE, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + """
        create table asked (at timestamptz);
        create function app.noted() returns boolean language plpgsql as $$
        begin insert into public.asked values (now()); return true; end $$;
        create function app.dice() returns boolean language sql as $$ select random() < 0.5 $$;
        create function app.unread(a text) returns boolean language plpgsql as $$
        declare ok boolean; begin execute a into ok; return ok; end $$;
        """
        + policy("one", "app.noted() and app.dice() and app.unread('select true') and owner = (select app.me())"),
        bad="alter function app.me() volatile",
        fix="alter function app.me() stable",
        found=("function app.me()",),
        details=("only reads", "alter function app.me() stable"),
    ),
    Ways(
        name="one that says nothing",
        near_miss=BASE + "create function app.not_called() returns int language sql as $$ select 1 $$;",
        bad="create function app.mine(o uuid) returns boolean language plpgsql as $$ begin return o = app.me(); end $$;"
        + policy("one", "app.mine(owner)"),
        fix="alter function app.mine(uuid) stable",
        found=("function app.mine(o uuid)",),
    ),
]
