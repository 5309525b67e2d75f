"""Comments on policies and triggers of ours that are not what was written: they say where in the file these stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mcp_rls.database.comments import changed_comments
from mcp_rls.database.drift.finding import PUTS_BACK, Finding, Kind
from mcp_rls.database.drift.reading import Connection, Look
from mcp_rls.state import comment


def told(conn: Connection, look: Look, known: Collection[str]) -> Iterator[Finding]:
    """What there is to say of comments, but on what is `known` to be another object by now."""
    places = {object_: row.place for object_, row in look.manifest.items() if object_ not in known}
    for object_, text in changed_comments(conn, places).items():
        now = f"commented {text!r}" if text else "its comment is gone"
        place = places[object_]
        yield Finding(Kind.DRIFT, object_, now, repr(comment(place)), "", PUTS_BACK, place=place)
