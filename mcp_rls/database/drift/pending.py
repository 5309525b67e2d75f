"""What `mcp-rls apply` would do because the policy file moved on, told from what the database did by itself.

So the file is compiled against the tables that there are, but against the state that was applied: what was noted of
switches and grants, and the policies and functions of the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.meaning import EVERYBODY
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import COVERED_KINDS, place, resolve
from mcp_rls.database.drift.finding import Finding, Kind
from mcp_rls.database.drift.policies import Tree
from mcp_rls.database.drift.reading import Facts, Look, Recorded, policy_name, trigger_table
from mcp_rls.diagnostics import Diagnostic, Diagnostics
from mcp_rls.effect import Effect, Said, limits, of_columns, of_function, of_presence, together
from mcp_rls.plan import told_of_policy
from mcp_rls.state import Function, Grant, Noted, Policy, Privilege, State, Switches, Trigger

_MADE = ("policy ", "function ", "trigger ")
_APPLY = "`mcp-rls apply` would"
_REFUSED = "`mcp-rls apply` refuses the file in this database"


def told(policies: PolicySet, catalog: Catalog, look: Look, drifted: set[str]) -> Iterator[Finding]:
    """What there is to say of the file; `drifted` are the objects that the database changed by itself."""
    diagnostics = Diagnostics()
    resolved = resolve(policies, catalog, diagnostics)
    if resolved is None:
        yield from (_refused(error, drifted) for error in diagnostics.errors)
        return
    applied = _applied(look, catalog)
    desired = lower(resolved, applied)
    yield from _objects(policies, look, desired)
    yield from _switches(look, applied, desired)
    yield from _privileges(look, applied, desired)
    yield from _takers(look, desired)


def _refused(error: Diagnostic, drifted: set[str]) -> Finding:
    """An error that keeps the file from being compiled here; it is no news of the file where its subject drifted."""
    kind = Kind.UNKNOWN if error.subject in drifted else Kind.PENDING
    words = f"error[{error.code}] {error.message}"
    at = place(error.span) if error.span.line else ""
    return Finding(kind, error.subject or "file", words, means=_REFUSED, remedy=", or ".join(error.hints), place=at)


def remedied(found: Iterable[Finding], asked: Iterable[Finding]) -> Iterator[Finding]:
    """Both; `apply` can't take note of what the file is refused for: the way out stands in place of that, and once."""
    ways_out = {f.object: f.remedy for f in asked if f.kind is Kind.UNKNOWN}
    told: set[tuple[str, str]] = set()
    for f in found:
        way = (f.object, ways_out.get(f.object, ""))
        refused = f.stays and f.object in ways_out
        yield replace(f, remedy=_REFUSED if way in told else f"{_REFUSED}: {way[1]}") if refused else f
        told |= {way} if refused else set()
    for f in asked:
        yield replace(f, means="", remedy="") if (f.object, f.remedy) in told else f


# --- what was applied, as a state -------------------------------------------------------------------------------------


def _applied(look: Look, catalog: Catalog) -> State:
    """The state that was applied, as far as `lower` asks; of tables that are new since then, as it is."""
    tables = {str(name): name for name in catalog.tables}
    switches = {n: Switches(n, t.row_security, t.force) for n, t in catalog.tables.items() if t.kind in COVERED_KINDS}
    privileges = set()
    for object_, facts in _noted_tables(look).items():
        name = tables.get(object_.removeprefix("table "))
        if name in switches:
            switches[name] = Switches(name, facts["row_security"], facts["force"])
            privileges |= {_privilege(look, name, said) for said in facts["grants"]}
    return State(
        installed=True,
        policies={(p.table, p.name): p for p in _policies(look, tables)},
        switches=switches,
        privileges=frozenset(privileges),
        revoked=frozenset(Privilege.named(o) for o, r in look.manifest.items() if r.source == "revoked"),
        recorded=frozenset(o for o in look.manifest if o.startswith((*_MADE, "privilege "))),
    )


def _noted_tables(look: Look) -> dict[str, Facts]:
    """What was noted of tables, without views and the like: no policy stands on those."""
    return {o: facts for o, facts in look.noted("table ").items() if facts["kind"] in "rp"}


def _policies(look: Look, tables: Mapping[str, TableName]) -> Iterator[Policy]:
    for object_, row in look.manifest.items():
        if object_.startswith("policy "):
            table, name = policy_name(object_)
            if table in tables:
                tree = Tree.of(row.tree)
                yield Policy(
                    tables[table], name, tree.kind == "permissive", tree.command, tree.roles, None, None, row.source
                )


def _privilege(look: Look, table: TableName, said: str) -> Privilege:
    return Privilege(table, *look.grant(said))


# --- differences ------------------------------------------------------------------------------------------------------


