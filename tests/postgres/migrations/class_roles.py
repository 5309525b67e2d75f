"""Migrations to roles of classes, from them and among them; a session in such a role looks on at all times."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from tests.postgres.migrations.migration import NOTES, Migration, file, notes, people, rule
from tests.postgres.scratch import ann, helper

OWN = people("owner = token.person", "[select, update, delete]")
FIRST = "{first: {match: {ids: [helper]}}}"
BOTH = "{first: {match: {ids: [helper]}}, second: {match: {ids: [second]}}}"
SECOND = "{second: {match: {ids: [helper]}}}"
ALL = "[select, update, delete]"
READERS = {
    "first": (helper(scope="n:r"), "mcp_first"),
    "second": (ann(client_id="second", scope="n:r"), "mcp_second"),
    "second, shared": (ann(client_id="second"), "authenticated"),
}
NOBODY = {"second": ("", ""), "second, shared": ("", "")}
MINE = ("1 2 4", "1 2 4")
BY_CLAIMS = "alter table public.notes enable row level security; create policy own on public.notes using (owner::text = current_setting('request.jwt.claims', true)::json ->> 'sub');"


def first(rows: str = "", *, who: str = "first", scope: str = "", allow: str = ALL) -> str:
    return rule(rows, who=who, scope=scope, allow=allow)


def own(*rules: str, people: str = OWN, classes: str = FIRST, class_roles: str = "true", scopes: str = "") -> str:
    """A policy file with a role for each class."""
    return notes(*rules, people=people, classes=classes, class_roles=class_roles, scopes=scopes)


SCOPES = '{"n:r": {text: Read}}'

CASES = (
    Migration(
        "classes get roles of their own",
        notes(first("id < 3"), people=OWN, classes=FIRST),
        own(first("id < 3")),
        {"helper": ("1 2", ""), "first": ("", "1 2"), "ann": MINE, **NOBODY},
        readers=READERS,
    ),
    Migration(
        "classes get roles of their own and wider rules, under the app's policies",
        notes(first("id < 3"), classes=FIRST),
        own(first("id in (1, 3, 4)"), people=""),
        {"helper": ("1 2", ""), "first": ("", "1 4"), "ann": MINE, **NOBODY},
        schema=NOTES + BY_CLAIMS,
        readers=READERS,
    ),
    Migration(
        "classes get roles of their own where nothing was",
        None,
        own(first("id < 3")),
        {"stranger": ("1 2 3 4", ""), "helper": ("1 2 3 4", ""), "first": ("", "1 2"), "ann": ("1 2 3 4", "1 2 4"), "second": ("", ""), "second, shared": ("1 2 3 4", "")},
        readers=READERS,
    ),
    Migration(
        "a class with a role comes",
        own(first("id < 3")),
        own(first("id < 3"), first("id = 4", who="second"), classes=BOTH),
        {"helper": ("", ""), "first": ("1 2", "1 2"), "second": ("", "4"), "second, shared": ("", ""), "ann": MINE},
        readers=READERS,
        whole=True,
    ),
    Migration(
        "a class with a role is renamed",
        own(first("id < 3")),
        own(first("id < 3", who="second"), classes=SECOND),
        {"helper": ("", ""), "first": ("1 2", ""), "second": ("", "1 2"), "second, shared": ("", ""), "ann": MINE},
        readers=READERS,
        whole=True,
    ),
    Migration(
        "a rule goes to another class with a role",
        own(first("id < 3"), classes=BOTH),
        own(first("id > 1", who="second"), classes=BOTH),
        {"helper": ("", ""), "first": ("1 2", ""), "second": ("", "2 4"), "second, shared": ("", ""), "ann": MINE},
        readers=READERS,
    ),
    Migration(
        "a class role's rule needs a scope",
        own(first("id < 3"), scopes=SCOPES),
        own(first("id in (1, 4)", scope="n:r"), scopes=SCOPES),
        {"helper": ("", ""), "first": ("1 2", "1 4"), "bare": ("1 2", ""), "ann": MINE, **NOBODY},
        readers={**READERS, "bare": (helper(), "mcp_first")},
    ),
    Migration(
        "a class role may do less, and rules for people more",
        own(first("id < 3"), people=people("owner = token.person")),
        own(first("id < 3", allow="select")),
        {"helper": ("", ""), "first": ("1 2", "1 2"), "ann": MINE, **NOBODY},
        readers=READERS,
    ),
    Migration(
        "rules for people in place of none, under class roles",
        own(first("id < 4"), people=""),
        own(first("id < 4")),
        {"helper": ("", ""), "first": ("1 2 3", "1 2"), "ann": ("1 2 3 4", "1 2 4"), **NOBODY},
        readers=READERS,
    ),
    Migration(
        "class roles may read nothing any more",
        own(first("id < 3")),
        file("{public.notes: {people: [" + OWN + "], clients: none}}", classes=FIRST, class_roles="true"),
        {"helper": ("", ""), "first": ("1 2", ""), "ann": MINE, **NOBODY},
        readers=READERS,
    ),
    Migration(
        "who may take class roles changes",
        own(first("id < 3"), class_roles="{taken_by: [agent]}"),
        own(first("id < 2"), class_roles="{taken_by: [anon]}"),
        {"helper": ("", ""), "first": ("1 2", "1"), "ann": MINE, **NOBODY},
        readers=READERS,
    ),
)  # fmt: skip
