"""Token roles that are not what was noted: what they may do by themselves, what they are members of; of the role of a
class also who may take it, and the schemas and sequences that it may use.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_rls.compiler.ledger import USABLE
from mcp_rls.database.drift.finding import PUTS_BACK, TAKES_NOTE, Finding, drifted
from mcp_rls.database.drift.reading import Connection, Facts, Look, rows
from mcp_rls.effect import Effect
from mcp_rls.state import LEFT, Grant

# What the catalog calls it, its name in SQL, what it means to have it, and not to have it any more.
_ATTRIBUTES = (
    ("superuser", "SUPERUSER", "row security doesn't bind it: every token reaches every row", "policies bind it"),
    ("bypassrls", "BYPASSRLS", "row security doesn't bind it: every token reaches every row", "policies bind it"),
    ("createrole", "CREATEROLE", "tokens make roles; before PostgreSQL 16, they take any too", "tokens make no roles"),
    ("login", "LOGIN", "who logs in as it writes claims of its own", "nobody logs in as it"),
)
_UNDO = "`mcp-rls apply` refuses until that is undone"


def told(conn: Connection, look: Look) -> Iterator[Finding]:
    """What there is to say of token roles."""
    for object_, was in sorted(look.noted("role ").items()):
        now = look.seen.get(object_)
        if now is None:
            means = "no token can arrive as it"
            yield drifted(object_, Effect.CLOSES, "gone", "a role that tokens arrive as", means)
            continue
        noted = look.manifest.get(f"class {object_}")
        own = noted is not None and noted.source != LEFT
        yield from _attributes(object_, was, now, own=own)
        yield from _memberships(object_, was, now, own=own)
        if own:
            yield from _taken(look, object_, was, now)
            yield from _given(object_, was, now)
            yield from _used(conn, object_, was, now)


def _attributes(object_: str, was: Facts, now: Facts, *, own: bool) -> Iterator[Finding]:
    for key, name, had, lost in _ATTRIBUTES:
        if was.get(key, now[key]) != now[key]:  # an earlier release didn't note it
            unbound = key in ("superuser", "bypassrls")
            said, before = (name if f[key] else f"not {name}" for f in (now, was))
            remedy = _UNDO if now[key] and (own or unbound) else TAKES_NOTE
            effect = Effect.OPENS if now[key] else Effect.CLOSES
            yield drifted(object_, effect, said, before, had if now[key] else lost, remedy)


def _memberships(object_: str, was: Facts, now: Facts, *, own: bool) -> Iterator[Finding]:
    joined, left = _differ(was, now, "member_of")
    if joined:
        means, remedy = "tokens have its grants, and the policies TO it", _UNDO if own else TAKES_NOTE
        yield drifted(object_, Effect.OPENS, f"a member of {', '.join(joined)}", "not a member", means, remedy)
    if left:
        means = "tokens lose its grants, and the policies TO it, its ceilings too"
        yield drifted(object_, Effect.CLOSES, f"no member of {', '.join(left)}", "a member", means)


def _differ(was: Facts, now: Facts, key: str) -> tuple[list[str], list[str]]:
    """What came and what went; nothing where an earlier release didn't note it."""
    if key not in was:
        return [], []
    before, after = (set(facts[key] or ()) for facts in (was, now))
    return sorted(after - before), sorted(before - after)


# --- roles of classes -------------------------------------------------------------------------------------------------


def _taken(look: Look, object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    """Its members: `taken_by` is put back, what others gave is theirs."""
    came, gone = _differ(was, now, "members")
    if came:
        means = "who has it is a client of the class"
        remedy = f"revoke it, or name it under `taken_by`; {TAKES_NOTE}"
        yield drifted(object_, Effect.OPENS, f"taken by {', '.join(came)}", "not a member", means, remedy)
    role = object_.removeprefix("role ")
    ours = [name for name in gone if Grant(name, "role", role).object in look.manifest]
    for names, remedy in ((ours, PUTS_BACK), (sorted(set(gone) - set(ours)), TAKES_NOTE)):
        if names:
            means = "no client arrives by way of it"
            yield drifted(object_, Effect.CLOSES, f"no longer taken by {', '.join(names)}", "a member", means, remedy)


def _given(object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    came, gone = _differ(was, now, "givers")
    if came:
        means, said = "whom they choose is a client of the class", f"given to others by {', '.join(came)}"
        yield drifted(object_, Effect.OPENS, said, "no ADMIN OPTION", means)
    if gone:
        said = f"no longer given to others by {', '.join(gone)}"
        yield drifted(object_, Effect.CLOSES, said, "ADMIN OPTION", "they choose no more clients of the class")


def _used(conn: Connection, object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    """Privileges on schemas and sequences. A rename takes none, and what was dropped is missed by nobody."""
    came, gone = _differ(was, now, "uses")
    if not came and not gone:
        return
    before, after = ({(_privilege(said), oid) for said, oid in (facts["uses"] or {}).items()} for facts in (was, now))
    there = {r.said for r in rows(conn, USABLE)}
    came = [s for s in came if (_privilege(s), now["uses"][s]) not in before]
    gone = [s for s in gone if (_privilege(s), was["uses"][s]) not in after and _thing(s) in there]
    for said in came:
        swept = f"USAGE on {_thing(said)}" in came  # with all that is granted on it
        remedy = "`mcp-rls apply` revokes it" if swept else TAKES_NOTE
        yield drifted(object_, Effect.OPENS, f"has {said}", "not granted", "its clients may use it", remedy)
    for said in gone:
        remedy = "`mcp-rls apply` puts it back where people have it too" if _privilege(said) == "USAGE" else TAKES_NOTE
        yield drifted(object_, Effect.CLOSES, f"lost {said}", "granted", "its clients may do less", remedy)


def _privilege(said: str) -> str:
    """The privilege of one that is noted as 'PRIVILEGE on schema NAME'."""
    return said.partition(" ")[0]


def _thing(said: str) -> str:
    return said.partition(" on ")[2]
