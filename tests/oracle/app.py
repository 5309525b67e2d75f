"""The app as it was before: tables with rows, and policies of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .choices import Choices
from .conditions import DOMAIN, Names, condition
from .expressions import (
    BY_ABSENCE,
    POSITIVE,
    And,
    Col,
    Compare,
    Expr,
    Is,
    Lit,
    Now,
    Or,
    OwnRow,
    Row,
    Select,
    TokenValue,
    Value,
    quoted,
)
from .world import ANON, COMMANDS, USER, AppPolicy, Claim, ClientClass, Column, Consent, NamedSet, Table

COLUMN_TYPE = {"uuid": "uuid", "text": "text", "integer": "int", "bigint": "int", "boolean": "bool"}
CLIENT_UUID = "9a8b7c6d-5e4f-4a2b-9c0d-9e8f7a6b5c4d"
OTHER_UUID = "9a8b7c6d-5e4f-4a2b-9c0d-9e8f7a6b5c4e"
CLIENTS = (CLIENT_UUID, 'ann\'s "agent"', OTHER_UUID, "https://claude.ai/x")
PREFIXES = ("https://claude.ai/", "https://claude.ai/mcp", "https://agents.example:8443/a/")


@dataclass(frozen=True)
class Base:
    """What a world's tables and rules are made from."""

    person: Claim
    people: tuple[Value, ...]
    claims: Mapping[str, Claim]
    classes: tuple[ClientClass, ...]
    scopes: Mapping[str, tuple[str, ...]]

    @property
    def person_type(self) -> str:
        return COLUMN_TYPE[self.person.type]

    def domain(self, column: Column) -> tuple[Value, ...]:
        return self.people if column.name in ("owner", "peer") else DOMAIN[column.type]

    def token_types(self, client: bool) -> dict[str, str]:
        types = {"person": self.person_type} | {n: COLUMN_TYPE[k.type] for n, k in self.claims.items()}
        return types | ({"client": "text"} if client else {})


def registry_table(c: Choices) -> Table:
    kind = c.pick(("text", "text", "uuid", "int"))
    fitting: dict[str, tuple[Value, ...]] = {"uuid": (CLIENT_UUID, OTHER_UUID), "int": (7, 8), "text": CLIENTS}
    ids = fitting[kind]
    columns = (
        Column("id", "int", True),
        Column("client", kind),
        Column("approved", "bool"),
        Column("disabled", "timestamptz"),
    )
    rows = []
    for number in range(1, c.number(3, 6)):
        approved, disabled = _life_values(c)
        client = None if c.chance(10) else c.pick(ids)
        rows.append({"id": number, "client": client, "approved": approved, "disabled": disabled})
    return _app_side(c, Table("registry", columns, tuple(rows)), [], None)


def consent_table(c: Choices, base: Base) -> tuple[Consent | None, Table | None]:
    if not c.chance(55):
        return None, None
    scopes = c.pick(("text", "text[]", "text[]", ""))
    client = c.pick(("text", "text", "text", "uuid"))
    columns = [Column("id", "int", True), Column("owner", base.person_type), Column("client", client),
               Column("active", "bool"), Column("until", "timestamptz")]  # fmt: skip
    if scopes:
        columns.append(Column("granted", scopes))
    rows = tuple(_consent_row(c, base, number, client, scopes) for number in range(1, c.number(6, 8)))
    where = life(c, "active", "until")
    table = _app_side(c, Table("consents", tuple(columns), rows), [], base)
    return Consent("consents", "owner", "client", "granted" if scopes else None, where), table


def _consent_row(c: Choices, base: Base, number: int, client: str, scopes: str) -> Row:
    """One consent; the first ones are of the person that most tokens are of."""
    active, until = _life_values(c)
    ids = (CLIENT_UUID, OTHER_UUID) if client == "uuid" else (*CLIENTS, *(prefix + "x" for prefix in PREFIXES))
    person = base.people[0] if number <= 5 else c.pick((*base.people, None))
    which = ids[(number - 1) % len(ids)] if number <= 5 else c.pick((*ids, None))
    row: dict[str, Value] = {"id": number, "owner": person, "client": which, "active": active, "until": until}
    if not scopes:
        return row
    words: tuple[str | None, ...] = tuple(base.scopes) if c.chance(65) else c.some((*base.scopes, "openid"))
    if scopes == "text":
        odd = c.pick((" ", " ", " ", "  ", "\t"))
        return row | {"granted": None if c.chance(5) else odd.join(word or "" for word in words)}
    if c.chance(10):
        words = (*words, None)
    return row | {"granted": None if c.chance(5) else words}


def life(c: Choices, flag: str, until: str) -> Expr | None:
    """The `where` of a registry or a consent table: none, a flag, a time, or both."""
    ends = Or((Is(Col(until), "null"), Compare(">", Col(until), Now())))
    return c.pick((Col(flag), ends, And((Col(flag), ends)), None))


def _life_values(c: Choices) -> tuple[Value, Value]:
    """A flag and an end, mostly alive."""
    return c.pick((True, True, True, True, False, None)), c.pick((None, 2, 2, None, None, -1))


def app_table(c: Choices, base: Base, name: str, before: list[Table], sets: Mapping[str, NamedSet]) -> Table:
    columns = [Column("id", "int", True), Column("owner", base.person_type, c.chance(30))]
    pool = [
        ("org", "uuid"),
        ("status", "text"),
        ("n", "int"),
        ("flag", "bool"),
        ("peer", base.person_type),
        ("Kind", "text"),
    ]
    columns += [Column(column, kind, c.chance(35)) for column, kind in c.some(pool, 2, 4)]
    rows = tuple(random_row(c, base, columns, number) for number in range(1, c.number(4, 6)))
    return _app_side(c, Table(name, tuple(columns), rows), before, base)


