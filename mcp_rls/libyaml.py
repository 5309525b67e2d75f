"""Events of a YAML text by libyaml, thirty times as fast as by a parser in Python; where PyYAML brings it along.

libyaml reads YAML 1.1. What is seen differently in YAML 1.2 isn't handed on: that, and a text which isn't YAML, ends in
Unsure, and who asked asks the other parser. `tests/test_libyaml.py` holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

LOADER: Any
try:
    import yaml

    LOADER = yaml.CSafeLoader
except (ImportError, AttributeError):  # not installed, or built without libyaml
    LOADER = None

# Tabs, line ends of YAML 1.1 alone and byte order marks; a comment that touches the bar of a block. In either version
# they stand in few files.
_SEEN_DIFFERENTLY = re.compile("[\t\x85\u2028\u2029\ufeff]|[|>][-+0-9]*#")
# How a text begins where it is uncommon, by its style; '' is one without any character. How far a block is indented
# whose first line is empty is seen differently too.
_BEGINNINGS = {"": ("",), "|": ("", "\n", " "), ">": ("", "\n", " ")}


class Unsure(Exception):
    """The text is no YAML, or other YAML to other parsers."""


def reads_alike(text: str) -> bool:
    """Whether `events` may be asked about a text at all."""
    return LOADER is not None and not _SEEN_DIFFERENTLY.search(text)


def events(text: str) -> Iterator[Any]:
    """PyYAML's events, which have the names and members of ruamel's; ends in Unsure at the first that is uncommon."""
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if _uncommon(event):
                raise Unsure
            yield event
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: an escape that is no character
        raise Unsure from problem


def _uncommon(event: Any) -> bool:
    """Directives, marks of a document's end, anchors and tags; what isn't there, whose place is a matter of opinion."""
    kind = type(event)
    if kind is yaml.ScalarEvent and event.style in _BEGINNINGS and event.value[:1] in _BEGINNINGS[event.style]:
        return True
    if kind is yaml.DocumentStartEvent:
        return bool(event.version or event.tags)
    if kind is yaml.DocumentEndEvent:
        return bool(event.explicit)
    return getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None
