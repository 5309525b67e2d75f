"""YAML text as plain data in which every value and every key knows its line and column.

Scalars follow the YAML 1.2 core schema, so `no` and `on` are texts. Keys are always texts. The parser is
pulled event by event and stopped at the first sign of a bomb: no text that fits the limits is slow, or deep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from mcp_rls import libyaml
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.node import CUT, Key, Node, Place, core_scalar, pruned, walk

SIZE_LIMIT = 2_000_000  # bytes; a thousand tables with twenty rules each are 1.5 MB, and take some seconds
VALUE_LIMIT = 240_000  # values and keys; without it, lists of single letters take twenty seconds
ERROR_LIMIT = 500  # of errors on one text's YAML; after that it is some other kind of file
DEPTH_LIMIT = 50
ALIAS_LIMIT = 100_000  # nodes, long texts counting for several, that all aliases together may repeat

_YAML_1_1_BOOLEANS = frozenset({"yes", "no", "on", "off"})
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BEFORE_TEXT = re.compile(r"(?:[&!]\S*[ \t]+)*")  # an anchor stands between a value's place and its text


@dataclass(frozen=True)
class Document:
    """One YAML document. `data` is plain: dict with text keys, list, str, int, float, bool, None."""

    path: str
    text: str
    data: Any
    _root: Node = field(repr=False, compare=False)

    def span(self, *keys: Key) -> Span:
        """Where the value under `keys` begins; where there is none, the nearest one above it."""
        return self._span(self._deepest(keys)[0].place)

    def key_span(self, *keys: Key) -> Span:
        """Where the mapping key `keys[-1]` stands; of a list's item, or where there is none, as `span`."""
        parent, depth = self._deepest(keys[:-1])
        if keys and depth == len(keys) - 1 and keys[-1] in parent.keys:
            return self._span(parent.keys[str(keys[-1])][0])
        return self.span(*keys)

    def text_span(self, *keys: Key) -> Span:
        """Where the first character of the text under `keys` stands: past its quote, or below its `|`."""
        line, column = self._deepest(keys)[0].place
        source = self._lines[line - 1] if line <= len(self._lines) else ""
        match = _BEFORE_TEXT.match(source, column - 1)
        column = match.end() + 1 if match else column
        if source[column - 1 : column] in ("'", '"'):
            column += 1
        elif source[column - 1 : column] in ("|", ">"):
            for below, content in enumerate(self._lines[line:], line + 1):
                if content.strip():
                    return Span(self.path, below, len(content) - len(content.lstrip()) + 1)
        return Span(self.path, line, column)

    def removed(self, *keys: Key) -> bool:
        """Whether `without` took out the value under `keys`, or something inside it."""
        node, depth = self._deepest(keys)
        if depth < len(keys):
            return keys[depth] in node.removed
        return any(each.removed for each in walk(node))

    def without(self, paths: Iterable[tuple[Key, ...]]) -> Document:
        """The same document less the values under `paths`; what remains keeps its place."""
        tree: dict[Key, Any] = {}
        for path in paths:
            branch = tree
            for key in path:
                branch = branch.setdefault(key, {})
            branch[CUT] = True
        root = pruned(self._root, tree)
        return Document(self.path, self.text, root.data, root)

    def old_booleans(self) -> Iterator[tuple[str, Span]]:
        """Each `yes`, `no`, `on`, `off` without quotes, key or value: a boolean to readers of YAML 1.1."""
        for node in walk(self._root):
            if node.plain and isinstance(node.data, str) and node.data.lower() in _YAML_1_1_BOOLEANS:
                yield node.data, self._span(node.place)
            for key, (place, plain) in node.keys.items():
                if plain and key.lower() in _YAML_1_1_BOOLEANS:
                    yield key, self._span(place)

    def _deepest(self, keys: tuple[Key, ...]) -> tuple[Node, int]:
        node = self._root
        for depth, key in enumerate(keys):
            if key not in node.children:
                return node, depth
            node = node.children[key]
        return node, len(keys)

    def _span(self, place: Place) -> Span:
        return Span(self.path, *place)

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")


