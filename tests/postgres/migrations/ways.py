"""All ways of one migration, one after the other in one database, with readers that look on."""

from __future__ import annotations

from tests.postgres.migrations.migration import Migration
from tests.postgres.migrations.observer import free_readers, looker
from tests.postgres.migrations.run import Run
from tests.postgres.scratch import Scratch, make_roles

ROLES = ("agent", "mcp_first", "mcp_second")
FREELY = 3  # in every third case sessions read without end meanwhile
FEWEST = 60  # reads that look on at one case


def there_and_back(case: Migration, scratch: Scratch) -> int:
    """How many reads looked on; AssertionError when anything isn't as the case says.

    Statement by statement, as a revision, by `apply`, and table by table: the same end each time, nothing left to do,
    and the first state on the way back, but for row security that stays on.
    """
    make_roles(scratch.connection, *ROLES)
    run = Run(scratch, case)
    run.begin()
    with looker(scratch.url, case) as looking:
        run.in_steps(looking)
        run.assert_told()
        if case.chosen(FREELY) and not case.resolves:
            with free_readers(scratch.url, case.sessions, case.reads, "revision") as readers:
                run.settle = readers.settle
                readers.settle()
                run.as_revision()
                readers.begin("apply")
                run.by_apply()
                readers.begin("by table")
                run.by_table(looking)
            for reader, free in readers.readers.items():
                assert free.errors == [], reader
                for (phase, query), seen in free.seen.items():
                    allowed = run.allowed(reader, query)
                    if phase == "by table":
                        assert all(any(s <= a for a in allowed) for s in seen), (reader, query)
                    else:
                        assert seen == allowed, (phase, reader, query)
            reads = readers.reads
        else:
            run.as_revision()
            run.by_apply()
            run.by_table(looking)
            reads = 0
        run.finish()
        reads += looking.reads
    assert reads >= FEWEST
    return reads
