"""Guards of columns that are not what was applied: gone, switched off, or made anew with another text."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from mcp_rls.database.drift.finding import PUTS_BACK, Finding, Kind
from mcp_rls.database.drift.reading import Connection, Look, rows, trigger_table
from mcp_rls.database.drift.wording import WHY_ANEW
from mcp_rls.effect import Effect, limits, of_columns

_DIGEST = "select md5(concat_ws(' ', %s::text, 'text', pg_get_triggerdef(%s))) as digest"


def told(conn: Connection, look: Look) -> Iterator[Finding]:
    """What there is to say of triggers of ours, unless their table went or is suspended."""
    applied, stored = ({o for o in some if o.startswith("trigger ")} for some in (look.manifest, look.stored))
    for object_ in sorted(applied | stored):
        table = trigger_table(object_)
        if table in look.suspended or f"table {table}" not in look.seen:
            continue
        if object_ not in stored:
            yield _drift(look, object_, "gone", _free(look, object_))
        elif object_ not in applied:
            means, remedy = "it may refuse what the policy file lets clients set", "`mcp-rls apply` drops it"
            yield Finding(Kind.DRIFT, object_, "new", means=means, remedy=remedy, effect=Effect.CLOSES)
        elif look.stored[object_].tree != look.manifest[object_].tree:
            yield _changed(conn, look, object_)


def _changed(conn: Connection, look: Look, object_: str) -> Finding:
    was, now = look.manifest[object_], look.stored[object_]
    state, _, _ = now.tree.partition(" text ")
    if state != was.tree.partition(" text ")[0]:
        off = state == "trigger disabled"
        said, means = ("disabled", _free(look, object_)) if off else ("enabled", "it holds updates again")
        return _drift(look, object_, said, means, Effect.OPENS if off else Effect.CLOSES)
    digest = None if now.table in look.locked else _digest(conn, state, now.oid)
    if digest is None:
        return Finding(Kind.UNKNOWN, object_, "made anew", means="its text could not be read: its table is locked")
    if digest == was.printed:
        return Finding(Kind.NOTE, object_, f"made anew with the text that was applied ({WHY_ANEW})")
    return _drift(look, object_, "changed", "clients may set other columns than before")


def _digest(conn: Connection, state: str, oid: int) -> str | None:
    """The digest of its text, as the function `printed` computes it; None where its table is locked."""
    try:
        with conn.transaction(force_rollback=True):  # which gives back the lock
            return str(rows(conn, _DIGEST, (state, oid))[0].digest)
    except psycopg.errors.LockNotAvailable:
        return None


def _free(look: Look, object_: str) -> str:
    """What comes of the trigger's absence."""
    held = limits(look.manifest[object_].meaning) if object_ in look.manifest else {}
    return ", ".join(words for _, words in of_columns(held, dict.fromkeys(held))) if held else "updates set any column"


def _drift(look: Look, object_: str, now: str, means: str, effect: Effect = Effect.OPENS) -> Finding:
    return Finding(Kind.DRIFT, object_, now, "", means, PUTS_BACK, effect, look.manifest[object_].place)