def read_document(path: Path, diagnostics: Diagnostics) -> Document | None:
    """The document in the file at `path`, or None with a diagnostic that says why there is none."""
    shown = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)  # never more than that, whatever the file is
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        diagnostics.error("file-unreadable", f"the file can't be read: {reason}", Span(shown))
        return None
    if len(content) > SIZE_LIMIT:
        _too_large(shown, diagnostics)
        return None
    if b"\0" in content:
        diagnostics.error("file-unreadable", "this is a binary file, not YAML", Span(shown))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        message = f"byte {problem.start + 1}, on line {line}, isn't UTF-8"
        diagnostics.error("file-unreadable", message, Span(shown), "save the file as UTF-8")
        return None
    return parse_document(shown, text, diagnostics)


def parse_document(path: str, text: str, diagnostics: Diagnostics) -> Document | None:
    """The document in `text`, or None; `path` is only what diagnostics call it.

    There may be a document and errors too: a repeated key is left out, a tag is ignored.
    """
    if len(text) > SIZE_LIMIT:
        _too_large(path, diagnostics)
        return None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    odd = _UNPRINTABLE.search(text)
    if odd:
        message = f"the character U+{ord(odd[0]):04X} can't stand in YAML"
        hint = 'inside double quotes it can be written as an escape such as "\\x1b"'
        diagnostics.error("yaml-syntax", message, Span(path, *_place_of(text, odd.start())), hint)
        return None
    root = _tree(path, text, diagnostics)
    if root is None:
        return None
    if root.data is None:
        diagnostics.error("empty-file", "there is nothing in this file", Span(path))
        return None
    return Document(path, text, root.data, root)


def _tree(path: str, text: str, diagnostics: Diagnostics) -> Node | None:
    """The root of the first document; an empty text has a root without a value. None: not readable.

    The quick parser, where there is one, is believed when it has nothing to say against a text. What is said of a text
    is always the other's, which alone knows YAML 1.2 and the good reasons.
    """
    unsaid = Diagnostics()
    root = _Quick(path, unsaid).build(text) if libyaml.serves(text) else None
    return root if root and not len(unsaid) else _Builder(path, diagnostics).build(text)


def _too_large(path: str, diagnostics: Diagnostics) -> None:
    message = f"the file is larger than {SIZE_LIMIT // 1_000_000} MB"
    hint = "a policy file of a thousand tables with twenty rules each is less: look for what made it"
    diagnostics.error("file-too-large", message, Span(path), hint)


def _place_of(text: str, index: int) -> Place:
    return text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1


class _Refused(Exception):
    """Ends the reading of a text; what was wrong is in the diagnostics."""


