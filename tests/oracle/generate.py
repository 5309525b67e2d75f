"""Hypothesis strategies for whole worlds: a schema with an app's own policies, rows, a policy file for it, and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from . import tokens
from .choices import Choices, Draw
from .conditions import DOMAIN, UUIDS, Names, condition
from .expressions import (
    BY_ABSENCE,
    POSITIVE,
    And,
    Col,
    Compare,
    Expr,
    InSet,
    Is,
    Lit,
    Not,
    Now,
    Or,
    OwnRow,
    Row,
    Select,
    TokenValue,
    Value,
    quoted,
)
from .world import (
    ANON,
    COMMANDS,
    USER,
    AppPolicy,
    Change,
    Claim,
    ClientClass,
    Column,
    Consent,
    NamedSet,
    Registry,
    Rule,
    Table,
    World,
)

COLUMN_TYPE = {"uuid": "uuid", "text": "text", "integer": "int", "bigint": "int", "boolean": "bool"}
SCOPES = ("docs:read", "docs:write", "admin", "mail")
CLIENT_UUID = "9a8b7c6d-5e4f-4a2b-9c0d-9e8f7a6b5c4d"
OTHER_UUID = "9a8b7c6d-5e4f-4a2b-9c0d-9e8f7a6b5c4e"
CLIENTS = (CLIENT_UUID, "crm-agent", OTHER_UUID, "https://claude.ai/x")
PREFIXES = ("https://claude.ai/", "https://claude.ai/mcp", "https://agents.example:8443/a/")


@st.composite
def worlds(draw: Draw) -> World:
    """A world whose policy file should be accepted."""
    c = Choices(draw)
    base = _base(c)
    registry = _registry_table(c) if any(k.registry for k in base.classes) else None
    consent, consents = _consent(c, base)
    if not consent:
        base = replace(base, classes=tuple(replace(kind, consent_required=False) for kind in base.classes))
    tables = [t for t in (registry, consents) if t]
    sets: dict[str, NamedSet] = {}
    for name in ("orgs", "members", "Notes")[: c.number(2, 3)]:
        tables.append(_table(c, base, name, tables, sets))
        if len(sets) < 2 and c.chance(70):
            sets[f"my_{name.lower()}"] = _set(c, base, tables[-1])
    whole = _whole(tables)
    tables = [_with_rules(c, base, t, sets, t.name in whole) for t in tables]
    world = World(
        tables=tuple(_all_used(base, tables)),
        classes=base.classes,
        platform=c.pick(("postgres", "postgrest")),
        person=base.person,
        client=c.pick(
            ((("client_id",),), (("client_id",), ("azp",)), (("act", "client"),), (("act", "client"), ("client_id",)))
        ),
        scope=None if consent and consent.scopes and c.chance(35) else c.pick((("scope",), ("scp",), ("act", "scope"))),
        direct=("crm-web", "crm-mobile") if c.chance(25) else None,
        anonymous=c.chance(50),
        claims=base.claims,
        consent=consent,
        scopes=base.scopes,
        sets=sets,
    )
    world = _used_only(world)
    registered = tuple(str(row["client"]) for row in registry.rows) if registry else ()
    clients = {kind.name: tokens.members(kind, registered) for kind in world.classes}
    return replace(world, tokens=tokens.tokens(c, world, base.people, clients))


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
    registry = Registry("registry", "client", _life(c, "approved", "disabled"))
    if kind == 7:
        return ClientClass(name, CLIENTS, None, registry, required)
    return ClientClass(name, (), None, registry, required)


