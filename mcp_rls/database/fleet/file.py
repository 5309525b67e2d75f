"""A fleet file: which databases there are, how many to work on at a time, and how often to try again.

Addresses may name environment variables, so that what is secret needn't stand in the file. They are looked up for those
databases only that a run is about.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from mcp_rls.compiler.fields import Raw, Text, expected
from mcp_rls.compiler.shape import Shaped, shaped
from mcp_rls.database.server import ServerError, normalised, url_parts
from mcp_rls.diagnostics import Diagnostics, Span, nearest
from mcp_rls.document import Document, read_document

PARALLEL, RETRIES = 4, 2
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PASSWORD_PARAMETER = re.compile(r"(?:^|&)password=[^&]")
_EXPECTED = "a URL such as postgresql://deploy:${PASSWORD}@host/name, or ${NAME} for the whole of it"


def _from(least: int) -> AfterValidator:
    def check(value: int) -> int:
        if value < least:
            raise expected(f"a whole number, {least} or more", "bad-value")
        return value

    return AfterValidator(check)


class FleetFile(Raw):
    """The databases that one policy file is for."""

    needs = ("mcp_rls_fleet", "databases")
    mcp_rls_fleet: Literal[1] | None = Field(None, description="Version of this file's format.")
    parallel: Annotated[int, _from(1)] = Field(PARALLEL, description="How many databases are worked on at a time.")
    retries: Annotated[int, _from(0)] = Field(RETRIES, description="How often one that failed is tried again alone.")
    databases: Annotated[dict[str, Text], Field(min_length=1)] | None = Field(
        None, description="A name for each database, and its URL; ${NAME} in it is an environment variable."
    )


@dataclass(frozen=True)
class Address:
    """The URL of a database as the file has it, and where it stands."""

    written: str = field(repr=False)  # may hold a password
    span: Span = Span()

    def url(self, environ: Mapping[str, str]) -> str:
        """With the environment's values: of a variable that stands alone as it is, else percent-encoded."""
        alone = _VARIABLE.fullmatch(self.written)
        if alone:
            return environ[alone[1]]
        return _VARIABLE.sub(lambda found: quote(environ[found[1]], safe=""), self.written)


@dataclass(frozen=True)
class Fleet:
    """What a fleet file says; databases in its order."""

    path: str
    databases: Mapping[str, Address]
    parallel: int = PARALLEL
    retries: int = RETRIES

    def urls(
        self, names: Iterable[str], diagnostics: Diagnostics, environ: Mapping[str, str] = os.environ
    ) -> dict[str, str]:
        """The URL of each of `names`; an error for each that the environment doesn't make whole."""
        found: dict[str, str] = {}
        for name in names:
            address = self.databases[name]
            unset = [v for v in _VARIABLE.findall(address.written) if not environ.get(v)]
            for variable in unset:
                message = f"{name}: the environment variable {variable} isn't set"
                diagnostics.error("unset-variable", message, address.span, nearest(variable, environ))
            if not unset and (url := _readable(name, address, environ, diagnostics)):
                found[name] = url
        _all_different(found, self.databases, diagnostics)
        return found


def load_fleet(path: Path) -> tuple[Fleet | None, Diagnostics]:
    """The fleet in the file at `path`, None when one of the diagnostics is an error."""
    diagnostics = Diagnostics()
    document = read_document(path, diagnostics)
    fleet = _fleet(document, diagnostics) if document else None
    return None if diagnostics.has_errors else fleet, diagnostics


def _fleet(document: Document, diagnostics: Diagnostics) -> Fleet | None:
    draft = shaped(FleetFile, document, diagnostics)
    if draft is None:
        return None
    addresses = {}
    for name, text in (draft.file.databases or {}).items():
        _look_at(draft, name, text)
        addresses[name] = Address(text, document.span("databases", name))
    return Fleet(document.path, addresses, draft.file.parallel, draft.file.retries)


def _look_at(draft: Shaped[Any], name: str, text: str) -> None:
    """What can be said of an address without the environment; none of it is quoted."""
    if _VARIABLE.fullmatch(text):
        return
    path = ("databases", name)
    try:
        parts = url_parts(_VARIABLE.sub("1", text))
    except ServerError:
        parts = None
    if parts is None or "${" in _VARIABLE.sub("", text):
        hint = "in a name or password write @ as %40, / as %2F, : as %3A and % as %25"
        draft.error("bad-value", f"{name}: this is no address of a database; expected {_EXPECTED}", path, hint)
    elif _holds_password(_VARIABLE.sub("", text)):
        hints = ("name a variable in its place: ${PASSWORD}", "or leave it out, for libpq to find it in ~/.pgpass")
        draft.warning("password-in-file", f"{name}: a password stands in the file", draft.document.span(*path), *hints)


def _holds_password(url: str) -> bool:
    parts = url_parts(url)
    _, _, password = (parts["who"] or "").removesuffix("@").partition(":")
    return bool(password or _PASSWORD_PARAMETER.search(parts["query"] or ""))


def _readable(name: str, address: Address, environ: Mapping[str, str], diagnostics: Diagnostics) -> str:
    try:
        return normalised(address.url(environ))
    except ServerError as problem:
        first, *hints = str(problem).splitlines()
        diagnostics.error("bad-value", f"{name}: {first}", address.span, *(h.removeprefix("hint: ") for h in hints))
        return ""


def _all_different(urls: Mapping[str, str], addresses: Mapping[str, Address], diagnostics: Diagnostics) -> None:
    names: dict[str, str] = {}
    for name, url in urls.items():
        first = names.setdefault(url, name)
        if first != name:
            message = f"{name} is the same database as {first}"
            diagnostics.error("bad-value", message, addresses[name].span, "name each database once")
