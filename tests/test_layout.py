"""Statements and JSON in lines: nothing but blanks and the case of words may differ."""

from __future__ import annotations

import json

import pytest

from mcp_rls.layout import WIDTH, compact, json_lines

LONG = " and ".join(f"column_{n} = {n}" for n in range(30))


@pytest.mark.parametrize(
    ("statement", "laid_out"),
    [
        ("ALTER  POLICY p ON t\n  USING ( a\n AND (b) )", "alter policy p on t using (a and (b))"),
        ("using (A = 'X  Y' AND E'it\\'s  \"IT\"' = \"B  C\")", "using (a = 'X  Y' and E'it\\'s  \"IT\"' = \"B  C\")"),
        ("using (A = $a$ X  'Y $a$ OR A = $$ Z $$)", "using (a = $a$ X  'Y $a$ or a = $$ Z $$)"),
        ("using (A = 'X\n  Y'\n  AND  B)", "using (a = 'X\n  Y' and b)"),
        ("using (É = 'É'  OR  É1)", "using (É = 'É' or É1)"),
        ("using ('{1,2}'::INT[ ] @>  ARRAY[ 1 ])", "using ('{1,2}'::int[] @> array[1])"),
    ],
)
def test_a_statement_is_compact(statement, laid_out):
    assert compact(statement) == laid_out


@pytest.mark.parametrize(
    "statement",
    [
        "using (A  -- A comment\n )",
        "using (A  /* A  comment */ )",
        "using (A  =  'one'\n  ' constant')",
        "using (A  =  'open)",
    ],
)
def test_it_is_left_alone_where_blanks_mean_more(statement):
    assert compact(statement) == statement


def test_a_clause_begins_a_line_where_it_fits():
    """One that doesn't is broken between words."""
    first, *others = compact(f"alter policy p on t using (case when {LONG} then b else {'c' * 140} end)").splitlines()
    assert first.startswith("alter policy p on t using (case when column_0 = 0")
    assert others[-1] == f"  else {'c' * 140} end)"
    assert max(map(len, (first, *others))) <= WIDTH


def test_json_is_the_same_in_lines():
    values = [{"a": 'b, "c" : [1,  2]', "d": ["e" * 50, None] * 9, "f": {}}] * 3
    text = json_lines(json.dumps(values, separators=(",", ":")))
    assert json.loads(text) == values
    assert len(text.splitlines()) > 3
    assert max(map(len, text.splitlines())) <= WIDTH + 2
