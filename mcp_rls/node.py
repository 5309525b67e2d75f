"""The tree behind a document: values with their places, and what a scalar without quotes means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Key = str | int
Place = tuple[int, int]  # line and column, 1-based

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,1000}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Node:
    """A value and its place. Never changed once built: aliases share nodes."""

    __slots__ = ("children", "data", "height", "keys", "place", "plain", "removed", "size")

    def __init__(self, place: Place, data: Any, plain: bool = False) -> None:
        self.place = place
        self.data = data
        self.plain = plain  # a scalar without quotes
        holds = isinstance(data, dict | list)
        self.keys: dict[str, tuple[Place, bool]] = {} if holds else _NO_KEYS  # place, and whether it had no quotes
        self.children: dict[Key, Node] = {} if holds else _NO_CHILDREN
        self.removed: tuple[Key, ...] = ()  # keys and indexes that `without` took out
        self.size = 1 + (len(data) // 16 if isinstance(data, str) else 0)
        self.height = 1

    def adopt(self, key: Key, child: Node) -> None:
        self.children[key] = child
        if isinstance(key, str):
            self.data[key] = child.data
        else:
            self.data.append(child.data)
        self.size += child.size
        self.height = max(self.height, child.height + 1)


_NO_KEYS: dict[str, tuple[Place, bool]] = {}  # shared by all leaves, which are many; nothing is ever put into them
_NO_CHILDREN: dict[Key, Node] = {}
CUT = -1  # marks, in a tree of paths, a value to be taken out; no list index is negative


def walk(root: Node) -> Iterator[Node]:
    """Every node once, however often aliases repeat it."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            stack.extend(node.children.values())


def pruned(node: Node, tree: dict[Key, Any]) -> Node:
    """`node` less what `tree` marks with CUT; indexes close up, places stay."""
    if not tree:
        return node
    copy = Node(node.place, type(node.data)())
    copy.keys = node.keys
    cut = {key for key, branch in tree.items() if key != CUT and CUT in branch}
    copy.removed = (*node.removed, *cut)
    kept = [(key, child) for key, child in node.children.items() if key not in cut]
    for index, (key, child) in enumerate(kept):
        copy.adopt(key if isinstance(key, str) else index, pruned(child, tree.get(key, {})))
    return copy


def core_scalar(text: str) -> str | int | float | bool | None:
    """What a scalar without quotes means in the YAML 1.2 core schema; numbers past all sense stay texts."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        number = float(text)
        return text if number in (float("inf"), float("-inf")) else number
    special = _SPECIAL_FLOAT.fullmatch(text)
    if special:
        return float(text.replace(".", "", 1))
    return text
