"""Statements and JSON in lines: nothing but blanks and the case of words may differ."""

from __future__ import annotations

import json

import pytest

from mcp_rls.layout import WIDTH, compact, json_lines, spans_lines

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


@pytest.mark.parametrize(
    ("printed", "laid_out"),
    [
        ("( SELECT mcp_rls.person() AS person)", "(select mcp_rls.person())"),
        ("( SELECT mcp_rls.gate(CURRENT_USER, '{\"a ''b\": [1, 2]}'::jsonb) AS gate)",
         "(select mcp_rls.gate(current_user, '{\"a ''b\":[1,2]}'::jsonb))"),
        ("( SELECT mcp_rls.person() AS other)", "(select mcp_rls.person() as other)"),
        ("( SELECT app.person() AS person)", "(select app.person() as person)"),
        ("( SELECT mcp_rls.f(g(1)) AS f)", "(select mcp_rls.f(g(1)) as f)"),
        ("'( SELECT mcp_rls.person() AS person)'::text", "'( SELECT mcp_rls.person() AS person)'::text"),
        ("CASE a WHEN '-1'::integer THEN true END", "case a when -1 then true end"),
        ("CASE a WHEN '-1'::bigint THEN true END", "case a when '-1'::bigint then true end"),
        ("CASE a WHEN '-2147483648'::integer THEN b END", "case a when '-2147483648'::integer then b end"),
        ("(a = '-1'::integer)", "(a = '-1'::integer)"),
        ("CASE WHEN a THEN b ELSE NULL::boolean END", "case when a then b end"),
        ("CASE WHEN a THEN b ELSE NULL::text END", "case when a then b else null::text end"),
        ("('{\"a\": 1}'::json = E'{\"\\\\ a\": 1}'::jsonb)", "('{\"a\": 1}'::json = E'{\"\\\\ a\": 1}'::jsonb)"),
    ],
)  # fmt: skip
def test_what_goes_without_saying_is_left_out(printed, laid_out):
    """PostgreSQL reads the same tree from it; where it might not, the text stays."""
    assert compact(printed) == laid_out


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


@pytest.mark.parametrize("text", ["as $$ a\n b $$", "using (a = 'x\n y')", 'on "a\n b"', "a -- b\n c"])
def test_what_goes_over_an_end_of_line_is_known(text):
    assert spans_lines(text)
    assert not spans_lines(f"using (a\n  and {text.replace(chr(10), ' ').replace('--', '-')})")
