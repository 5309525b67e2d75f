"""<>, NOT IN and a table of the blocked; beside a list of the admitted they are fine."""

from tests.postgres.lints.snippets import BASE, CLIENT, policy
from tests.postgres.lints.world import Ways

WAYS = [
    Ways(
        near_miss=BASE
        + policy("two", f"({CLIENT}) = any (array['a', 'b']) and ({CLIENT}) <> 'b'")
        + policy("there", f"({CLIENT}) <> '' and ({CLIENT}) = 'a'")
        + policy("turned", f"not (({CLIENT}) <> 'a')")
        + policy("title", "status <> 'spam'"),
        bad=policy("unlike", f"({CLIENT}) <> 'scraper'")
        + policy("outside", f"({CLIENT}) not in ('a', 'b')")
        + policy("other", f"({CLIENT}) is distinct from 'scraper'")
        + policy("cases", f"case when ({CLIENT}) = 'scraper' then false else owner = (select app.me()) end"),
        fix="".join(f"drop policy {name} on notes;" for name in ("unlike", "outside", "other", "cases")),
        found=tuple(f"policy public.notes {name}" for name in ("unlike", "outside", "other", "cases")),
        details=("every client that it doesn't name",),
    ),
    Ways(
        name="a table of the blocked, with and without a restrictive list of the admitted",
        near_miss=BASE
        + "create table blocked (client_id text not null); create table clients (id text primary key);"
        + policy("blocked", f"({CLIENT}) in (select id from clients)", kind="restrictive")
        + policy("open", f"({CLIENT}) not in (select b.client_id from blocked b)"),
        bad="drop policy blocked on notes;",
        fix=policy("listed", f"({CLIENT}) in (select id from clients)", kind="restrictive"),
        found=("policy public.notes open",),
    ),
]