class _Builder:
    """Events to nodes, with a stack of the collections that are open."""

    def __init__(self, path: str, diagnostics: Diagnostics) -> None:
        self.path = path
        self.diagnostics = diagnostics
        self.stack: list[Node] = []
        self.pending: list[tuple[str, bool] | None] = []  # for each open mapping, the key without a value yet
        self.names: list[str | None] = []  # for each open collection its anchor
        self.anchors: dict[str, Node] = {}
        self.repeated = 0
        self.taken = 0
        self.errors = 0
        self.documents = 0
        self.root: Node | None = None

    def build(self, text: str) -> Node | None:
        """The root, or None where the text was refused."""
        try:
            for event in self._events(text):
                self._take(type(event).__name__, event)
        except _Refused:
            return None
        return self.root or Node((1, 1), None)

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as problem:
            self._syntax_error(problem)
        except Exception as problem:  # noqa: BLE001 - slips of the parser, such as an escape past U+10FFFF
            self._refuse("yaml-syntax", f"not valid YAML: {problem}", (0, 0))

    def _syntax_error(self, problem: MarkedYAMLError) -> None:
        mark = problem.problem_mark or problem.context_mark
        said = " ".join(str(problem.problem or problem.context or "unreadable").split())
        hint = 'text with ": ", " #", a leading * & ! % @ ` { [ or a quote in it must stand in quotes'
        if "\\t" in said:
            hint = "indent with spaces, not with tabs"
        self._refuse("yaml-syntax", f"not valid YAML: {said}", _place(mark) if mark else (0, 0), hint)

    def _refuse(self, code: str, message: str, place: Place, *hints: str) -> None:
        self._error(code, message, place, *hints)
        raise _Refused

    def _error(self, code: str, message: str, place: Place, *hints: str) -> None:
        self.errors += 1
        self.diagnostics.error(code, message, Span(self.path, *place), *hints)
        if self.errors >= ERROR_LIMIT:
            raise _Refused

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            message = "a second document begins here; a file holds one"
            hint = "put it into a file of its own"
            self._refuse("yaml-unsupported", message, _place(event.start_mark), hint)
        if event.version is not None and tuple(event.version) < (1, 2):
            message = "files are read as YAML 1.2, and this one says that it is older"
            self._refuse("yaml-unsupported", message, _place(event.start_mark), "remove the %YAML line")

    def _take(self, kind: str, event: Any) -> None:
        """`kind` is the name of the event's class, the same in both parsers."""
        if kind == "DocumentStartEvent":
            self._document(event)
            return
        if kind == "DocumentEndEvent":
            self.anchors = {}
            return
        self.taken += 1
        if self.taken > VALUE_LIMIT:
            message = f"the file holds more than {VALUE_LIMIT} keys and values"
            self._refuse("file-too-large", message, _place(event.start_mark), "split the file")
        if kind == "ScalarEvent":
            self._scalar(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open(event, {} if kind == "MappingStartEvent" else [])
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._close()
        elif kind == "AliasEvent":
            self._alias(event)

    def _scalar(self, event: Any) -> None:
        place = _place(event.start_mark)
        self._no_tag(event, place)
        text: str = event.value
        plain = not event.style
        odd = _UNSTORABLE.search(text)
        if odd:
            message = f"the text holds the character U+{ord(odd[0]):04X}, which PostgreSQL can't store"
            self._error("bad-value", message, place)
            text = _UNSTORABLE.sub("\ufffd", text)
        if self._expects_key():
            self._key(text, place, plain)
            return
        self._add(Node(place, core_scalar(text) if plain else text, plain), event.anchor)

    def _open(self, event: Any, empty: dict[str, Any] | list[Any]) -> None:
        place = _place(event.start_mark)
        self._no_tag(event, place)
        if self._expects_key():
            self._refuse("yaml-unsupported", "a key must be a text, not a list or a mapping", place)
        if len(self.stack) >= DEPTH_LIMIT:
            self._refuse("yaml-unsupported", f"nested more than {DEPTH_LIMIT} levels deep", place)
        self.stack.append(Node(place, empty))
        self.pending.append(None)
        self.names.append(event.anchor)

    def _close(self) -> None:
        node = self.stack.pop()
        self.pending.pop()
        self._add(node, self.names.pop())

    def _alias(self, event: Any) -> None:
        place = _place(event.start_mark)
        if self._expects_key():
            self._refuse("yaml-unsupported", "a key must be a text, not an alias", place)
        node = self.anchors.get(event.anchor)
        if node is None:
            message = f'there is no anchor "&{event.anchor}" that ends before this alias'
            self._refuse("yaml-alias", message, place, "a text that begins with * must stand in quotes")
            return
        self.repeated += node.size
        if self.repeated > ALIAS_LIMIT or len(self.stack) + node.height > DEPTH_LIMIT:
            message = "the aliases of this file repeat too much"
            self._refuse("yaml-alias", message, place, "write the values out")
        self._add(node, None)

    def _no_tag(self, event: Any, place: Place) -> None:
        if event.tag is not None:
            hint = "remove it; a value in quotes is a text"
            self._error("yaml-unsupported", f'the tag "{event.tag}" means nothing here', place, hint)

    def _expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].data, dict) and self.pending[-1] is None

    def _key(self, text: str, place: Place, plain: bool) -> None:
        keys = self.stack[-1].keys
        fresh = text not in keys
        if text == "<<" and plain:
            fresh = False
            message = "merge keys (<<) aren't part of YAML 1.2"
            hint = "write the keys out, or repeat a value with an alias"
            self._error("yaml-unsupported", message, place, hint)
        elif not fresh:
            line, column = keys[text][0]
            message = f'the key "{_short(text)}" is given twice: here, and on line {line}, column {column}'
            self._error("duplicate-key", message, place, "remove one, or merge what they say")
        else:
            keys[text] = (place, plain)
        self.pending[-1] = (text, fresh)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent.data, list):
            parent.adopt(len(parent.data), node)
            return
        waiting = self.pending[-1]
        assert waiting is not None, "a value in a mapping follows its key"
        key, fresh = waiting
        if fresh:
            parent.adopt(key, node)
        self.pending[-1] = None


class _Quick(_Builder):
    """The same from libyaml's events, of a text that both parsers read alike."""

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from libyaml.events(text)
        except libyaml.Unsure:
            raise _Refused from None


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
