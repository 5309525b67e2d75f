"""Options and ini keys, which share their names; the marker; and what each comes to."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

_IMAGE = "postgres:18"
_OPTIONS = {
    "policies": "policy file, sought beside the test and in the folders above it (default: policies.yaml)",
    "schema": "what makes the tables, beside the policy file: SQL files, or an alembic.ini (default: schema.sql)",
    "cases": "cases file whose people and fixtures `rls` starts with, beside the policy file; 'none' for none"
    " (default: cases.yaml)",
    "database": "URL of a PostgreSQL; one that has the tables already is used as it is, and nothing is committed",
    "postgres": "where else the server comes from: embedded (default), container, or container:IMAGE",
    "probes": "also try side channels and ways round, an item each: all, or names of probes (mcp-rls probe --list);"
    " with the word strict among them, what row security can't prevent fails too",
}
_HOSTILE = "also try tokens that come near each client's token of a cases file: an item for each"
_COV = "say which rules, scopes and conditions of the policy file no test decided by"
_UNDER = "fail if less than so many percent of them are covered; implies --rls-cov"
_SCORE = "also make the policies wrong, one place at a time, and fail if a cases file notices less than so many percent"
_DEFAULTS = {"policies": "policies.yaml", "schema": "schema.sql", "cases": "cases.yaml"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rls", "row-level security (mcp-rls)")
    group.addoption("--rls-hostile", action="store_true", default=None, help=_HOSTILE)
    parser.addini("rls_hostile", _HOSTILE, type="bool", default=False)
    group.addoption("--rls-cov", action="store_true", default=None, help=_COV)
    group.addoption("--rls-cov-fail-under", metavar="PCT", type=float, default=None, help=_UNDER)
    parser.addini("rls_cov", _COV, type="bool", default=False)
    parser.addini("rls_cov_fail_under", _UNDER, default=None)
    group.addoption("--rls-mutation-fail-under", metavar="PCT", type=float, default=None, help=_SCORE)
    parser.addini("rls_mutation_fail_under", _SCORE, default=None)
    for name, text in _OPTIONS.items():
        group.addoption(f"--rls-{name}", dest=f"rls_{name}", metavar=name.upper(), default=None, help=text)
        parser.addini(f"rls_{name}", text, default=None)


def pytest_configure(config: pytest.Config) -> None:
    text = "rls(fixtures=True): with fixtures=False, `rls` starts with empty tables; items of a cases file have it too"
    config.addinivalue_line("markers", text)
    probes(config)  # a name that is none is told at once


def pytest_report_header(config: pytest.Config) -> str:
    try:
        number = version("mcp-rls")
    except PackageNotFoundError:
        number = "(not installed)"
    database, container = source(config)
    environment = os.environ.get("MCP_RLS_DATABASE_URL") and "the server of MCP_RLS_DATABASE_URL"
    given = "a given server" if database else f"container {container}" if container else environment
    return f"mcp-rls {number}: {setting(config, 'policies')} on {given or 'an embedded PostgreSQL'}"


def explicit(config: pytest.Config, name: str) -> str | None:
    """What was written on the command line, else in the ini file; None: nothing."""
    given = config.getoption(f"rls_{name}")
    value = given if given is not None else config.getini(f"rls_{name}")
    return str(value) if value else None


def setting(config: pytest.Config, name: str) -> str:
    return explicit(config, name) or _DEFAULTS[name]


def flag(config: pytest.Config, name: str) -> bool:
    asked = config.getoption(f"rls_{name}")
    return bool(config.getini(f"rls_{name}") if asked is None else asked)


def source(config: pytest.Config) -> tuple[str | None, str | None]:
    """The URL of the database, and the image of the container, as far as they were named."""
    postgres = explicit(config, "postgres") or "embedded"
    kind, _, image = postgres.partition(":")
    if kind not in ("embedded", "container"):
        raise pytest.UsageError(f"rls_postgres: expected embedded, container or container:IMAGE, found {postgres!r}")
    return explicit(config, "database"), (image or _IMAGE) if kind == "container" else None


def probes(config: pytest.Config) -> tuple[tuple[str, ...], bool]:
    """The probes that are asked for, and whether they are strict."""
    words = (explicit(config, "probes") or "").replace(",", " ").split()
    if not words:
        return (), False
    from mcp_rls.harness.probes import names

    unknown = set(words) - {"all", "strict", *names()}
    if unknown:
        known = ", ".join(names())
        raise pytest.UsageError(f"rls_probes: there is no probe {min(unknown)!r}; all, strict, or some of {known}")
    named = () if "all" in words else tuple(name for name in names() if name in words)
    return named or names(), "strict" in words


def least(config: pytest.Config, of: str = "cov") -> float | None:
    """The percent below which the run fails."""
    name = f"rls_{of}_fail_under"
    given = config.getoption(name)
    value = config.getini(name) if given is None else given
    try:
        return float(value) if value not in (None, "") else None
    except ValueError:
        raise pytest.UsageError(f"{name}: expected a number, found {value!r}") from None


def covers(config: pytest.Config) -> bool:
    """Whether coverage is gathered."""
    return flag(config, "cov") or least(config) is not None
