"""What the README says is so: its examples are parts of the help desk and what that compiles to."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.resources import bundled

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP_DESK = bundled("policy_templates") / "help-desk"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


OWNER_ROWS = """
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {direct: no_client}
roles: [authenticated]
classes: {assistant: {match: {ids: [assistant]}}}
scopes: {"notes:read": {text: Read}}
tables:
  public.notes:
    people: [{allow: select, rows: "owner_id = token.person"}]
    clients: [{who: assistant, allow: select, scope: "notes:read"}]
"""
CLASS_ROLES = """
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
class_roles: true
classes: {reader: {match: {ids: [reader]}}}
tables:
  public.notes:
    people: [{allow: select, rows: "author = token.person"}]
    clients: [{who: reader, allow: select, rows: "status = 'published'"}]
"""


def test_yaml_examples_are_the_help_desks_own():
    """Line by line, comments apart."""
    files = [(HELP_DESK / name).read_text(encoding="utf-8") for name in ("policies.yaml", "cases.yaml")]
    known = {line.partition("#")[0].strip() for text in files for line in text.splitlines()}
    for line in "\n".join(blocks("yaml")).splitlines():
        assert line.partition("#")[0].strip() in known, line


def test_the_sql_examples_are_what_is_emitted(tmp_path: Path):
    """To the character."""
    shared, repeated, own, *_ = blocks("sql")
    assert shared.strip() in CliRunner().invoke(main, ["compile", str(HELP_DESK / "policies.yaml")]).stdout
    notes = tmp_path / "policies.yaml"
    for example, text in ((repeated, OWNER_ROWS), (own, CLASS_ROLES)):
        notes.write_text(text, encoding="utf-8")
        assert example.strip() in CliRunner().invoke(main, ["compile", str(notes)]).stdout


def test_the_message_is_one_that_a_failing_run_gives():
    """Some of its lines, to the character."""
    golden = ROOT / "tests" / "postgres" / "golden" / "messages" / "select-rule-too-wide.txt"
    told = golden.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```\n(LEAK: .*?)```$", README, re.DOTALL | re.MULTILINE)
    for line in example.splitlines():
        assert line.removesuffix(" ...") in told, line


def test_every_command_and_extra_exists():
    """Commands that the README shows are commands, and extras are in pyproject.toml."""
    used = set(re.findall(r"^(?:mcp-rls|`mcp-rls) ([a-z-]+)", README, re.MULTILINE)) | set(
        re.findall(r"`mcp-rls ([a-z-]+)", README)
    )
    assert used <= set(main.commands)
    assert {"init", "check", "compile", "plan", "apply", "revision", "test"} <= used
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r'"mcp-rls\[([a-z]+)\]"', README):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    for target in re.findall(r"^make ([a-z]+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_links_lead_somewhere():
    """Files beside the README; nothing in the documents speaks of files that aren't there."""
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / link).exists(), link
    architecture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:compiler|database|harness|report|cli|lints)/[\w/]*(?:\.py)?|\w+\.py)`", architecture):
        assert (ROOT / "mcp_rls" / path).exists() or (ROOT / path).exists(), path
