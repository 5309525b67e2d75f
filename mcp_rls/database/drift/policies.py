"""Policies that are not what was applied: ours, and those that others made on the tables that ours stand on.

PostgreSQL holds a policy as a tree. A rename leaves that as it is; a dump and restore, or an upgrade, makes it anew
from the same text. So with an equal tree it is the same policy, and so is one of ours with an equal text.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mcp_rls.database.drift.reading import (
    ANOTHER_RELEASE,
    Look,
    Name,
    Recorded,
    Texts,
    Unanswerable,
    Unreadable,
    policy_name,
)

_TREE = re.compile(
    r"(permissive|restrictive) ([*rawd]) (.*) using(?: ([0-9a-f]{32}))? check(?: ([0-9a-f]{32}))?", re.DOTALL
)
_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}


class Tree(NamedTuple):
    """What PostgreSQL holds for a policy; `using` and `check` are digests, '' where there is no expression."""

    kind: str
    command: str
    roles: tuple[str, ...]
    using: str
    check: str

    @classmethod
    def of(cls, text: str) -> Tree:
        match = _TREE.fullmatch(text)
        if match is None:
            raise Unanswerable(ANOTHER_RELEASE)
        kind, command, roles, using, check = match.groups("")
        return cls(kind, _COMMANDS[command], tuple(roles.split(",")), using, check)


@dataclass(frozen=True)
class Change:
    """One policy whose tree isn't what it was; None: not there. `before`: its old name, if that is all."""

    name: Name
    was: Tree | None
    now: Tree | None
    before: str = ""
    recorded: Recorded | None = None  # for one of ours
    printed: str = ""  # the digest that was kept of its text

    @property
    def in_text(self) -> bool:
        """Whether all that changed is how its expressions are held: they may still say the same."""
        return self.was is not None and self.now is not None and not self.before and self.was[:3] == self.now[:3]


def changes(look: Look) -> Iterator[Change]:
    """Each policy that was changed, dropped, added or renamed, unless its table went, came or is suspended."""
    before, after, suspended = _applied(look), _present(look), look.suspended
    for table in sorted(before.keys() | after.keys()):
        known, there = (f"table {table}" in objects for objects in (look.manifest, look.seen))
        if (known and not there) or table in suspended:
            continue
        was, now = before[table], after[table]
        if there and not known:
            now = {name: tree for name, tree in now.items() if Name(table, name).ours}
        yield from _of_table(look, table, was, now)


def _applied(look: Look) -> dict[str, dict[str, str]]:
    """'schema.table' -> policy -> its tree, as it was applied or noted."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for object_, facts in look.noted("table ").items():
        found[object_.removeprefix("table ")].update(facts["policies"])
    for object_, row in look.manifest.items():
        if object_.startswith("policy "):
            table, name = policy_name(object_)
            found[table][name] = row.tree
    return found


def _present(look: Look) -> dict[str, dict[str, str]]:
    """'schema.table' -> policy -> its tree, as PostgreSQL holds it."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for object_, facts in look.seen.items():
        if object_.startswith("table "):
            found[object_.removeprefix("table ")].update(facts["policies"])
    for object_, stored in look.stored.items():
        if object_.startswith("policy "):
            table, name = policy_name(object_)
            found[table][name] = stored.tree
    return found


def _of_table(look: Look, table: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    gone, new = sorted(was.keys() - now.keys()), sorted(now.keys() - was.keys())
    for old in gone:
        other = next((n for n in new if now[n] == was[old]), None)
        if other is not None:
            new.remove(other)
            yield Change(Name(table, other), Tree.of(was[old]), Tree.of(now[other]), old, _recorded(look, table, old))
        else:
            yield Change(Name(table, old), Tree.of(was[old]), None, recorded=_recorded(look, table, old))
    for name in new:
        yield Change(Name(table, name), None, Tree.of(now[name]))
    for name in sorted(was.keys() & now.keys()):
        if was[name] != now[name]:
            recorded = _recorded(look, table, name)
            printed = recorded.printed if recorded else _noted_text(look, table, name)
            yield Change(Name(table, name), Tree.of(was[name]), Tree.of(now[name]), "", recorded, printed)


def _noted_text(look: Look, table: str, name: str) -> str:
    """The digest that was kept of the text of a policy of others."""
    row = look.manifest.get(f"table {table}")
    return str(json.loads(row.printed).get(name, "")) if row and row.printed else ""


def _recorded(look: Look, table: str, name: str) -> Recorded | None:
    return look.manifest.get(Name(table, name).object)


def made_anew(look: Look, found: Iterable[Change], texts: Texts) -> bool:
    """Whether all policies seem to have been made anew, as by a dump and restore.

    Each ceiling names functions by their number: none has its tree, then, and some have their text.
    """
    ceilings = {o: r for o, r in look.manifest.items() if r.tree.startswith("restrictive ") and o in look.stored}
    if any(look.stored[o].tree == r.tree for o, r in ceilings.items()):
        return False
    read = ((c.recorded, texts.get(c.name)) for c in found if c.name.object in ceilings)
    return any(row and (isinstance(text, Unreadable) or (text and text.digest == row.printed)) for row, text in read)
