"""What else decides who reaches a row and is not what was noted: tables, views and grants on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

from mcp_rls.database.drift.finding import MAY_TAKE_NOTE, PUTS_BACK, TAKES_NOTE, Finding, drifted
from mcp_rls.database.drift.reading import Facts, Look
from mcp_rls.effect import Effect
from mcp_rls.state import BLIND_PRIVILEGES

KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_ON_OFF = {True: "on", False: "off"}


def told(look: Look) -> Iterator[Finding]:
    """What there is to say of tables, and of views and the like."""
    before, after = look.noted("table "), {o: facts for o, facts in look.seen.items() if o.startswith("table ")}
    for object_ in sorted(before.keys() | after.keys()):
        was, now = before.get(object_), after.get(object_)
        if was is None and now is not None:
            yield _new(look, object_, now)
        elif was is not None and now is None:
            yield _gone(object_, was)
        elif was is not None and now is not None and was != now:
            yield from _table(look, object_, was, now)


def _gone(object_: str, was: Facts) -> Finding:
    means = "its policies and grants went with it; one made in its place has none of them"
    return drifted(object_, Effect.CLOSES, "gone", f"a {KINDS[was['kind']]}", means)


def _new(look: Look, object_: str, now: Facts) -> Finding:
    """Something new in a covered schema; no ceiling of ours is on it yet."""
    parents = ", ".join(now["parents"])
    said = f"a new {KINDS[now['kind']]}" + (f", a partition or child of {parents}" if parents else "")
    holders = _holders(look, now)
    if not holders:
        means, effect = "no token role has a grant on it", Effect.NEITHER
    else:
        means, effect = f"{holders} reach it, {_unbound(now)}", Effect.OPENS
        if now["kind"] == "v" and now["security_invoker"]:
            effect = Effect.NEITHER
    remedy = "`mcp-rls apply` puts ceilings on it" if now["kind"] in "rp" else TAKES_NOTE
    return drifted(object_, effect, said, "", means, remedy)


def _unbound(facts: Facts) -> str:
    """Which ceilings bind whoever reaches it."""
    if facts["kind"] == "v":
        if facts["security_invoker"]:
            return "below the ceilings of what it reads"
        return f"past the ceilings of what it reads: it reads as its owner, {facts['owner']}"
    if facts["kind"] in "mf":
        return "and row security can't cover it"
    return "and no ceiling binds them there" + (", nor those of its parent" if facts["parents"] else "")


def _holders(look: Look, facts: Facts) -> str:
    return ", ".join(sorted({look.grant(said)[0] for said in facts["grants"]}))


# --- a table that changed ---------------------------------------------------------------------------------------------


def _table(look: Look, object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    if was["kind"] != now["kind"]:
        yield _replaced(object_, was, now)
        return
    yield from chain(
        _owner(object_, was, now), _switches(object_, was, now), _invoker(object_, was, now),
        _parents(object_, was, now), _grants(look, object_, was, now),
    )  # fmt: skip


def _replaced(object_: str, was: Facts, now: Facts) -> Finding:
    means = f"the policies of the old one are gone; who reaches it does so {_unbound(now)}"
    return drifted(object_, Effect.OPENS, f"a {KINDS[now['kind']]}", f"a {KINDS[was['kind']]}", means)


def _owner(object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    if was["owner"] != now["owner"]:
        means = "an owner can change its policies, and row security doesn't bind one unless it is FORCEd"
        if now["kind"] == "v" and not now["security_invoker"]:
            means = "it reads as its owner"
        yield drifted(object_, Effect.OPENS, f"owned by {now['owner']}", f"owned by {was['owner']}", means)


def _switches(object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    if was["row_security"] != now["row_security"]:
        off = not now["row_security"]
        effect = Effect.OPENS if off else Effect.CLOSES
        means = "its policies bind nobody: clients reach every row that grants let them" if off else "policies bind"
        said, before = (f"row security {_ON_OFF[f['row_security']]}" for f in (now, was))
        yield drifted(object_, effect, said, before, means, PUTS_BACK if off else TAKES_NOTE)
    if was["force"] != now["force"]:
        off = not now["force"]
        effect = Effect.OPENS if off else Effect.CLOSES
        means = f"row security {'no longer binds' if off else 'binds'} its owner, {now['owner']}"
        said, before = (f"FORCE {_ON_OFF[f['force']]}" for f in (now, was))
        remedy = MAY_TAKE_NOTE if off else TAKES_NOTE
        yield drifted(object_, effect, said, before, means, remedy)


def _invoker(object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    if was["security_invoker"] != now["security_invoker"]:
        lost = was["security_invoker"]
        effect = Effect.OPENS if lost else Effect.CLOSES
        said, before = (f"{'with' if f['security_invoker'] else 'without'} security_invoker" for f in (now, was))
        yield drifted(object_, effect, said, before, f"who reads it does so {_unbound(now)}")


def _parents(object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    before, after = ("a partition or child of " + (", ".join(f["parents"]) or "nothing") for f in (was, now))
    if before != after:
        joined = set(now["parents"]) - set(was["parents"])
        effect = Effect.OPENS if joined else Effect.CLOSES
        means = "who reads its rows through a parent is bound by the parent's ceilings alone"
        yield drifted(object_, effect, after, before, means)


# --- grants ----------------------------------------------------------------------------------------------


def _grants(look: Look, object_: str, was: Facts, now: Facts) -> Iterator[Finding]:
    """A line for each role that has more, and one for each that has less."""
    for role, privileges in _by_role(look, now["grants"].keys() - was["grants"].keys()):
        blind = sorted(p for p in privileges if p.partition(" ")[0] in BLIND_PRIVILEGES and now["kind"] in "rp")
        seen = sorted(set(privileges) - set(blind))
        if blind:
            means, remedy = "row security can't narrow that", "`mcp-rls apply` revokes it"
            yield drifted(object_, Effect.OPENS, f"{role} has {', '.join(blind)}", "not granted", means, remedy)
        if seen:
            said = f"{role} has {', '.join(seen)}"
            yield drifted(object_, Effect.OPENS, said, "not granted", f"clients may use it {_below(now)}")
    for role, privileges in _by_role(look, was["grants"].keys() - now["grants"].keys()):
        if role == now["owner"]:
            continue  # who owns a table needs no grant, and its grants aren't noted
        said = f"{role} lost {', '.join(privileges)}"
        yield drifted(object_, Effect.CLOSES, said, "granted", "people and clients may do less")


def _below(facts: Facts) -> str:
    if facts["kind"] in "rp":
        return "as far as ceilings and people's policies let them" if facts["row_security"] else "without limit"
    return f"there, {_unbound(facts)}"


def _by_role(look: Look, grants: set[str]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = defaultdict(list)
    for said in sorted(grants):
        role, privilege, column = look.grant(said)
        found[role].append(f"{privilege} ({column})" if column else privilege)
    return sorted(found.items())
