"""Many rules of one shape: one arm in the policy, and each class still sees its own rows and no other."""

from __future__ import annotations

import pytest

from mcp_rls.compiler import shapes
from tests.postgres.scratch import Scratch, ann

pytestmark = pytest.mark.postgres

COUNT = 3 * shapes.MANY
SCHEMA = """
create table public.parcels (id integer primary key, region text not null, owner uuid not null, size integer not null);
insert into public.parcels select n, 'r' || n, '00000000-0000-4000-8000-00000000000a', n * 10
from generate_series(1, 40) n;
grant select, insert, update, delete on public.parcels to authenticated;
"""
CONDITIONS = {
    "an equality": lambda n: f"region = 'r{n}'",
    "a list of one length or another": lambda n: "region in (" + ", ".join(f"'r{m}'" for m in range(n, n + 1)) + ")",
    "a number": lambda n: f"size = {n * 10}",
    "two columns": lambda n: f"region = 'r{n}' and size <= {n * 10}",
    "a list left out": lambda n: "region not in (" + ", ".join(f"'r{m}'" for m in range(1, 41) if m != n) + ")",
}


def rules(condition, allow: str = "[select, update]") -> str:
    """A class for each number, each with its own condition."""
    classes = "".join(f"  c{n}: {{match: {{ids: [id-{n}]}}}}\n" for n in range(1, COUNT + 1))
    lines = "".join(f'      - {{who: c{n}, allow: {allow}, rows: "{condition(n)}"}}\n' for n in range(1, COUNT + 1))
    head = "mcp_rls: 1\nplatform: postgres\nschemas: [public]\nroles: [authenticated]\n"
    return f"{head}classes:\n{classes}tables:\n  public.parcels:\n    clients:\n{lines}"


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_each_class_sees_its_own_rows(condition, scratch: Scratch):
    """However many classes differ in their constants, each reads and changes what its rule says, and nothing else."""
    scratch.run(SCHEMA)
    scratch.install(rules(condition))
    using = scratch.value(
        "select pg_get_expr(polqual, polrelid) from pg_policy where polname = 'mcp_rls: parcels select'"
    )
    assert using.count("WHEN") == 2  # the direct session's arm, and one for all of them
    for n in (1, 2, COUNT):
        assert scratch.sees(ann(client_id=f"id-{n}"), table="public.parcels") == [n]
        assert scratch.ask(ann(client_id=f"id-{n}"), "update public.parcels set owner = owner") == 1
    assert scratch.sees(ann(client_id="id-0"), table="public.parcels") == []
    assert scratch.sees(ann(), table="public.parcels") == list(range(1, 41))
