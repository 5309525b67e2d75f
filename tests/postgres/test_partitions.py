"""A table of a thousand partitions: its policies hold through the parent, and each partition is a table of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_rls.database.server import Server
from tests.postgres.plans import Read, read
from tests.postgres.scratch import ANN, BOB, Scratch, ann, helper, scratch_on

pytestmark = pytest.mark.postgres

PARTITIONS = 1000
SCHEMA = f"""
create table public.events (day integer not null, owner uuid not null, kind text not null, id integer not null)
  partition by range (day);
create index on public.events (owner);
do $$ begin
  for n in 0 .. {PARTITIONS - 1} loop
    execute format('create table public.events_%1$s partition of public.events for values from (%1$s) to (%2$s);'
      'grant select, insert, update, delete on public.events_%1$s to authenticated', n, n + 1);
  end loop;
end $$;
insert into public.events select n, '{ANN}', case n % 2 when 0 then 'open' else 'closed' end, 2 * n
  from generate_series(0, {PARTITIONS - 1}) n;
insert into public.events select n, '{BOB}', 'open', 2 * n + 1 from generate_series(0, {PARTITIONS - 1}) n;
grant select, insert, update, delete on public.events to authenticated;
"""
POLICIES = """
tables:
  public.events:
    people: [{allow: [select, insert, update, delete], rows: "owner = token.person"}]
    clients: [{who: helper, allow: [select, insert, update, delete], rows: "kind = 'open'"}]
  public.events_4:
    people: [{allow: select, rows: "owner = token.person"}]
    clients: [{who: helper, allow: select, rows: "kind = 'open'"}]
"""
REFUSED = "row-level security"
OPEN = list(range(0, 2 * PARTITIONS, 4))  # Ann's open events, two in four


@pytest.fixture(scope="module")
def parted(server: Server) -> Iterator[Scratch]:
    """The table with its policies; each test leaves it as it was."""
    with scratch_on(server) as made:
        made.run(SCHEMA)
        made.install(POLICIES)
        yield made


def plan(parted: Scratch, query: str) -> tuple[Read, str]:
    """The plan of a query of the client, read and as text."""
    with parted.token(helper()) as connection:
        answer = connection.execute(f"explain (analyze, verbose, format json) {query}".encode()).fetchall()
    return read(answer), str(answer)


def test_through_the_parent(parted: Scratch) -> None:
    """A client reads, writes and moves what its person has and its rule admits, whichever partition that is in."""
    assert parted.sees(helper(), "events") == OPEN
    assert parted.sees(ann(), "events") == list(range(0, 2 * PARTITIONS, 2))
    assert parted.ask(helper(), "select id from events where day = 6") == [12]
    assert parted.ask(helper(), "select id from events where day = 5") == []
    assert parted.ask(ann(), "select id from events where day = 5") == [10]
    assert parted.ask(helper(), "update events set day = day + 1 where day = 6 returning id") == [12]
    assert parted.ask(helper(), "update events set kind = kind where day in (5, 6)") == 1
    assert parted.ask(helper(), "delete from events") == len(OPEN)
    assert REFUSED in str(parted.ask(helper(), "update events set day = 7, kind = 'closed' where day = 6"))
    new = "insert into events values (8, '{}', '{}', 1) returning tableoid::regclass::text"
    assert parted.ask(helper(), new.format(ANN, "open")) == ["events_8"]
    assert REFUSED in str(parted.ask(helper(), new.format(ANN, "closed")))
    assert REFUSED in str(parted.ask(helper(), new.format(BOB, "open")))


def test_each_partition_is_covered(parted: Scratch) -> None:
    """By its own name a partition is closed to clients, unless it has rules of its own; people keep what they had."""
    off = "select count(*) from pg_class where relnamespace = 'public'::regnamespace and not relrowsecurity"
    assert parted.value(f"{off} and relkind in ('r', 'p')") == 0
    for day in (0, 6, PARTITIONS - 1):
        assert parted.sees(helper(), f"events_{day}") == []
        assert parted.sees(ann(), f"events_{day}") == [2 * day, 2 * day + 1]
    assert (parted.sees(helper(), "events_4"), parted.sees(ann(), "events_4")) == ([8], [8])


def test_pruning(parted: Scratch) -> None:
    """A query that names a partition looks into that one alone; whatever it looks into, policies ask once."""
    (pruned, one), (whole, every) = (
        plan(parted, "select * from events where day = 6"),
        plan(parted, "select * from events"),
    )
    scans = [text.count("'Relation Name'") for text in (one, every)]
    assert scans == [1, PARTITIONS]
    for found in (pruned, whole):
        assert {s.loops for s in found.ours} == {1}
        assert len(found.ours) == len(pruned.ours)
        assert not [text for text in found.per_row if "mcp_rls." in text]
