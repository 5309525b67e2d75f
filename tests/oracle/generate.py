"""Hypothesis strategies for whole worlds: a schema with policies of its own, rows, a policy file, and tokens."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from .app import CLIENTS, PREFIXES, Base, app_table, consent_table, life, own_set, registry_table
from .choices import Choices, Draw
from .conditions import UUIDS
from .expressions import Value
from .rules import all_used, used_only, whole_tables, with_rules
from .tokens import members, tokens
from .world import Claim, ClientClass, NamedSet, Path, Registry, World

SCOPES = ("docs:read", "docs:write", "admin", "o'mail")
CLIENT_PATHS: tuple[tuple[Path, ...], ...] = (
    (("client_id",),),
    (("client_id",), ("azp",)),
    (("act", "client"),),
    (("act", "client"), ("client_id",)),
)
SCOPE_PATHS: tuple[Path, ...] = (("scope",), ("scp",), ("act", "scope"))


@st.composite
def worlds(draw: Draw) -> World:
    """A world whose policy file should be accepted."""
    c = Choices(draw)
    base = _base(c)
    registry = registry_table(c) if any(k.registry for k in base.classes) else None
    consent, consents = consent_table(c, base)
    if not consent:
        base = replace(base, classes=tuple(replace(kind, consent_required=False) for kind in base.classes))
    tables = [t for t in (registry, consents) if t]
    sets: dict[str, NamedSet] = {}
    for name in ("orgs", "members", "Notes")[: c.pick((2, 1, 3))]:
        tables.append(app_table(c, base, name, tables, sets))
        if len(sets) < 2 and c.chance(70):
            sets[f"my_{name.lower()}"] = own_set(c, base, tables[-1])
    whole = whole_tables(tables)
    tables = [with_rules(c, base, t, sets, t.name in whole) for t in tables]
    world = World(
        tables=tuple(all_used(base, tables)),
        classes=base.classes,
        platform=c.pick(("postgres", "postgrest")),
        person=base.person,
        client=c.pick(CLIENT_PATHS),
        scope=None if consent and consent.scopes and c.chance(35) else c.pick(SCOPE_PATHS),
        direct=("crm-web", "crm-mobile") if c.chance(25) else None,
        anonymous=c.chance(50),
        resolved=c.chance(30),
        claims=base.claims,
        consent=consent,
        scopes=base.scopes,
        sets=sets,
    )
    world = used_only(world)
    registered = tuple(str(row["client"]) for row in registry.rows) if registry else ()
    clients = {kind.name: members(kind, registered) for kind in world.classes}
    return replace(world, tokens=tokens(c, world, base.people, clients))


def _base(c: Choices) -> Base:
    person = Claim(c.pick((("sub",), ("user", "id"))), c.pick(("uuid", "uuid", "text", "integer", "bigint")))
    people: tuple[Value, ...] = UUIDS if person.type == "uuid" else (1, 2, 3)
    if person.type == "text":
        people = ("ann", "o'neil", "bob")
    kinds = {"tenant": ("uuid", ("app", "tenant")), "level": ("integer", ("level",)), "status": ("text", ("st",)),
             "admin": ("boolean", ("app", "admin")), "big": ("bigint", ("big",))}  # fmt: skip
    claims = {name: Claim(kinds[name][1], kinds[name][0]) for name in c.some(tuple(kinds), 0, 3)}
    classes = tuple(_class(c, name) for name in ("assistant", "partners", "by_url")[: c.number(1, 3)])
    names = SCOPES[: c.number(1, 4)]
    scopes = {name: c.some(names[:i], 0, 2) if c.chance(50) else () for i, name in enumerate(names)}
    return Base(person, people, claims, classes, scopes)


def _class(c: Choices, name: str) -> ClientClass:
    ids = c.some(CLIENTS, 1, 2)
    kind = c.number(0, 9)
    required = c.chance(50)
    if kind <= 3:
        return ClientClass(name, ids, consent_required=required)
    if kind <= 6:
        return ClientClass(name, (), c.pick(PREFIXES), consent_required=required)
    registry = Registry("registry", "client", life(c, "approved", "disabled"))
    if kind == 7 and c.chance(30):
        return ClientClass(name, (PREFIXES[0] + "x", PREFIXES[0] + "y/../x"), PREFIXES[0], registry, required)
    if kind == 7:
        return ClientClass(name, CLIENTS, None, registry, required)
    return ClientClass(name, (), PREFIXES[0] if c.chance(20) else None, registry, required)
