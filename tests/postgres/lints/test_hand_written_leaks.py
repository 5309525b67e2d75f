"""Faults in policies by hand: each lets a token through on a real server, is found, and after its fix does neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.postgres.lints.snippets import BASE, CLIENT, MEMBERS, SCOPE, alter, policy
from tests.postgres.lints.world import subjects
from tests.postgres.scratch import ANN, BOB, Answer, Scratch, ann, helper

pytestmark = pytest.mark.postgres

ROWS = f"""
insert into notes values (1, '{ANN}', 1, 'open', 'a'), (2, '{ANN}', 1, 'closed', 'b'), (3, '{BOB}', 2, 'open', 'c');
"""
_MINE = "owner = (select app.me())"
_DIRECT = "not ((select app.claims()) ? 'client_id')"
_CEILING = f"(({CLIENT}) = 'helper' and status = 'open')"


@dataclass(frozen=True)
class Leak:
    """`asked` gives `leaked` under the fault and `right` after its fix."""

    fault: str
    fix: str
    asked: Callable[[Scratch], Answer]
    leaked: Answer
    right: Answer


def sees(**claims: object) -> Callable[[Scratch], Answer]:
    """What Ann's token with these claims sees of the notes."""
    return lambda scratch: scratch.sees(ann(**claims))


def given_away(scratch: Scratch) -> Answer:
    """How many rows a blind UPDATE of Ann's client gives to Bob."""
    return scratch.ask(helper(), f"update notes set owner = '{BOB}'")


def taken(scratch: Scratch) -> Answer:
    """What Ann sees after she made all documents hers that she may."""
    return scratch.ask(ann(), f"update docs set owner = '{ANN}'", "select id from notes order by id")


def by_another_plan(scratch: Scratch) -> Answer:
    """What Bob's token sees by a statement that was prepared, and planned, for Ann's."""
    scratch.run("set plan_cache_mode = force_generic_plan")
    with scratch.token(ann()):
        scratch.connection.execute("prepare notes_seen as select id from notes order by id")
        scratch.connection.execute("execute notes_seen")
    answer = scratch.ask({"sub": BOB}, "execute notes_seen")
    scratch.run("deallocate notes_seen")
    return answer


LEAKS = {
    "scope-by-substring": Leak(
        policy("own", f"{_MINE} and ({SCOPE}) like '%notes:read%'"),
        alter("own", f"{_MINE} and 'notes:read' = any (string_to_array({SCOPE}, ' '))"),
        sees(scope="openid notes:read-titles"),
        [1, 2],
        [],
    ),
    "client-null-as-direct": Leak(
        policy("own", _MINE) + policy("gate", f"({CLIENT}) is null or {_CEILING}", kind="restrictive"),
        alter("gate", f"{_DIRECT} or {_CEILING}"),
        sees(client_id=None),
        [1, 2],
        [],
    ),
    "helper-immutable": Leak(
        "alter function app.me() immutable;" + policy("own", "owner = app.me()"),
        "alter function app.me() stable",
        by_another_plan,
        [1, 2],
        [3],
    ),
    "update-check-wider": Leak(
        policy("own", _MINE)
        + f"create policy changed on notes for update to authenticated using ({_MINE}) with check (true);",
        f"alter policy changed on notes with check ({_MINE})",
        given_away,
        2,
        '42501 new row violates row-level security policy for table "notes"',
    ),
    "permissive-gate": Leak(
        policy("people", _MINE, "all") + policy("agents", f"{_MINE} and {_CEILING}"),
        "drop policy agents on notes;" + policy("gate", f"{_DIRECT} or {_CEILING}", "all", kind="restrictive"),
        sees(client_id="helper"),
        [1, 2],
        [1],
    ),
    "compared-with-itself": Leak(
        MEMBERS
        + f"insert into members values (2, '{ANN}');"
        + policy("orgs", "exists (select from members m where m.org_id = org_id and m.user_id = (select app.me()))"),
        alter("orgs", "exists (select from members m where m.org_id = notes.org_id and m.user_id = (select app.me()))"),
        sees(),
        [1, 2, 3],
        [3],
    ),
    "client-by-substring": Leak(
        policy("own", f"({CLIENT}) like 'https://claude.ai%'"),
        alter("own", f"({CLIENT}) like 'https://claude.ai/%'"),
        sees(client_id="https://claude.ai.evil.example/mcp"),
        [1, 2, 3],
        [],
    ),
    "client-by-exclusion": Leak(
        policy("own", f"{_MINE} and ({CLIENT}) <> 'scraper'"),
        alter("own", f"{_MINE} and ({CLIENT}) = 'helper'"),
        sees(client_id="scraper-2"),
        [1, 2],
        [],
    ),
    "claim-client-can-change": Leak(
        policy("own", "status = (select app.claims()) -> 'user_metadata' ->> 'sees'"),
        alter("own", "status = (select app.claims()) -> 'app_metadata' ->> 'sees'"),
        sees(user_metadata={"sees": "open"}),
        [1, 3],
        [],
    ),
    "membership-writable": Leak(
        f"""create table docs (id integer primary key, owner uuid, locked boolean);
        insert into docs values (1, '{ANN}', false), (2, '{BOB}', false);
        alter table docs enable row level security;
        grant select, update on docs to authenticated;
        create policy own on docs to authenticated using (true) with check ({_MINE});
        """
        + policy(
            "parents",
            "exists (select from docs d where d.id = org_id and d.owner = (select app.me()) and not d.locked)",
        ),
        f"alter policy own on docs using ({_MINE})",
        taken,
        [1, 2, 3],
        [1, 2],
    ),
    "permissive-true": Leak(
        policy("own", _MINE) + policy("dropped", "(select app.me()) is not null", "delete"),
        alter("dropped", _MINE),
        lambda scratch: scratch.ask(helper(), "delete from notes"),
        3,
        2,
    ),
}


@pytest.mark.parametrize("lint", LEAKS)
def test_what_is_found_leaks(lint: str, scratch: Scratch) -> None:
    """The token gets through where the lint warns; after the fix neither."""
    leak = LEAKS[lint]
    scratch.run(BASE + ROWS + leak.fault)
    assert leak.asked(scratch) == leak.leaked
    assert subjects(scratch, lint) != []
    scratch.run(leak.fix)
    assert leak.asked(scratch) == leak.right
    assert subjects(scratch, lint) == []
