"""Events of a long YAML text by libyaml, thirty times as fast as by a parser in Python; where PyYAML brings it along.

libyaml reads YAML 1.1. What is seen differently in YAML 1.2 isn't handed on: that, and a text which isn't YAML, ends in
Unsure, and who asked asks the other parser. `tests/test_libyaml.py` holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

LEAST = 50_000  # characters; a shorter text is read by the other before PyYAML is even imported
# Tabs, line ends of YAML 1.1 alone and byte order marks; a comment that touches the bar of a block. In either version
# they stand in few files.
_SEEN_DIFFERENTLY = re.compile("[\t\x85\u2028\u2029\ufeff]|[|>][-+0-9]*#")
# How a text begins where it is uncommon, by its style; '' is one without any character. How far a block is indented
# whose first line is empty is seen differently too.
_BEGINNINGS = {"": ("",), "|": ("", "\n", " "), ">": ("", "\n", " ")}


class Unsure(Exception):
    """The text is no YAML, or other YAML to other parsers."""


@cache
def loader() -> Any:
    """PyYAML's loader in C; None where that isn't installed, or was built without libyaml."""
    try:
        import yaml
    except ImportError:
        return None
    return getattr(yaml, "CSafeLoader", None)


def serves(text: str) -> bool:
    """Whether to ask `events` about a text."""
    return len(text) >= LEAST and not _SEEN_DIFFERENTLY.search(text) and loader() is not None


def events(text: str) -> Iterator[Any]:
    """PyYAML's events, which have the names and members of ruamel's; ends in Unsure at the first that is uncommon."""
    import yaml

    try:
        for event in yaml.parse(text, Loader=loader()):
            if _uncommon(type(event).__name__, event):
                raise Unsure
            yield event
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: an escape that is no character
        raise Unsure from problem


def _uncommon(kind: str, event: Any) -> bool:
    """Marks of a document's end, anchors and tags; what isn't there, whose place is a matter of opinion."""
    if kind == "ScalarEvent" and event.style in _BEGINNINGS and event.value[:1] in _BEGINNINGS[event.style]:
        return True
    if kind == "DocumentEndEvent":
        return bool(event.explicit)
    return getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None
