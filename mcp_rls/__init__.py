"""Row-level security in PostgreSQL for the OAuth clients of an MCP server: one policy file, enforced and proven.

    policies.yaml ─document─▶ Document ─policy─▶ PolicySet ─resolve─▶ ResolvedPolicies ─lower─▶ State (desired)
                                                               ▲                                   │
                                              Catalog (facts) ─┘                                   ├─script─▶ SQL text
                                                    ▲                                              ▼
    PostgreSQL ─────────── introspect ──────────────┴────────────▶ State (actual) ── plan ──▶ Plan (ordered operations)
        ▲                                                                                          │
        └──────────── apply (directly)  /  alembic_plugin (a finished revision) ◀──────────────────┘

    cases.yaml ─▶ Suite ─▶ each token, in a session of its own ─▶ Observation ─▶ Verdict ─▶ report

Data flows one way, as frozen values. The public names below are loaded when they are first used, so that importing
the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp_rls.compiler.lower import lower
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.compiler.policy import json_schema, load_policies, read_policies
    from mcp_rls.compiler.resolve import resolve
    from mcp_rls.database.apply import install
    from mcp_rls.diagnostics import Diagnostic, Diagnostics, Invalid, Severity, Span
    from mcp_rls.operation import Operation, Plan
    from mcp_rls.state import State
    from mcp_rls.ways import script

    __version__: str

__all__ = [
    "Diagnostic",
    "Diagnostics",
    "Invalid",
    "Operation",
    "Plan",
    "PolicySet",
    "Severity",
    "Span",
    "State",
    "__version__",
    "install",
    "json_schema",
    "load_policies",
    "lower",
    "read_policies",
    "resolve",
    "script",
]

_HOMES = {
    "lower": "compiler.lower",
    "PolicySet": "compiler.model",
    "json_schema": "compiler.policy",
    "load_policies": "compiler.policy",
    "read_policies": "compiler.policy",
    "resolve": "compiler.resolve",
    "install": "database.apply",
    "Diagnostic": "diagnostics",
    "Diagnostics": "diagnostics",
    "Invalid": "diagnostics",
    "Severity": "diagnostics",
    "Span": "diagnostics",
    "Operation": "operation",
    "Plan": "operation",
    "script": "ways",
    "State": "state",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("mcp-rls")
        except PackageNotFoundError:  # a checkout on the path, never installed
            return "0+unknown"
    if name in _HOMES:
        return getattr(import_module(f"mcp_rls.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mcp_rls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
