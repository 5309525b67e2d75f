"""A document as the model of its file: what isn't shaped as the model says is reported and left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from mcp_rls.compiler.fields import Raw
from mcp_rls.compiler.schema import PolicyFile
from mcp_rls.diagnostics import Diagnostics, Span, nearest
from mcp_rls.document import Document
from mcp_rls.node import Key

ERROR_LIMIT = 1000  # of errors of shape that are told apart; past it the file is something else
_HINT_BUDGET = 100_000  # comparisons of names; without it a large file of unknown names takes minutes


_F = TypeVar("_F", bound=Raw)


@dataclass
class Shaped(Generic[_F]):
    """A file on its way to what it means: its well-shaped parts, their places, and what was found.

    A path that doesn't exist stands for the nearest place above it, so `who: a` may be asked for ('who', 0).
    """

    file: _F
    document: Document
    diagnostics: Diagnostics
    written: dict[str, Any]  # the whole file, badly shaped parts included
    meant: set[str] = field(default_factory=set)  # names that hints have pointed to
    _budget: list[int] = field(default_factory=lambda: [_HINT_BUDGET], repr=False)

    def error(self, code: str, message: str, path: tuple[Key, ...], *hints: str) -> None:
        """An error at the value under `path`."""
        self.diagnostics.error(code, message, self.document.span(*path), *hints)

    def key_error(self, code: str, message: str, path: tuple[Key, ...], *hints: str) -> None:
        """An error at the key that ends `path`."""
        self.diagnostics.error(code, message, self.document.key_span(*path), *hints)

    def warning(self, code: str, message: str, span: Span, *hints: str) -> None:
        self.diagnostics.warning(code, message, span, *hints)

    def nearest(self, name: str, candidates: Iterable[str]) -> str:
        """The hint for a name that isn't there, as long as looking for it is cheap."""
        pool = tuple(candidates)
        self._budget[0] -= len(pool)
        hint = nearest(name[:100], pool) if self._budget[0] >= 0 else ""
        self.meant.update(hint.split('"')[1:2])
        return hint

    def names(self, section: str) -> tuple[str, ...]:
        """The keys of a section, badly shaped ones included."""
        entries = self.written.get(section)
        return tuple(entries) if isinstance(entries, dict) else ()

    def knows(self, section: str, name: str) -> bool:
        """Whether a section has that key; one that isn't a mapping might."""
        entries = self.written.get(section, {})
        return not isinstance(entries, dict) or name in entries

    def damaged(self, *path: Key) -> bool:
        """Whether something under `path` was left out: what is missing then may have been there."""
        return self.document.removed(*path)


Draft = Shaped[PolicyFile]


def shaped(model: type[_F], document: Document, diagnostics: Diagnostics) -> Shaped[_F] | None:
    """The file in `document`, less the parts that are not shaped as they must be, each of them reported."""
    if not isinstance(document.data, dict):
        found = described(document.data)
        diagnostics.error("wrong-type", f"the file: found {found}, expected a mapping", document.span())
        return None
    draft = Shaped(model(), document, diagnostics, document.data)
    old = {span: word for word, span in document.old_booleans()}
    for span, word in old.items():
        _old_boolean(draft, word, span)
    file, errors = _validated(model, document.data)
    for error in errors[:ERROR_LIMIT]:
        path = _path(document.data, error["loc"])
        if error["type"] == "extra_forbidden" or document.span(*path) not in old:
            _report(draft, error, path)
    while errors:
        document = document.without({_path(document.data, error["loc"]) for error in errors})
        file, errors = _validated(model, document.data)
    draft = replace(draft, file=file, document=document)
    for path, where, name in _missing(draft.file):
        if not draft.damaged(*path, name):
            _report_missing(draft, path, where, name)
    return draft


def _validated(model: type[_F], data: Any) -> tuple[_F, list[Any]]:
    """The file, an empty one when it has errors; and pydantic's errors."""
    try:
        return model.model_validate(data), []
    except ValidationError as problem:
        return model(), list(problem.errors(include_url=False))


def _path(data: Any, loc: tuple[Key, ...]) -> tuple[Key, ...]:
    """The path in the document that pydantic means: without the members of unions, and not past a value."""
    path: list[Key] = []
    for step in loc:
        known = isinstance(data, dict) and step in data
        known = known or (isinstance(data, list) and isinstance(step, int) and step < len(data))
        if known:
            path.append(step)
            data = data[step]
    return tuple(path)


def _old_boolean(draft: Shaped[Any], word: str, span: Span) -> None:
    meaning = "true" if word.lower() in ("yes", "on") else "false"
    draft.diagnostics.error(
        "yaml-boolean",
        f'"{word}" without quotes is a text in YAML 1.2 and {meaning} in YAML 1.1',
        span,
        f'write {meaning} for the boolean, or "{word}" in quotes for the text',
    )


# --- pydantic's errors in the field's words

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "too_short": "at least one",
}


