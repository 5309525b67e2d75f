"""What several statements of a revision say alike is said once, and comes out as it went in."""

from __future__ import annotations

import pytest

from mcp_rls.alembic_plugin.sharing import ways

MINE = "(owner_id = (select mcp_rls.person()))"
STATEMENTS = [
    f"alter policy \"a\" on public.notes to authenticated using ({MINE} and (status = '(open'))",
    f'alter policy "b" on public.notes to authenticated using ({MINE}) with check ({MINE})',
    f"select mcp_rls.record($$ {MINE} $$)",
]


def test_every_way_says_the_same() -> None:
    """With the parts in their places again, each statement is what it was; what is no policy is left alone."""
    found = list(ways(STATEMENTS))
    assert found[0] == (STATEMENTS, ())
    assert any(parts == [MINE] for _, parts in found)
    for statements, parts in found:
        assert statements[2] == STATEMENTS[2]
        together = " ".join(statements)
        places = [together.index(f"%{n}$s") for n in range(1, len(parts) + 1)]
        assert places == sorted(places), "numbered as a reader meets them"
        for number, part in enumerate(parts, start=1):
            together = together.replace(f"%{number}$s", part)
        assert together == " ".join(STATEMENTS)


@pytest.mark.parametrize(
    "other", ["select 1 % 2", "alter policy \"c\" on public.notes using ((title like 'a%') and (owner_id is null))"]
)
def test_with_a_per_cent_sign_nothing_is_shared(other: str) -> None:
    """format() would take it for a place."""
    assert [parts for _, parts in ways([*STATEMENTS, other])] == [()]


def test_of_many_statements_nothing_is_shared() -> None:
    """Who reads so many looks for each by itself."""
    assert len(list(ways(STATEMENTS * 4))) > 1
    assert len(list(ways(STATEMENTS * 5))) == 1
