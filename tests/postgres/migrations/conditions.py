"""Migrations in which only a condition changes: what a comparison of texts would miss, and what a quoter would break."""

# ruff: noqa: E501 - SQL and policies read better unbroken; letters that look alike are the point

from __future__ import annotations

from tests.postgres.migrations.migration import NOTES, Migration, notes, rule

ALL = ("1 2 3 4", "1 2 3 4")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def changed(name: str, before: str, after: str, sees: tuple[str, str], *rows: str) -> Migration:
    """The condition of the one rule changes, in place; `rows` are further rows' statuses, from id 5 on."""
    added = "".join(f"insert into public.notes values ({n}, null, {literal(s)}, {n});" for n, s in enumerate(rows, 5))
    everything = " ".join(str(n) for n in range(1, 5 + len(rows)))
    return Migration(
        name,
        notes(rule(before)),
        notes(rule(after)),
        {"helper": sees, "ann": (everything, everything)},
        schema="set standard_conforming_strings = on;" + NOTES + added,
        does=("alter policy",),
        never=("create policy", "drop policy"),
    )


CASES = (
    changed("the case of a literal", "status = 'open'", "status = 'OPEN'", ("1 3", "4")),
    changed("blanks in a literal", "status = 'a b'", "status = 'a  b'", ("5", "6"), "a b", "a  b"),
    changed("a letter that looks the same", "status = 'café'", "status = 'cafe\u0301'", ("5", "6"), "café", "cafe\u0301"),
    changed("a colon in a literal", "status = 'tickets'", "status = 'tickets:read'", ("5", "6"), "tickets", "tickets:read", r"tickets\:read"),
    changed("colons and casts", "status = ':a'", "status in ('::text', ':a:b', ': c')", ("5", "6 7 8"), ":a", "::text", ":a:b", ": c"),
    changed("percent signs in a literal", "status = '100%'", "status in ('100%s', '%(x)s', '%%')", ("5", "6 7 8"), "100%", "100%s", "%(x)s", "%%", "%"),
    changed("a pattern", "status like 'o%'", "status like 'O%' or status like '%d'", ("1 3", "2 4")),
    changed("a backslash and a quote in a literal", "status = 'back'", "status in ('b\\ack', 'it''s', '\\', '''', 'e\\''')", ("5", "6 7 8 9 10"), "back", "b\\ack", "it's", "\\", "'", "e\\'"),
    changed("what quotes a text elsewhere", "status = '$'", "status in ('$$', '$mcp_rls$', '\"\"\"', '{x}', '\"', '`', ';--', '/*')", ("5", "6 7 8 9 10 11 12 13"), "$", "$$", "$mcp_rls$", '"""', "{x}", '"', "`", ";--", "/*"),
    changed("letters of other scripts", "status = 'é'", "status in ('ü', '✓', '😀')", ("5", "6 7 8"), "é", "ü", "✓", "😀"),
    changed("parentheses", "(status = 'open' and rank > 1) or id = 1", "status = 'open' and (rank > 1 or id = 2)", ("1 3", "3")),
    changed("parentheses of NOT", "not (status = 'open') and rank > 2", "not (status = 'open' and rank > 2)", ("4", "1 2 4")),
    changed("parentheses of arithmetic", "rank = (id + 1) * 1 - 1", "rank = id + 1 * (1 - 1) and id > 1", ("1 2 3 4", "2 3 4")),
    changed("a cast at the head", "(id)::text = '1'", "((id)::text)::bigint = 2", ("1", "2")),
    changed("an operator", "rank < 2", "rank <= 2", ("1", "1 2")),
    changed("a sign", "rank > 3", "rank > -3", ("4", "1 2 3 4")),
    changed("NULL", "rank is null", "rank is not null", ("", "1 2 3 4")),
    changed("one value more", "status in ('open', 'closed')", "status in ('open', 'closed', 'OPEN')", ("1 2 3", "1 2 3 4")),
    changed("one value fewer", "rank in (1, 2, 3)", "rank in (1, 3)", ("1 2 3", "1 3")),
    changed("a time", "now() > '2001-01-01 00:00:00+00'::timestamptz", "now() < '2001-01-01 00:00:00+00'::timestamptz", ("1 2 3 4", "")),
    changed("the person", "owner = token.person", "owner is distinct from token.person", ("1 2 4", "3")),
    changed("an interval that isn't the other's", "status = 'open'", "rank between 2 and 3", ("1 3", "2 3")),
    changed("no condition any more", "status = 'open'", "", ("1 3", "1 2 3 4")),
)  # fmt: skip
