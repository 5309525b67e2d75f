"""The shape of a cases file, section by section, and an error in its place for whatever doesn't have it."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mcp_rls.diagnostics import Diagnostics, nearest
from mcp_rls.document import Document

Path = tuple[str | int, ...]
Row = dict[str, Any]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Sections(Shape):
    fixtures: dict[str, Any] = {}
    people: dict[str, Any] = {}
    tokens: dict[str, Any] = {}
    cases: list[Any] = []


class Rows(Shape):
    rows: list[Row]


class PersonShape(Shape):
    sub: str | int | bool


class TokenShape(Shape):
    person: str | None = None
    class_: str | None = Field(None, alias="class")
    client: str | None = None
    scope: str | list[str] | None = None
    claims: dict[str, Any] = {}
    raw: str | dict[str, Any] | None = None
    consent: Literal["none"] | None = None
    session: Literal["none"] | None = None
    role: str | None = None


class UpdateShape(Shape):
    set: Row
    where: Row = {}


class DeleteShape(Shape):
    where: Row = {}


class CaseShape(Shape):
    as_: str = Field(alias="as")
    select: str | None = None
    insert: dict[str, Row] | None = None
    update: dict[str, UpdateShape] | None = None
    delete: dict[str, DeleteShape] | None = None
    sees: list[Any] | None = None
    changes: list[Any] | None = None
    allowed: bool | None = None
    refused: str | None = None


_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_M = TypeVar("_M", bound=Shape)


class Reader:
    """A document, and what there is to say about it."""

    def __init__(self, document: Document, diagnostics: Diagnostics) -> None:
        self.document = document
        self.diagnostics = diagnostics
        self.unread: frozenset[str] = frozenset()  # sections that couldn't be read, or stand under another name

    def sections(self) -> Sections | None:
        """The sections that can be read: a mistake in one, or an unknown one, hides none of the others' mistakes."""
        data = self.document.data
        sound = self.shaped(Sections, data, ())
        if sound is not None or not isinstance(data, dict):
            return sound
        read = {name: data[name] for name in Sections.model_fields if _fits(name, data)}
        self.unread = frozenset(Sections.model_fields) - read.keys()
        return Sections.model_validate(read)

    def shaped(self, model: type[_M], data: Any, path: Path, skip: int = 0) -> _M | None:
        """`data` as `model`, or None with an error for each place that doesn't fit; `skip`: leading keys of ours."""
        try:
            return model.model_validate(data)
        except ValidationError as problem:
            self.misfits(model, problem.errors(include_url=False), data, path, skip)
            return None

    def misfits(self, model: type[Shape], errors: list[ErrorDetails], data: Any, path: Path, skip: int) -> None:
        expected: dict[Path, list[str]] = {}
        for error in errors:
            inside = _inside(data, error["loc"])
            place = (*path, *inside[skip:])
            name = str(error["loc"][-1]) if error["loc"] else ""
            if error["type"] == "extra_forbidden":
                known = [f.alias or n for n, f in _model_at(model, inside).model_fields.items()]
                hint = nearest(name, known) or f"known here: {', '.join(known)}"
                self.error("unknown-key", f'unknown key "{name}"', place, hint, key=True)
            elif error["type"] == "missing":
                self.error("missing-key", f'the key "{name}" is missing', place)
            else:
                what = _EXPECTED.get(error["type"]) or error.get("ctx", {}).get("expected") or error["msg"]
                expected.setdefault(place, []).append(str(what))
        for place, wanted in expected.items():
            found = _kind(_value(self.document.data, place))
            self.error("wrong-type", f"expected {' or '.join(dict.fromkeys(wanted))}, found {found}", place)

    def unknown(
        self, code: str, word: str, name: str, path: Path, known: Any, hint: str = "", key: bool = False
    ) -> None:
        help_ = nearest(name, known) or hint or (f"known: {', '.join(known)}" if known else "")
        self.error(f"unknown-{code}", f'there is no {word} "{name}"', path, help_, key=key)

    def error(self, code: str, message: str, path: Path, hint: str = "", *, key: bool = False) -> None:
        span = self.document.key_span(*path) if key else self.document.span(*path)
        self.diagnostics.error(code, message, span, hint)


def _fits(section: str, data: dict[str, Any]) -> bool:
    """Whether the section is there and has the shape of one."""
    try:
        Sections.model_validate({section: data[section]})
    except (KeyError, ValidationError):
        return False
    return True


def _model_at(model: type[Shape], inside: Path) -> type[Shape]:
    """The model in which the last key of `inside` stands."""
    command = inside[0] if len(inside) > 2 else ""
    inner: dict[str, type[Shape]] = {"update": UpdateShape, "delete": DeleteShape}
    return inner.get(str(command), model)


def _inside(data: Any, loc: Path) -> Path:
    """The part of pydantic's location that leads through the data: a union adds the branch that it tried."""
    found: list[str | int] = []
    for key in loc:
        known = key in data if isinstance(data, dict) else isinstance(data, list) and isinstance(key, int)
        if not known:
            break
        data = data[key]
        found.append(key)
    return tuple(found)


def _value(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"the text {value!r}" if isinstance(value, str) else f"the number {value}"
