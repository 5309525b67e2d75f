"""What a simple condition asks of a row, and constants for columns."""

from __future__ import annotations

import pytest

from mcp_rls.catalog import Column, Table, TableName
from mcp_rls.harness import rows
from mcp_rls.harness.witness import assignments

TOMORROW = "now() + interval '1 day'"


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("approved and disabled_at is null", {"approved": "true", "disabled_at": "null"}),
        (
            "revoked_at is null and (expires_at is null or expires_at > now())",
            {"revoked_at": "null", "expires_at": "null"},
        ),
        ("expires_at > now()", {"expires_at": TOMORROW}),
        ("now() < expires_at", {"expires_at": TOMORROW}),
        ("starts <= now()", {"starts": "now() - interval '1 day'"}),
        ("not disabled", {"disabled": "false"}),
        ("status = 'it''s on'", {"status": "'it''s on'"}),
        ("status in ('a', 'b') AND level = 3", {"status": "'a'", "level": "3"}),
        ("((approved))", {"approved": "true"}),
        ("g.approved is true", {"approved": "true"}),
        ("note = 'a and b or c'", {"note": "'a and b or c'"}),
        ("length(name) > 3", {}),
        ("name is not null", {}),
    ],
)
def test_assignments(condition: str, values: dict[str, str]) -> None:
    assert assignments(condition) == values


@pytest.mark.parametrize(
    ("type_", "value", "constant"),
    [
        ("bigint", 1, "'1'"),
        ("boolean", True, "'true'"),
        ("text", None, "null"),
        ("text", "it's", "'it''s'"),
        ("text", "a\\b", "E'a\\\\b'"),
        ("text[]", ["a", 'b"c', None], 'E\'{"a","b\\\\"c",NULL}\''),
        ("text[]", [], "'{}'"),
        ("integer[]", [[1], [2]], '\'{{"1"},{"2"}}\''),
        ("jsonb", {"a": [1]}, "'{\"a\": [1]}'"),
        ("jsonb", ["a"], "'[\"a\"]'"),
        ("jsonb", '{"a": 1}', "'{\"a\": 1}'"),
        ("jsonb", "word", "'\"word\"'"),
    ],
)
def test_constants(type_: str, value: object, constant: str) -> None:
    assert rows.literal(Column("c", type_, base_type=type_), value) == constant


def test_keys_are_named_as_a_cases_file_would() -> None:
    table = Table(TableName("public", "t"), "table", "postgres", (Column("a", "text"),), ("a",))
    assert rows.show(("1",), table) == "1"
    assert rows.show(("1", "x"), table) == "[1, x]"
