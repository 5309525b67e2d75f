"""What a claims text says, decided as the design words it and without SQL."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from .world import Claim, ClientClass, Path

ABSENT, MALFORMED = object(), object()  # of a claim, neither of them a JSON value

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_RANGE = {"integer": 2**31, "bigint": 2**63}


class Document(Enum):
    """Claims texts that hold no object."""

    NONE = "no claims"
    BROKEN = "malformed"


@dataclass(frozen=True)
class Number:
    """A JSON number, by its text."""

    text: str

    def integer(self) -> int | None:
        """The value, where jsonb prints the number as at most 19 digits and nothing else."""
        if self._scale() > 0:
            return None  # 7.0 prints with its point
        number = Decimal(self.text)
        return int(number) if number.is_zero() or number.adjusted() < 19 else None

    def fits(self) -> bool:
        """Whether PostgreSQL's numeric can hold it: 131072 digits before the point, 16383 after it."""
        number = Decimal(self.text)
        small = abs(self._exponent()) < 2**30 and self._scale() <= 16383
        return small and (number.is_zero() or number.adjusted() < 131072)

    def _exponent(self) -> int:
        return int(self.text.lower().partition("e")[2] or 0)

    def _scale(self) -> int:
        """Digits after the point, as jsonb prints it."""
        fraction = self.text.lower().partition("e")[0].partition(".")[2]
        return max(0, len(fraction) - self._exponent())


class _Unacceptable(ValueError):
    pass


def _refuse(text: str) -> Any:
    raise _Unacceptable(text)  # NaN, Infinity


def _string(text: str) -> None:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise _Unacceptable("a string that jsonb can't hold")


def _checked(value: Any) -> Any:
    if isinstance(value, str):
        _string(value)
    elif isinstance(value, Number) and not value.fits():
        raise _Unacceptable(value.text)
    elif isinstance(value, list):
        for element in value:
            _checked(element)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of equal keys wins, but what an earlier one holds must be acceptable too."""
    for key, value in pairs:
        _string(key)
        _checked(value)
    return dict(pairs)


def document(text: str | None) -> dict[str, Any] | Document:
    """The object that a claims text holds, numbers as `Number`."""
    if text is None or text == "":
        return Document.NONE
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_refuse)
    try:
        value = decoder.decode(text)
        return _checked(value) if isinstance(value, dict) else Document.BROKEN
    except (ValueError, RecursionError):
        return Document.BROKEN


def at(claims: dict[str, Any], path: Path) -> Any:
    """The JSON value at a path, ABSENT, or MALFORMED where the way there is no object."""
    value: Any = claims
    for key in path:
        if not isinstance(value, dict):
            return MALFORMED
        if key not in value:
            return ABSENT
        value = value[key]
    return value


def typed(claims: dict[str, Any], claim: Claim) -> bool | int | str | None:
    """The claim's value, or None when it is absent or not of its type."""
    value = at(claims, claim.path)
    if claim.type == "text":
        return value if isinstance(value, str) and value else None
    if claim.type == "uuid":
        return value.lower() if isinstance(value, str) and _UUID.fullmatch(value) else None
    if claim.type == "boolean":
        return value if isinstance(value, bool) else None
    if not isinstance(value, Number):
        return None
    number, limit = value.integer(), _RANGE[claim.type]
    return number if number is not None and -limit <= number < limit else None


def client(claims: dict[str, Any], paths: tuple[Path, ...]) -> Any:
    """The client's id, ABSENT when every path is, MALFORMED when the first present one is no good."""
    for path in paths:
        value = at(claims, path)
        if value is not ABSENT:
            return value if isinstance(value, str) and 0 < len(value) <= 2048 else MALFORMED
    return ABSENT


def words(claims: dict[str, Any], path: Path) -> Any:
    """The scope words as a frozenset, or MALFORMED."""
    value = at(claims, path)
    if value is ABSENT:
        return frozenset()
    if isinstance(value, str):
        return frozenset(word for word in value.split(" ") if word)
    if isinstance(value, list) and all(isinstance(element, str) for element in value):
        return frozenset(value)
    return MALFORMED


def below_prefix(client_id: str, prefix: str) -> bool:
    """Whether a client id is a URL below `prefix` that no reader could take for another place."""
    return (
        client_id.startswith(prefix)
        and all("!" <= c <= "~" and c not in "\\#" for c in client_id)
        and not re.search(r"/\.\.?(/|\?|\Z)", client_id)
        and not re.search(r"%2e|%2f|%5c", client_id, re.IGNORECASE)
    )


def matches(kind: ClientClass, client_id: str, registered: frozenset[str]) -> bool:
    """Whether a client is a member of a class; `registered`: the ids in its registry, whatever their state."""
    return (
        (not kind.ids or client_id in kind.ids)
        and (kind.prefix is None or below_prefix(client_id, kind.prefix))
        and (kind.registry is None or client_id in registered)
    )
