"""A new project from a template: policies with their schema and cases, an Alembic environment, a test, and a README."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_rls.compiler.policy import json_schema, load_policies
from mcp_rls.resources import bundled

if TYPE_CHECKING:
    from mcp_rls.harness.suite import Case, Suite

SCHEMA_LINE = "# yaml-language-server: $schema=./policies.schema.json\n"
_COPIED = ("schema.sql", "cases.yaml", "README.md")

_ALEMBIC_INI = """\
# The database is `-x url=postgresql://...`, else MCP_RLS_DATABASE_URL.
[alembic]
script_location = %(here)s/migrations
file_template = %%(rev)s_%%(slug)s
"""
_PYTEST_INI = """\
[pytest]
testpaths = cases.yaml tests
rls_policies = policies.yaml
rls_cases = cases.yaml
rls_schema = schema.sql
"""
_GITIGNORE = """\
.venv/
__pycache__/
.pytest_cache/
"""
_TEST = '''\
"""What the policies promise, asked of a real PostgreSQL: one token that may, and one that may not."""


def test_a_client_sees_what_its_rules_allow(rls):
    token = rls.token({allowed})
    token.sees("{table}", {keys})


def test_a_client_that_no_class_knows_sees_nothing(rls):
    token = rls.token({stranger})
    token.sees_nothing("{table}")
'''


class Occupied(Exception):
    """Files that a project needs are already there; nothing was written. The message lists them."""


@dataclass(frozen=True)
class Template:
    """A bundled example; `summary` is what it shows, in a sentence."""

    name: str
    folder: Path
    summary: str


def templates() -> tuple[Template, ...]:
    """Every template, by name."""
    folders = sorted(path.parent for path in bundled("policy_templates").glob("*/policies.yaml"))
    return tuple(Template(folder.name, folder, _summary(folder / "policies.yaml")) for folder in folders)


def _summary(policies: Path) -> str:
    """The comment at the head of a policy file."""
    lines = []
    for line in policies.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def make_project(template: Template, directory: Path) -> tuple[Path, ...]:
    """Writes a project into `directory`, which is made if need be; the files, relative to it.

    Raises: Occupied when one of them is already there, OSError.
    """
    files = dict(_files(template))
    taken = [path for path in files if (directory / path).exists() or (directory / path).is_symlink()]
    if taken:
        listed = "\n".join(f"  {directory / path}" for path in taken)
        raise Occupied(f"these files are already there, so nothing was written:\n{listed}")
    for path, text in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return tuple(map(Path, files))


def _files(template: Template) -> Iterator[tuple[str, str]]:
    yield "policies.yaml", SCHEMA_LINE + (template.folder / "policies.yaml").read_text(encoding="utf-8")
    for name in _COPIED:
        if (template.folder / name).is_file():
            yield name, (template.folder / name).read_text(encoding="utf-8")
    yield "policies.schema.json", json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    yield "alembic.ini", _ALEMBIC_INI
    migrations = bundled("migrations")
    for name in ("env.py", "script.py.mako", *sorted(f"versions/{f.name}" for f in migrations.glob("versions/*.py"))):
        yield f"migrations/{name}", (migrations / name).read_text(encoding="utf-8")
    yield "tests/test_policies.py", _test(template)
    yield "pytest.ini", _PYTEST_INI
    yield ".gitignore", _GITIGNORE


def _test(template: Template) -> str:
    """A test of the first case in which a client sees rows, and its twin: a client that no class knows."""
    suite = _suite(template)
    case = next(case for case in suite.cases if _is_clients_look(case, suite))
    token = suite.tokens[case.token]
    who = {"person": token.person}
    what = {"scope": token.scope, "claims": dict(token.claims)}
    return _TEST.format(
        table=case.table,
        keys=_literal(list(case.expect.keys)),
        allowed=_arguments({**who, "class_": token.class_name, "client": token.client, **what}),
        stranger=_arguments({**who, "client": "a-client-nobody-knows", **what}),
    )


def _suite(template: Template) -> Suite:
    from mcp_rls.harness.suite import load_suite

    policies, diagnostics = load_policies(template.folder / "policies.yaml")
    assert policies is not None, f"a bundled template is valid: {list(diagnostics)}"
    suite, diagnostics = load_suite(template.folder / "cases.yaml", policies)
    assert suite is not None, f"a bundled template's cases are valid: {list(diagnostics)}"
    return suite


def _is_clients_look(case: Case, suite: Suite) -> bool:
    token = suite.tokens[case.token]
    plain = token.person != "" and token.raw is None and token.consent
    of_client = token.class_name is not None or token.client is not None
    return case.expect.kind == "sees" and bool(case.expect.keys) and plain and of_client


def _arguments(values: dict[str, object]) -> str:
    """Keyword arguments, a line each where one line would be long."""
    given = [f"{name}={_literal(value)}" for name, value in values.items() if value]
    line = ", ".join(given)
    return line if len(line) <= 84 else "".join(f"\n        {one}," for one in given) + "\n    "


def _literal(value: object) -> str:
    """The value in Python's words, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def next_steps(directory: Path) -> str:
    """What to do in a new project, with the commands."""
    where = "" if directory == Path() else f"cd {directory}\n"
    return textwrap.dedent(
        """\
        {where}mcp-rls check policies.yaml         # what is wrong with it, without a database
        mcp-rls test policies.yaml          # the cases, in a PostgreSQL of its own
        pytest                              # the same from your tests

        With your database (MCP_RLS_DATABASE_URL=postgresql://...), in which the tables stand:
        alembic upgrade head                # the schema mcp_rls
        mcp-rls revision policies.yaml -m "first policies"
        alembic upgrade head"""
    ).replace("{where}", where)