def _objects(policies: PolicySet, look: Look, desired: State) -> Iterator[Finding]:
    """Policies and functions that the file wants otherwise than they were applied."""
    things: list[Noted] = [*desired.functions.values(), *desired.policies.values(), *desired.triggers.values()]
    wanted = {thing.object: thing for thing in things}
    moved = _of_the_database(policies, look, desired)
    for object_ in sorted(wanted.keys() | {o for o in look.manifest if o.startswith(_MADE)}):
        thing, row = wanted.get(object_), look.manifest.get(object_)
        if object_ in moved or (thing and row and thing.source == row.source):
            continue
        yield _object(object_, thing, row, desired)


def _of_the_database(policies: PolicySet, look: Look, desired: State) -> set[str]:
    """What would come or go because a table did: the table itself is told as drift."""
    noted = _noted_tables(look)
    gone = {o.removeprefix("table ") for o in noted if o not in look.seen}
    new = {o.removeprefix("table ") for o in look.seen if o not in noted} - {str(t) for t in policies.tables}
    dropped = {o for o in look.manifest if o.startswith("policy ") and policy_name(o).table in gone}
    dropped |= {o for o in look.manifest if o.startswith("trigger ") and trigger_table(o) in gone}
    return dropped | {p.object for p in desired.policies.values() if str(p.table) in new}


def _object(object_: str, wanted: Noted | None, row: Recorded | None, desired: State) -> Finding:
    if wanted is None:
        assert row is not None, "an object is wanted or recorded"
        said, verb, at = _dropped(object_, row), "drop", row.place
    else:
        said, verb = (_made(wanted), "make") if row is None else (_changed(wanted, row, desired), "change")
        at = wanted.place
    means = ", ".join(words for _, words in said)
    return Finding(Kind.PENDING, object_, f"{_APPLY} {verb} it", means=means, effect=together(said), place=at)


def _dropped(object_: str, row: Recorded) -> list[Said]:
    if object_.startswith("function "):
        return of_presence(row.meaning, there=False)
    closes = object_.startswith("policy ") and not row.tree.startswith("restrictive ")
    return [(Effect.CLOSES if closes else Effect.OPENS, "")]


def _made(wanted: Noted) -> list[Said]:
    if isinstance(wanted, Function):
        return of_presence(wanted.meaning, there=True)
    if isinstance(wanted, Trigger):
        return [(Effect.CLOSES, ", ".join(words for _, words in of_columns({}, limits(wanted.meaning))))]
    if wanted.permissive:
        return [(Effect.NEITHER if wanted.meaning == EVERYBODY else Effect.OPENS, "")]
    return [(Effect.CLOSES, "")]


def _changed(wanted: Noted, row: Recorded, desired: State) -> list[Said]:
    if isinstance(wanted, Function):
        return of_function(row.meaning, wanted.meaning)
    if isinstance(wanted, Trigger):
        return of_columns(limits(row.meaning), limits(wanted.meaning))
    return told_of_policy(wanted, row.meaning, Tree.of(row.tree).roles, desired)


def _switches(look: Look, applied: State, desired: State) -> Iterator[Finding]:
    for table, wanted in desired.switches.items():
        known, object_ = applied.switches.get(table), f"table {table}"
        if known is not None and known != wanted and object_ in _noted_tables(look):
            words = "FORCE row security" if known.row_security else "switch row security on"
            yield Finding(Kind.PENDING, object_, f"{_APPLY} {words}", effect=Effect.CLOSES)


def _privileges(look: Look, applied: State, desired: State) -> Iterator[Finding]:
    """What would be revoked, if it is still granted, and what would be given back."""
    held = {
        _privilege(look, table, said)
        for table in {p.table for p in applied.privileges}
        for said in look.seen.get(f"table {table}", {}).get("grants", ())
    }
    for privilege in sorted((applied.privileges - desired.privileges) & held):
        yield _granted(privilege, f"{_APPLY} revoke {_said(privilege)} from", Effect.CLOSES)
    for privilege in sorted(desired.privileges - applied.privileges - held):
        yield _granted(privilege, f"{_APPLY} give {_said(privilege)} back to", Effect.OPENS)


def _granted(privilege: Privilege, words: str, effect: Effect) -> Finding:
    return Finding(Kind.PENDING, f"table {privilege.table}", f"{words} {privilege.role}", effect=effect)


def _said(privilege: Privilege) -> str:
    return privilege.privilege + (f" ({privilege.column})" if privilege.column else "")


def _takers(look: Look, desired: State) -> Iterator[Finding]:
    """Who would be let, or no longer let, take the role of a class; what such a role may use follows from its rules."""
    applied = {Grant.named(o) for o in look.manifest if o.startswith("grant ")}
    for grant in sorted(desired.grants ^ applied):
        if grant.kind == "role":
            no, effect = ("", Effect.OPENS) if grant in desired.grants else ("no longer ", Effect.CLOSES)
            yield Finding(Kind.PENDING, f"role {grant.name}", f"{_APPLY} {no}let {grant.role} take it", effect=effect)
