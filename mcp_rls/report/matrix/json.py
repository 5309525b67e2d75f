"""A matrix as one JSON document."""

from __future__ import annotations

import json
from typing import Any, TextIO

from mcp_rls.harness.matrix.principals import Principal
from mcp_rls.harness.matrix.result import Cell, Ruled, Verdict
from mcp_rls.report import Possible


def write(possible: Possible, out: TextIO) -> None:
    """Tokens, and for each of them every table and command; findings; counts."""
    matrix = possible.matrix
    document = {
        "file": matrix.path,
        "database": possible.database,
        "passed": matrix.exit_code(allow_undecided=possible.allow_undecided) == 0,
        "counts": {str(verdict): matrix.count(verdict) for verdict in Verdict},
        "tries": matrix.tries,
        "seconds": round(matrix.seconds, 3),
        "tables": [str(table) for table in matrix.tables],
        "tokens": [_token(principal) for principal in matrix.principals],
        "cells": [_cell(cell, matrix.principals[cell.principal]) for cell in matrix.cells],
        "findings": [finding.as_data() for finding in matrix.findings],
        "notes": list(matrix.notes),
        "hostile": matrix.hostile.as_data() if matrix.hostile is not None else None,
    }
    json.dump(document, out, indent=2, ensure_ascii=False)
    out.write("\n")


def _token(principal: Principal) -> dict[str, Any]:
    return {
        "name": principal.name,
        "class": principal.class_name or None,
        "person": principal.person or None,
        "what": principal.label,
        "role": principal.role,
        "claims": principal.claims,
    }


def _cell(cell: Cell, principal: Principal) -> dict[str, Any]:
    data: dict[str, Any] = {
        "token": principal.name,
        "table": str(cell.table),
        "command": cell.command,
        "verdict": str(cell.verdict),
        "tried": cell.may,
        "got": cell.got,
    }
    if cell.rules:
        data["rules"] = [_rule(rule) for rule in cell.rules]
    if cell.why:
        data["why"] = cell.why
    if cell.through:
        data["through"] = [str(table) for table in cell.through]
    return data


def _rule(rule: Ruled) -> dict[str, Any]:
    return {
        "scopes": list(rule.scopes),
        "condition": rule.condition,
        "check": rule.check,
        "columns": rule.columns,
        "line": rule.span.line,
    }