def _report(draft: Shaped[Any], error: Any, path: tuple[Key, ...]) -> None:
    if error["type"] == "extra_forbidden":
        _report_unknown(draft, path)
        return
    found = _value(draft.document.data, path)
    name = next((str(key) for key in reversed(path) if isinstance(key, str)), "the file")
    subject = f'"{shown(name)}"' if path else name
    hints: list[str] = []
    code, wanted = "wrong-type", _EXPECTED.get(error["type"], error["msg"])
    if error["type"] == "literal_error":
        words = _words(error["ctx"]["expected"])
        code = "bad-value" if isinstance(found, str) else "wrong-type"
        wanted = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
        hints.append(draft.nearest(found, words) if isinstance(found, str) else "")
    elif error["type"] in ("wrong-type", "bad-value", "too_short"):
        code = "bad-value" if error["type"] == "too_short" else error["type"]
    if isinstance(found, bool) and "text" in wanted:
        code = "yaml-boolean"
    if isinstance(found, bool | int | float) and "text" in wanted:
        hints.append("put it in quotes to make it a text")
    hints.append(_advice(found, wanted, path))
    draft.error(code, f"{subject}: found {described(found)}, expected {wanted}", path, *hints)


def _advice(found: Any, wanted: str, path: tuple[Key, ...]) -> str:
    """What to write instead, for slips that are made often."""
    if found is None:
        return "leave the key out, or say what it stands for"
    if found == [] and path[-1] in ("clients", "people"):
        return "clients: none" if path[-1] == "clients" else "people: existing"
    if isinstance(found, str) and wanted == "a list":
        return f"write it as a list: [{shown(found)}]"
    if isinstance(found, dict) and wanted.endswith("a list of rules"):
        return "begin each rule with a dash"
    if found in ("none", "read_as_person") and path[:1] == ("tables",) and wanted == "a mapping":
        return f"{{clients: {found}}}"
    return ""


def _report_unknown(draft: Shaped[Any], path: tuple[Key, ...]) -> None:
    key = str(path[-1])
    if len(path) >= 3 and path[-3] == "people" and key in ("who", "scope"):
        message = f'a rule for people takes no "{key}": it holds for every session of a person'
        draft.key_error("unknown-key", message, path, "rules for clients stand under `clients:`")
        return
    known = _keys_at(type(draft.file), path[:-1])
    message = f'there is no key "{shown(key)}" {_where(path[:-1])}'
    hint = draft.nearest(key, known) or "known keys: " + ", ".join(known)
    if " " in key and _value(draft.document.data, path) is None:
        hint = "a text with a comma in it, between { and }, must stand in quotes"
    draft.key_error("unknown-key", message, path, hint)


def _report_missing(draft: Shaped[Any], path: tuple[Key, ...], model: type[Raw], name: str) -> None:
    text = next(f.description or "" for n, f in model.model_fields.items() if name in (n, f.alias))
    hint = f"{name}: {text[:1].lower()}{text[1:]}"
    draft.key_error("missing-key", f'the key "{name}" is missing {_where(path)}', path, hint)


def _where(path: tuple[Key, ...]) -> str:
    if not path:
        return "in the file"
    names = [shown(str(key)) if isinstance(key, str) else f"[{key + 1}]" for key in path]
    return "under " + ": ".join(names).replace(": [", " [")


def _words(listed: str) -> list[str]:
    """The words in pydantic's "'a', 'b' or 'c'"."""
    return listed.replace(" or ", ", ").replace("'", "").split(", ")


def _value(data: Any, path: tuple[Key, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def described(value: Any) -> str:
    """A value of a file as a message names it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {shown(str(value))}"
    if isinstance(value, str):
        return f'"{shown(value)}"'
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a mapping"


def shown(text: str) -> str:
    """`text` on one line and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "..."


# --- what the models say


def _keys_at(model: type[Raw], path: tuple[Key, ...]) -> tuple[str, ...]:
    """The keys that the mapping under `path` may have."""
    types: list[Any] = [model]
    for key in path:
        types = [inner for each in types for inner in _step(each, key)]
    models = [each for each in types if isinstance(each, type) and issubclass(each, Raw)]
    return tuple(f.alias or name for each in models for name, f in each.model_fields.items())


def _step(kind: Any, key: Key) -> Iterator[Any]:
    """The types that a value under `key` of a value of type `kind` may have."""
    if isinstance(kind, type) and issubclass(kind, Raw):
        for name, info in kind.model_fields.items():
            if key in (name, info.alias):
                yield from _members(info.annotation)
    elif get_origin(kind) in (list, dict):
        yield from _members(get_args(kind)[-1])


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for each in get_args(kind):
            yield from _members(each)
    else:
        yield kind


def _missing(value: Any, path: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], type[Raw], str]]:
    """Each needed key that isn't there: the path of the mapping, its model, the key."""
    if isinstance(value, Raw):
        for name, info in type(value).model_fields.items():
            key = info.alias or name
            inner = getattr(value, name)
            if inner is None and key in value.needs:
                yield path, type(value), key
            else:
                yield from _missing(inner, (*path, key))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _missing(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _missing(inner, (*path, index))
