"""What isn't as it was noted, and no plan puts back: told by `plan` and `apply` before it counts as meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mcp_rls.cli import main
from mcp_rls.database import apply
from mcp_rls.database.fleet import applying
from mcp_rls.database.waiting import Moved
from tests.postgres.scratch import HEAD, NOTES, Scratch, helper, policies

pytestmark = pytest.mark.postgres

TABLES = NOTES + """
create view public.shown with (security_invoker) as select * from public.notes;
grant select on public.shown to authenticated;
create table public.quiet (id integer); insert into public.quiet values (1);
"""  # fmt: skip
FILE = HEAD + "tables: {public.notes: {clients: [{who: helper, allow: select, rows: id = %s}]}}"
BY_HAND = {
    "policy public.notes extra": "create policy extra on public.notes using (id < 3)",
    "table public.shown": "alter view public.shown reset (security_invoker)",
    "table public.quiet": "grant select on public.quiet to authenticated",
}
SAID = (
    "found changed by hand: policy public.notes extra: new, permissive for all to public, using ((id < 3))",
    "found changed by hand: table public.shown: without security_invoker; was: with security_invoker",
    "found changed by hand: table public.quiet: authenticated has SELECT; was: not granted",
)


@pytest.fixture
def changed(scratch: Scratch) -> Scratch:
    """Policies are applied, and then somebody comes by."""
    scratch.run(TABLES)
    scratch.install(FILE % 1)
    for change in BY_HAND.values():
        scratch.run(change)
    return scratch


@pytest.fixture
def ask(changed: Scratch, tmp_path: Path) -> Callable[..., Result]:
    """What a command says with a file that lets the client see the note of that number."""
    file = tmp_path / "policies.yaml"

    def answered(command: str, number: int, *options: str) -> Result:
        file.write_text(FILE % number, encoding="utf-8")
        arguments = [command, str(file), "--database", changed.url, *options]
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return answered


def subjects(result: Result) -> set[str]:
    return {found["subject"] for found in json.loads(result.stdout)["found_changed_by_hand"]}


def told(text: str) -> int:
    """How many of the changes by hand this text tells, each as one that opens."""
    found = [line.removeprefix("mcp-rls: ").lower() for line in text.splitlines()]
    return sum(any(line.startswith("opens") and said.lower() in line for line in found) for said in SAID)


@pytest.mark.parametrize("number", [1, 2], ids=["nothing pending", "a rule pending"])
def test_a_plan_tells_them(ask: Callable[..., Result], number: int):
    """Whether or not anything is pending; in each format."""
    result = ask("plan", number)
    assert (result.exit_code, told(result.stdout)) == (number - 1, 3)
    assert subjects(ask("plan", number, "--format", "json")) == set(BY_HAND)
    assert ask("plan", number, "--format", "github").stdout.count("title=found changed by hand") == 3


@pytest.mark.parametrize("number", [1, 2], ids=["nothing pending", "a rule pending"])
@pytest.mark.parametrize("options", [(), ("--per-table",)], ids=["at once", "by table"])
def test_apply_tells_them_once(changed: Scratch, ask: Callable[..., Result], number: int, options: tuple[str, ...]):
    """Before anything is done; then they count as meant."""
    assert ask("drift", number).exit_code == 1
    result = ask("apply", number, *options)
    assert (result.exit_code, told(result.stdout)) == (0, 3)
    assert result.stdout.splitlines()[-1].endswith("; took note of 3 found changed by hand")
    assert result.output.find("found changed by hand") < max(
        result.output.find("change policy"), len(result.output) - 1
    )
    assert ask("drift", number).exit_code == 0
    assert "found changed" not in ask("apply", number).output
    assert changed.sees(helper()) == [number]


def test_apply_tells_them_in_json(ask: Callable[..., Result]):
    """In the report, and on stderr before it; there each change is told line by line."""
    result = ask("apply", 2, "--format", "json")
    assert subjects(result) == set(BY_HAND)
    assert told(result.stderr) == 3
    lines = ["change policy 'mcp_rls: notes select'", "class helper loses select where id = 1", "class helper gains"]
    assert f"\n{'':10}".join(lines) in result.stderr


def test_what_is_put_back_is_a_change_of_the_plan(changed: Scratch, ask: Callable[..., Result]):
    """And isn't told as something that stays."""
    changed.run('alter policy "mcp_rls: notes select" on public.notes using (true); grant truncate on notes to public')
    result = ask("plan", 1)
    assert (result.exit_code, result.stdout.count("found changed by hand: "), told(result.stdout)) == (1, 3, 3)
    assert "change policy 'mcp_rls: notes select'" in result.stdout


@pytest.mark.parametrize("change", BY_HAND.values(), ids=BY_HAND)
def test_what_came_after_the_plan_is_not_noted_unsaid(scratch: Scratch, change: str):
    """A plan says what it takes note of: where there is more, it is refused."""
    scratch.run(TABLES)
    scratch.install(FILE % 1)
    carry = partial(apply.apply_plan, scratch.connection, policies(FILE % 2))
    wanted = scratch.prepare(FILE % 2).plan
    scratch.run(change)
    with pytest.raises(Moved):
        carry(wanted)
    assert scratch.sees(helper()) == [1]
    carry(scratch.prepare(FILE % 2).plan)
    assert scratch.sees(helper()) == [2]


def test_what_comes_while_tables_change_is_told(scratch: Scratch):
    """Table by table takes its time; what isn't of the plan's own making is told at the end."""
    scratch.run(TABLES)
    scratch.install(FILE % 1)
    said: list[str] = []

    def step(line: str) -> None:
        said.append(line)
        if line.startswith("1/"):
            for change in BY_HAND.values():
                scratch.run(change)

    apply.apply_by_table(scratch.connection, policies(FILE % 2), progress=step)
    assert {line.split(": ")[1] for line in said if line.startswith("found changed by hand meanwhile: ")} == set(
        BY_HAND
    )


def test_databases_of_a_fleet_tell_theirs(changed: Scratch):
    """One that has some is told apart from those that are in step alike."""
    work = applying(policies(FILE % 1), lock_timeout="300ms", patience=1)
    first, second = (work(changed.connection, lambda _: None) for _ in range(2))
    assert first.standing is second.standing
    assert first.plan is not None
    assert {o.subject for o in first.plan.by_hand} == set(BY_HAND)
    assert (first.details, second.details) == (first.plan.by_hand, ())
