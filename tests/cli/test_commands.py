"""The command line without a database: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mcp_rls.cli import main
from mcp_rls.resources import bundled, codes

ROOT = Path(__file__).parents[2]
HELP_DESK = bundled("policy_templates") / "help-desk" / "policies.yaml"
TEN_MISTAKES = ROOT / "tests" / "compiler" / "cases" / "ten-mistakes" / "policies.yaml"
COMMANDS = ("init", "check", "schema", "compile", "plan", "apply", "revision", "test", "demo", "explain-code")

SMALL = """\
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
classes:
  assistant: {match: {ids: [help-desk-assistant]}}
scopes:
  "tickets:read": {text: Read your tickets}
tables:
  public.tickets:
    clients:
      - {who: assistant, allow: select, scope: "tickets:read"}
"""


@pytest.fixture(autouse=True)
def _no_given_database(monkeypatch: pytest.MonkeyPatch):
    """A database of the one who runs the tests is no business of these."""
    monkeypatch.delenv("MCP_RLS_DATABASE_URL", raising=False)


def run(*arguments: str | Path) -> Result:
    """In this process; an exception that isn't an exit fails the test."""
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def process(*arguments: str | Path, code: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own; `code` runs before the command line does."""
    start = f"import sys; {code}\nfrom mcp_rls.cli import main\nsys.argv[0] = 'mcp-rls'\nmain()"
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "MCP_RLS_DATABASE_URL")}
    return subprocess.run(
        [sys.executable, "-c", start, *map(str, arguments)],
        cwd=ROOT, env={**kept, **environment}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip


# --- help and usage


def test_help_lists_every_command():
    """Each with what it does."""
    result = run("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", result.stdout, re.MULTILINE), command
        assert run(command, "--help").exit_code == 0


def test_help_is_fast():
    """No heavy library is imported for it."""
    heavy = "{'rich', 'pydantic', 'sqlglot', 'ruamel.yaml', 'yaml', 'psycopg', 'alembic', 'sqlalchemy', 'pytest'}"
    shown = process(
        "--help", code=f"import atexit; atexit.register(lambda: print({heavy} & set(sys.modules), file=sys.stderr))"
    )
    assert (shown.returncode, shown.stderr.strip()) == (0, b"set()")
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        process("--help")
        took.append(time.perf_counter() - begun)
    assert min(took) < 1.5  # 0.1 s on an idle machine


def test_version_is_that_of_the_package():
    """One line."""
    assert re.fullmatch(r"mcp-rls \S+\n", run("--version").stdout)


@pytest.mark.parametrize(
    "arguments",
    [["chek"], ["check"], ["check", "a", "b"], ["plan", "a", "--format", "xml"], ["init", "--template", "x"]],
)
def test_wrong_usage_exits_2(arguments: list[str]):
    """With a message, and nothing on stdout."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_a_misspelt_template_gets_the_nearest_name(tmp_path: Path):
    """And no directory is made."""
    result = run("init", "--template", "help-dsk", tmp_path / "new")
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert 'did you mean "help-desk"?' in result.stderr


@pytest.mark.parametrize("command", ["check", "compile"])
def test_the_policy_file_of_the_folder_is_taken(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where none is named; with none there, the message says what was looked for, and where."""
    monkeypatch.chdir(tmp_path)
    missing = run(command)
    assert missing.exit_code == 2
    assert "which policy file? name it: there is no policies.yaml here" in missing.stderr
    Path("policies.yaml").write_text(SMALL)
    assert run(command).output == run(command, "policies.yaml").output
    assert run(command).exit_code == 0


# --- check


def test_a_sound_file_exits_0():
    """And says so."""
    result = run("check", HELP_DESK)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "nothing to report" in result.stdout


def test_ten_mistakes_are_reported_in_one_run():
    """Each with line and column, the source line, and a caret under the column."""
    result = run("check", TEN_MISTAKES)
    assert result.exit_code == 1
    assert len(re.findall(r"policies\.yaml:\d+:\d+: error\[[a-z-]+\]", result.stdout)) == 10
    assert "10 errors" in result.stdout
    assert result.stdout.count('did you mean "') >= 6
    lines = result.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if "error[unknown-key]" in line)
    assert lines[at + 2].index("^") == lines[at + 1].index("cheks")


def test_findings_as_json():
    """Every diagnostic with its place."""
    result = run("check", TEN_MISTAKES, "--format", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["errors"]) == (1, 10)
    assert all(d["line"] > 0 and d["column"] > 0 and d["code"] in codes() for d in document["diagnostics"])


def test_findings_as_annotations():
    """One line each, whatever is in the message."""
    result = run("check", TEN_MISTAKES, "--format", "github")
    assert len(re.findall(r"^::error file=\S+,line=\d+,col=\d+,title=[a-z-]+::", result.stdout, re.MULTILINE)) == 10
    assert all(line.startswith("::") for line in result.stdout.splitlines())


def test_warnings_fail_only_when_strict(tmp_path: Path):
    """A warning alone exits 0: here, an update that may put a row out of the client's sight."""
    file = tmp_path / "policies.yaml"
    rules = """\
      - {who: assistant, allow: select, scope: "tickets:read", rows: "status = 'open'"}
      - {who: assistant, allow: update, scope: "tickets:read", rows: "status = 'open'", check: "id > 7"}
"""
    file.write_text(SMALL.partition("      - {")[0] + rules, encoding="utf-8")
    assert "warning[check-outside-select]" in run("check", file).stdout
    assert (run("check", file).exit_code, run("check", file, "--strict").exit_code) == (0, 1)


def test_neither_check_nor_compile_needs_a_driver():
    """Both work where psycopg isn't installed; what needs a database says what to install."""
    without = "sys.modules.update(dict.fromkeys(['psycopg', 'alembic', 'sqlalchemy', 'testcontainers', 'pytest']))"
    assert process("check", HELP_DESK, code=without).returncode == 0
    assert process("compile", HELP_DESK, code=without).stdout == process("compile", HELP_DESK).stdout
    for arguments in (["plan", HELP_DESK], ["test", HELP_DESK], ["demo"], ["check", HELP_DESK, "--schema", "x.sql"]):
        ran = process(*arguments, code=without)
        assert (ran.returncode, b'pip install "mcp-rls[' in ran.stderr, b"Traceback" in ran.stderr) == (2, True, False)
    ran = process("revision", HELP_DESK, "-m", "x", code=without, MCP_RLS_DATABASE_URL="postgresql://localhost/x")
    assert (ran.returncode, b'pip install "mcp-rls[alembic]"' in ran.stderr) == (2, True)


# --- files that are no policy files


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines)


BAD_FILES = {
    "missing": (None, 2),
    "directory": ("", 2),
    "binary": (bytes(range(256)) * 8, 2),
    "not-utf-8": (b"a: \xff\xfe", 2),
    "ten-megabytes": (b"# " + b"a" * 10_000_000, 2),
    "empty": (b"", 1),
    "only-a-comment": (b"# nothing\n", 1),
    "alias-bomb": (_bomb().encode(), 1),
    "deep": (b"[" * 100_000, 1),
    "text": (b"hello", 1),
    "list": (b"- 1\n- 2\n", 1),
    "unclosed": (b"mcp_rls: [1", 1),
    "escape-sequence": (b'mcp_rls: "\x1b[31m"', 1),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("command", ["check", "compile", "plan", "test"])
def test_a_bad_file_ends_in_a_clear_error(name: str, command: str, tmp_path: Path):
    """At once, with the file's name, and never with a traceback."""
    content, expected = BAD_FILES[name]
    file = tmp_path / "policies.yaml"
    if content == "":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    begun = time.perf_counter()
    result = run(command, file)
    assert time.perf_counter() - begun < 5
    assert result.exit_code == expected
    said = result.output
    assert str(file) in said
    assert "error[" in said
    assert "\x1b" not in said


def test_a_missing_cases_file_is_named(tmp_path: Path):
    """The policy file is there, the cases aren't."""
    file = tmp_path / "policies.yaml"
    file.write_text(SMALL, encoding="utf-8")
    result = run("test", file)
    assert (result.exit_code, str(tmp_path / "cases.yaml") in result.stderr) == (2, True)


# --- schema, explain-code, compile


def test_schema_is_json():
    """The one that editors read."""
    document = json.loads(run("schema").stdout)
    assert document["$schema"].startswith("https://json-schema.org/")
    assert "tables" in document["properties"]


def test_every_code_is_explained():
    """And a misspelt one gets the nearest name, exit 2."""
    for code in codes():
        assert run("explain-code", code).stdout.startswith(f"# {code}"), code
    listed = run("explain-code").stdout.splitlines()
    assert [line.split()[0] for line in listed] == sorted(codes())
    assert all(line.split()[1] in ("Error.", "Warning.", "Note.") for line in listed)
    result = run("explain-code", "unknwon-key")
    assert (result.exit_code, 'did you mean "unknown-key"?' in result.stderr) == (2, True)


def test_compile_is_the_same_to_the_byte():
    """Whatever the order of Python's sets, and the locale."""
    outputs = {
        process("compile", HELP_DESK, PYTHONHASHSEED=seed, LC_ALL=locale).stdout
        for seed, locale in (("0", "C"), ("1", "C.UTF-8"), ("4242", "POSIX"))
    }
    (output,) = outputs
    assert output.startswith(b"-- mcp-rls ")
    assert (
        process("compile", HELP_DESK, "--down", PYTHONHASHSEED="7").stdout
        == process("compile", HELP_DESK, "--down").stdout
    )


def test_compile_prints_sql_only():
    """One transaction on stdout; errors go to stderr, with nothing on stdout."""
    output = run("compile", HELP_DESK).stdout
    assert re.search(r"^begin;$", output, re.MULTILINE)
    assert output.endswith("commit;\n")
    assert "help-desk-assistant" not in re.sub(r"(?m)^insert into mcp_rls\.client_ids.*$", "", output)
    failed = run("compile", TEN_MISTAKES)
    assert (failed.exit_code, failed.stdout) == (1, "")


def test_compile_down_takes_the_ceilings_last():
    """And never switches row security off."""
    output = run("compile", HELP_DESK, "--down").stdout
    assert "disable row level security" not in output
    permissive = [m.start() for m in re.finditer(r'drop policy "mcp_rls: \w+ people', output)]
    ceilings = [m.start() for m in re.finditer(r'drop policy "mcp_rls: \w+ (select|insert|update|delete)"', output)]
    assert permissive
    assert ceilings
    assert max(permissive) < min(ceilings)


def test_ten_tables_and_three_classes_stay_small(tmp_path: Path):
    """At most four ceilings a table, and about eight functions in all."""
    rules = [
        f"""
  public.t{n}:
    clients:
      - {{who: [a, b, c], allow: select, scope: "x:read"}}
      - {{who: [a, b], allow: [insert, update], scope: "x:write", rows: "owner = token.person"}}
      - {{who: a, allow: delete, scope: "x:write", rows: "state = 'draft' and tenant in mine"}}
"""
        for n in range(10)
    ]
    file = tmp_path / "policies.yaml"
    file.write_text(
        """\
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
classes:
  a: {match: {ids: [one, two]}, consent: required}
  b: {match: {client_id_url_prefix: "https://b.example/"}, consent: required}
  c: {match: {registry: {table: public.apps, id: id, where: enabled}}, consent: required}
consent: {table: public.grants, columns: {person: person, client: client, scopes: scopes}, where: "revoked_at is null"}
scopes:
  "x:read": {text: Read}
  "x:write": {text: Write, implies: ["x:read"]}
sets:
  mine: {type: uuid, query: "select tenant from public.members where person = token.person"}
tables:
  public.grants: {clients: none}
  public.apps: {clients: none}
"""
        + "".join(rules),
        encoding="utf-8",
    )
    result = run("compile", file)
    assert result.exit_code == 0, result.output
    ceilings = re.findall(r"^create policy .* on (\S+) as restrictive", result.stdout, re.MULTILINE)
    assert len(ceilings) == 42
    assert max(ceilings.count(table) for table in set(ceilings)) == 4
    assert len(set(re.findall(r"create or replace function (mcp_rls\.\w+)", result.stdout))) <= 10
    assert len(result.stdout) < 77_000


# --- terminals


def test_a_pipe_gets_no_colour():
    """Nor does a terminal of somebody who set NO_COLOR; FORCE_COLOR shows that there is some."""
    assert b"\x1b" not in process("check", TEN_MISTAKES).stdout
    assert b"\x1b[" in process("check", TEN_MISTAKES, FORCE_COLOR="1").stdout
    assert b"\x1b" not in process("check", TEN_MISTAKES, FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_locale_without_ticks_is_no_error():
    """They come out as question marks; SQL is UTF-8 whatever the locale."""
    ran = process("check", HELP_DESK, PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert process("compile", HELP_DESK, PYTHONIOENCODING="ascii").stdout == process("compile", HELP_DESK).stdout


def test_a_reader_that_leaves_early_is_no_error():
    """`mcp-rls compile … | head`: no traceback."""
    piped = subprocess.run(
        f"{sys.executable} -m mcp_rls compile {HELP_DESK} | head -c 10",
        shell=True, cwd=ROOT, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (len(piped.stdout), b"Traceback" in piped.stderr) == (10, False)


def test_apply_and_revision_ask_which_database():
    """Nothing is changed anywhere by default."""
    for command, *rest in (["apply"], ["revision", "-m", "x"]):
        result = run(command, HELP_DESK, *rest)
        assert (result.exit_code, "MCP_RLS_DATABASE_URL" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["plan", "apply", "test", "check", "compile"])
def test_an_unreachable_database_exits_2_and_keeps_the_password(command: str):
    """Host and port are named, the password isn't."""
    result = run(command, HELP_DESK, "--database", "postgresql://joe:s3cret@127.0.0.1:1/desk")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "127.0.0.1" in result.stderr
    assert "s3cret" not in result.output


# --- golden text


def test_the_help_desk_compiles_to_what_is_written_down():
    """What is made, switched on and granted, in order; the ceilings of one table in full. To be read in the diff."""
    output = run("compile", HELP_DESK).stdout
    statements = [s.strip() for s in re.split(r";\n\n|;\n\Z", output.split("\n\n", 1)[1])]
    told = [s for s in statements if s.startswith(("begin", "create", "alter", "grant", "commit"))]
    found = "".join(f"{s if ' on public.tickets ' in s else s.splitlines()[0]}\n" for s in told)
    golden = Path(__file__).parent / "cases" / "help-desk" / "statements.txt"
    if os.environ.get("MCP_RLS_REWRITE") == "1":
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")
