"""One rule of a template is changed: its revision is short, does that and nothing else, and leads back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_rls.database.server import Server
from mcp_rls.scaffold import Template, templates
from tests.postgres.scratch import scratch_on
from tests.postgres.test_alembic import OPEN, Revisions

pytestmark = pytest.mark.postgres

EXTRA = "now() > '2020-01-01'"
RULE = re.compile(r"- (\{(?:allow|who):[^}]*)\}")
CONDITION = re.compile(r"""\b(rows|check): (?:"([^"]*)"|([^",}]+))""")

LONGEST = 170  # characters of a line
MOST_LINES = 39


def edits(text: str) -> Iterator[tuple[str, str]]:
    """Where a rule is narrowed, in each of its conditions, and the file with that done; no change is made twice."""
    for rule in RULE.finditer(text):
        conditions = list(CONDITION.finditer(rule[1]))
        for found in conditions:
            narrowed = f'{found[1]}: "({found[2] or found[3]}) and {EXTRA}"'
            yield _edited(text, rule.start(1) + found.start(), rule.start(1) + found.end(), narrowed)
        if not conditions:
            yield _edited(text, rule.end(1), rule.end(1), f', rows: "{EXTRA}"')


def _edited(text: str, start: int, end: int, inserted: str) -> tuple[str, str]:
    return f"line {text[:start].count(chr(10)) + 1}", text[:start] + inserted + text[end:]


@pytest.mark.parametrize("template", templates(), ids=lambda template: template.name)
def test_a_change_of_one_rule_is_read_in_a_minute(template: Template, server: Server, tmp_path: Path) -> None:
    """Whichever it is: no more lines than that; upgrading leaves nothing to do, and downgrading what was there."""
    text = (template.folder / "policies.yaml").read_text()
    text = text[text.index("mcp_rls:") :]
    revisions = Revisions(tmp_path / "migrations")
    with scratch_on(server) as scratch:
        scratch.run((template.folder / "schema.sql").read_text())
        revisions.up(scratch.url)
        revisions.write(scratch, text)
        revisions.up(scratch.url)
        before = scratch.prepare(text).actual
        changes = list(edits(text))
        assert len(changes) > 1
        for where, changed in changes:
            path = revisions.write(scratch, changed, "one rule")
            written = path.read_text()
            lines = written.splitlines()
            assert written.count("mcp_rls.record(/* what each says, for later plans */") == 2, (where, written)
            assert len(lines) <= MOST_LINES, (where, written)
            assert max(map(len, lines)) <= LONGEST, (where, written)
            revisions.up(scratch.url)
            assert scratch.left(changed) == [], where
            revisions.down(scratch.url, OPEN, to="-1")
            assert scratch.prepare(text).actual == before, where
            path.unlink()
