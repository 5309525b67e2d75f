"""Servers that say they are old; which versions there are faults in has a test of its own."""

from tests.postgres.lints.world import Ways

_TABLE = "create table notes (id integer); "

WAYS = [
    Ways(
        version=17_00_05,
        near_miss=_TABLE,
        bad="alter table notes enable row level security",
        fix="alter table notes disable row level security",
        found=("server",),
        details=("PostgreSQL 17.5", "CVE-2025-8713", "17.6 mends it"),
    ),
    Ways(
        version=15_00_02,
        near_miss=_TABLE,
        bad="alter table notes enable row level security",
        fix="drop table notes",
        found=("server",) * 4,
    ),
]