def random_row(c: Choices, base: Base, columns: list[Column] | tuple[Column, ...], key: int) -> Row:
    """A row of which the person that most tokens are of has the most."""
    row: dict[str, Value] = {"id": key}
    for column in columns[1:]:
        domain = base.domain(column)
        if column.name == "owner" and c.chance(65):
            row[column.name] = base.people[0]
        elif not column.not_null and c.chance(15):
            row[column.name] = None
        else:
            row[column.name] = c.pick(domain)
    return row


def names_of(base: Base, table: Table, client: bool, sets: Mapping[str, NamedSet]) -> Names:
    columns = tuple(col for col in table.columns if col.name != "id" and col.type in DOMAIN)
    domain = dict(DOMAIN) | {base.person_type: (*base.people, *DOMAIN[base.person_type])}
    types = {name: found.type for name, found in sets.items()}
    return Names(columns, base.token_types(client), types, domain=domain)


def own_set(c: Choices, base: Base, table: Table) -> NamedSet:
    column = c.pick(tuple(col for col in table.columns[1:] if col.type in ("uuid", "text", "int")))
    mine: Expr = Compare("=", Col("owner"), TokenValue("person"))
    if c.chance(40):
        mine = And((mine, condition(c, names_of(base, table, False, {}), 1)))
    return NamedSet(column.type, table.name, column.name, mine)


# Its own policies


def _app_side(c: Choices, table: Table, before: list[Table], base: Base | None) -> Table:
    """The table with row security as the app had it."""
    if not c.chance(80):
        return replace(table, row_security=False, policies=_own_rows(c, table) if c.chance(20) else ())
    if base is None or c.chance(10):
        return replace(table, policies=c.pick((_open(), _open(), ())))
    style = c.number(0, 5)
    if style == 0:
        policies = _own_rows(c, table)
    elif style == 1:
        policies = _wide_read(c, table)
    elif style <= 4:
        policies = _reading(c, base, table, before) or _conditional(c, base, table)
    else:
        policies = _conditional(c, base, table)
    if c.chance(15):
        guarded = c.pick(("all", "select", "update"))
        policies += (AppPolicy("guard", guarded, _app_condition(c, base, table), permissive=False),)
    return replace(table, policies=policies)


def _open() -> tuple[AppPolicy, ...]:
    return (AppPolicy("open", "all", Lit(True)),)


def _mine(table: Table) -> Expr:
    return OwnRow(Col("owner", qualifier=quoted(table.name)))


def _own_rows(c: Choices, table: Table) -> tuple[AppPolicy, ...]:
    if not any(column.name == "owner" for column in table.columns):
        return ()
    return (AppPolicy("own rows", "all", _mine(table), roles=c.pick((("public",), (USER,), (USER, ANON)))),)


def _wide_read(c: Choices, table: Table) -> tuple[AppPolicy, ...]:
    """Everybody reads, the owner writes; an update may give the row away."""
    mine = _mine(table)
    return (
        AppPolicy("read", "select", Lit(True)),
        AppPolicy("add", "insert", None, mine),
        AppPolicy("change", "update", mine, Lit(True) if c.chance(60) else None),
        AppPolicy("remove", "delete", mine),
    )


def _app_condition(c: Choices, base: Base, table: Table) -> Expr:
    names = replace(names_of(base, table, False, {}), tokens={}, qualifier=quoted(table.name))
    return condition(c, names, 2)


def _conditional(c: Choices, base: Base, table: Table) -> tuple[AppPolicy, ...]:
    policies = [AppPolicy("own", c.pick(("all", "select")), _mine(table))]
    for command in c.some(COMMANDS, 1):
        check = _app_condition(c, base, table) if command in ("insert", "update") else None
        using = None if command == "insert" else _app_condition(c, base, table)
        policies.append(AppPolicy(f"some {command}", command, using, check or (using if command == "insert" else None)))
    return tuple(policies)


def _reading(c: Choices, base: Base, table: Table, before: list[Table]) -> tuple[AppPolicy, ...]:
    """Policies that look into a table made before; by absence only where `_whole` will let clients see all of it."""
    others = [t for t in before if t.name != "registry"]
    if not others:
        return ()
    look = lookup(c, table, c.pick(others), BY_ABSENCE if c.chance(15) else POSITIVE)
    command = c.pick(("all", "select"))
    own = (AppPolicy("own", "all", _mine(table)),) if command == "select" or c.chance(50) else ()
    return (AppPolicy("by lookup", command, look), *own)


def lookup(c: Choices, table: Table, other: Table, forms: tuple[str, ...], limit: int = 1) -> Expr:
    """A sub-select over another table, joined by a column of equal type where there is one."""
    outer_inner = [
        (outer, inner)
        for outer in table.columns[1:]
        for inner in other.columns[1:]
        if outer.type == inner.type and outer.type in ("uuid", "text", "int")
    ]
    outer, inner = c.pick(outer_inner)
    operand, joined = Col(outer.name, qualifier=quoted(table.name)), Col(inner.name, alias="m")
    mine: Expr = OwnRow(Col("owner", alias="m"))
    form = c.pick(forms)
    if form in ("in", "any", "except", "all", "scalar"):
        return Select(form, other.name, mine if c.chance(60) else Lit(True), operand, inner.name, limit)
    same = Compare("=", joined, operand)
    return Select(form, other.name, And((same, mine)) if c.chance(60) else same, limit=limit)
