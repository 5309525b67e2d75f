"""Whether a search by pattern asks for a whole word, or an address up to the end of its host, or less than that."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mcp_rls.inspection.claims import PADDED, PARTED, TEXT, WORDS, Origins
from mcp_rls.inspection.comparisons import UNKNOWN, Comparison, Side

_SEPARATORS = (" ", ",")
_STARTS, _ENDS = ("^", "(^|", "(?:^|"), ("$", "|$)")
# what stands before the path of an address: no wildcard, and no dot that stands for any character
_ADDRESS = {
    "like": re.compile(r"https://[^/%_\0]+/[^\0]*"),
    "prefix": re.compile(r"https://[^/\0]+/[^\0]*"),
    "regex": re.compile(r"\^https://(?:[\w-]|\\\.|\[\.\])+/[^\0]*"),
    "equal": re.compile(r"https://[^/\0]+/[^\0]*"),
}

# in a regular expression: brackets, escapes and counts, which name no word
_SHAPE = re.compile(r"\[\^?\]?(?:\\.|\[:\w+:\]|[^]\\])*\]|\\.|\{\d[\d,]*\}")


def searched(found: Comparison, names: frozenset[str]) -> Iterator[tuple[Side, Side]]:
    """The sides (what is searched, what for) of a search by pattern in, or with, a claim of these names; words that
    were split are searched one by one, and that is no search in a text; nor is a look at what characters are there.
    """
    if found.kind not in ("like", "regex", "position", "prefix") or found.right is None or wordless(found):
        return
    if _texts(found.left.among(names)) or _texts(found.right.among(names)):
        yield found.left, found.right


def wordless(found: Comparison) -> bool:
    """Whether no word is looked for, only signs and kinds of characters: `~ '[^!-~]'`, `like '% %'`."""
    texts = found.right.patterns if found.right is not None else ()
    if found.kind == "regex":
        return bool(texts) and not any(UNKNOWN in t or re.search(r"[^\W_]{2}", _SHAPE.sub(" ", t)) for t in texts)
    return bool(texts) and not any(UNKNOWN in t or re.search(r"[^\W_]", t) for t in texts)


def _texts(origins: Origins) -> bool:
    return any(WORDS not in o.marks for o in origins)


def whole(found: Comparison, side: Side, wanted: Side) -> bool:
    """Whether only whole words are found: blanks round both, anchors, or no wildcard at all."""
    padded = any(PADDED in o.marks for o in side.origins)
    texts = wanted.patterns
    if found.kind in ("like", "position") and all(map(_quoted, texts)):
        return True
    if found.kind == "like":
        return all("%" not in t and UNKNOWN not in t for t in texts) or (padded and all(map(_separated, texts)))
    if found.kind == "regex":
        return all(t.startswith(_STARTS) and t.endswith(_ENDS) for t in texts)
    return padded and found.kind == "position" and all(map(_separated, texts))


def _quoted(pattern: str) -> bool:
    """Whether it asks for an element of an array in JSON with the marks round it, which no scope has in it."""
    return re.fullmatch(r'%?"[^"%\0]+"%?', pattern) is not None


def _separated(pattern: str) -> bool:
    inner = pattern.strip("%")
    return len(inner) > 2 and inner.startswith(_SEPARATORS) and inner.endswith(_SEPARATORS) and "%" not in inner


def address(found: Comparison, wanted: Side | None) -> bool:
    """Whether what is asked for is an https address, its host to the end."""
    form = _ADDRESS.get(found.kind)
    texts = wanted.patterns if wanted is not None else ()
    return form is not None and bool(texts) and all(form.fullmatch(t) for t in texts)


def parted(origins: Origins) -> bool:
    """Whether only a part of a claim is looked at."""
    return any(PARTED in o.marks for o in origins)


def as_text(origins: Origins) -> bool:
    """Whether it was taken out as text, so that a JSON null has become NULL."""
    return any(TEXT in o.marks for o in origins)
