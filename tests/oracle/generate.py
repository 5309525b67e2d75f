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
        client=c.pick(((("client_id",),), (("client_id",), ("azp",)), (("act", "client"),), (("act", "client"), ("client_id",)))),
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


def _life(c: Choices, flag: str, until: str) -> Expr | None:
    """The `where` of a registry or a consent table: none, a flag, a time, or both."""
    ends = Or((Is(Col(until), "null"), Compare(">", Col(until), Now())))
    return c.pick((Col(flag), ends, And((Col(flag), ends)), None))


def _life_values(c: Choices) -> tuple[Value, Value]:
    """A flag and an end, mostly alive."""
    return c.pick((True, True, True, True, False, None)), c.pick((None, 2, 2, None, None, -1))


def _registry_table(c: Choices) -> Table:
    kind = c.pick(("text", "text", "uuid"))
    ids: tuple[Value, ...] = (CLIENT_UUID, OTHER_UUID) if kind == "uuid" else CLIENTS
    columns = (Column("id", "int", True), Column("client", kind), Column("approved", "bool"), Column("disabled", "timestamptz"))
    rows = []
    for number in range(1, c.number(3, 6)):
        approved, disabled = _life_values(c)
        client = None if c.chance(10) else c.pick(ids)
        rows.append({"id": number, "client": client, "approved": approved, "disabled": disabled})
    return _app_side(c, Table("registry", columns, tuple(rows)), [], None)


def _consent(c: Choices, base: Base) -> tuple[Consent | None, Table | None]:
    if not c.chance(55):
        return None, None
    scopes = c.pick(("text", "text[]", "text[]", ""))
    client = c.pick(("text", "text", "text", "uuid"))
    columns = [Column("id", "int", True), Column("owner", base.person_type), Column("client", client),
               Column("active", "bool"), Column("until", "timestamptz")]  # fmt: skip
    if scopes:
        columns.append(Column("granted", scopes))
    rows = tuple(_consent_row(c, base, number, client, scopes) for number in range(1, c.number(7, 10)))
    where = _life(c, "active", "until")
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
    return row | {"granted": None if c.chance(5) else words}  # type: ignore[dict-item]


def _table(c: Choices, base: Base, name: str, before: list[Table], sets: Mapping[str, NamedSet]) -> Table:
    columns = [Column("id", "int", True), Column("owner", base.person_type, c.chance(30))]
    pool = [("org", "uuid"), ("status", "text"), ("n", "int"), ("flag", "bool"), ("peer", base.person_type), ("Kind", "text")]
    columns += [Column(column, kind, c.chance(35)) for column, kind in c.some(pool, 2, 4)]
    rows = tuple(_row(c, base, columns, number) for number in range(1, c.number(5, 7)))
    return _app_side(c, Table(name, tuple(columns), rows), before, base)


def _row(c: Choices, base: Base, columns: list[Column] | tuple[Column, ...], key: int) -> Row:
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


def _names(base: Base, table: Table, client: bool, sets: Mapping[str, NamedSet]) -> Names:
    columns = tuple(col for col in table.columns if col.name != "id" and col.type in DOMAIN)
    domain = dict(DOMAIN) | {base.person_type: (*base.people, *DOMAIN[base.person_type])}
    types = {name: found.type for name, found in sets.items()}
    return Names(columns, base.token_types(client), types, domain=domain)


def _set(c: Choices, base: Base, table: Table) -> NamedSet:
    column = c.pick(tuple(col for col in table.columns[1:] if col.type in ("uuid", "text", "int")))
    mine: Expr = Compare("=", Col("owner"), TokenValue("person"))
    if c.chance(40):
        mine = And((mine, condition(c, _names(base, table, False, {}), 1)))
    return NamedSet(column.type, table.name, column.name, mine)


# The app's own side


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
    names = replace(_names(base, table, False, {}), tokens={}, qualifier=quoted(table.name))
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


# The policy file's side


def _whole(tables: list[Table]) -> frozenset[str]:
    """Tables that a policy reads by absence, and what their own policies read: clients must see all that people see."""
    found: set[str] = set()
    for table in reversed(tables):  # policies look at tables that stand before theirs
        for policy in table.policies:
            look = policy.using
            if isinstance(look, Select) and (look.form in BY_ABSENCE or table.name in found):
                found.add(look.table)
    return frozenset(found)


def _with_rules(c: Choices, base: Base, table: Table, sets: Mapping[str, NamedSet], whole: bool) -> Table:
    if whole:
        return _with_writes(c, base, replace(table, clients="read_as_person"))
    support = table.name in ("registry", "consents")
    if c.chance(8):
        return _with_writes(c, base, replace(table, listed=False))
    table = replace(table, force=c.chance(5))
    if not support and c.chance(25):
        table = replace(table, people=_people_rules(c, base, table, sets), policies=_restrictive_only(table))
    kind = c.number(0, 9)
    if kind == 9:
        return _with_writes(c, base, replace(table, clients="none"))
    if kind == 8 or (support and kind % 2):
        return _with_writes(c, base, replace(table, clients="read_as_person"))
    allowed = ("select",) if support else COMMANDS
    return _with_writes(c, base, replace(table, clients=_client_rules(c, base, table, sets, allowed)))


def _restrictive_only(table: Table) -> tuple[AppPolicy, ...]:
    return tuple(p for p in table.policies if not p.permissive)


def _people_rules(c: Choices, base: Base, table: Table, sets: Mapping[str, NamedSet]) -> tuple[Rule, ...]:
    names = _names(base, table, False, sets)
    mine: Expr = Compare("=", Col("owner"), TokenValue("person"))
    shape = c.number(0, 3)
    if shape == 0:
        return (Rule(COMMANDS, rows=mine),)
    other = condition(c, names, 1)
    wide = Rule(("select",), rows=c.pick((mine, Or((mine, other)), other)))
    if shape == 1:
        return (wide,)
    if shape == 2:
        return (wide, Rule(c.some(COMMANDS[1:], 1), rows=mine))
    check = condition(c, names, 1) if c.chance(70) else None
    return (wide, Rule(("insert",), check=Or((mine, condition(c, names, 1)))), Rule(("update",), rows=mine, check=check))


def _client_rules(c: Choices, base: Base, table: Table, sets: Mapping[str, NamedSet], allowed: tuple[str, ...]) -> tuple[Rule, ...]:
    """Rules that obey the language: who changes may see, and one check for all updates of a class."""
    names = _names(base, table, True, sets)
    classes = tuple(kind.name for kind in base.classes)
    rules = [_client_rule(c, base, names, ("select",), classes, 65)]
    if c.chance(35):
        rules.append(_client_rule(c, base, names, ("select",), classes, 20))
    readers = tuple(n for n in classes if any(n in rule.who for rule in rules))
    if allowed == ("select",):
        return tuple(rules)
    writes = (COMMANDS[1:], ("insert",), ("update",), ("delete",), ("update", "delete"), ("insert", "update"))
    for _ in range(c.number(2, 3)):
        commands = c.pick(writes)
        rules.append(_client_rule(c, base, names, commands, classes if commands == ("insert",) else readers, 70))
    return _one_check(rules)


def _client_rule(c: Choices, base: Base, names: Names, commands: tuple[str, ...], who: tuple[str, ...], open_percent: int) -> Rule:
    chosen = who if c.chance(75) else c.some(who, 1)
    scopes = c.some(tuple(base.scopes), 1, 2) if c.chance(55) else ()
    rows = None if c.chance(open_percent) else condition(c, names, 2 if commands == ("select",) else 1)
    if c.chance(15):
        rows = _by_set(c, names, rows)
    check = None
    if "update" in commands and "insert" not in commands and "delete" not in commands and c.chance(55):
        check = condition(c, names, 1)
    elif commands == ("insert",) and c.chance(50):
        rows, check = None, rows
    raw = rows is not None and "InSet(" not in repr(rows) and c.chance(5)  # a set has its name in `rows:` only
    return Rule(commands, chosen, scopes, rows, check, raw)


def _by_set(c: Choices, names: Names, rows: Expr | None) -> Expr | None:
    """Membership in a set, or its contrary, in place of or beside other conditions."""
    fitting = [(column, name) for column in names.columns for name, kind in names.sets.items() if kind == column.type]
    if not fitting:
        return rows
    column, name = c.pick(fitting)
    found: Expr = InSet(names.col(column), name)
    found = Not(found) if c.chance(30) else found
    return found if rows is None else c.pick((found, Or((rows, found)), And((found, rows))))


def _one_check(rules: list[Rule]) -> tuple[Rule, ...]:
    """The rules, less the updates that would give a class a second check."""
    checks: dict[str, Expr | None] = {}
    kept = []
    for rule in rules:
        check = rule.check or rule.rows
        if "update" in rule.commands and any(checks.get(name, check) != check for name in rule.who):
            commands = tuple(command for command in rule.commands if command != "update")
            rule = replace(rule, commands=commands, check=rule.check if "insert" in commands else None)
        elif "update" in rule.commands:
            checks.update(dict.fromkeys(rule.who, check))
        if rule.commands:
            kept.append(rule)
    return tuple(kept)


def _with_writes(c: Choices, base: Base, table: Table) -> Table:
    """What to try: new rows, one of them perhaps against a constraint, and changes of one or two columns."""
    columns = [col for col in table.columns if col.type in DOMAIN]
    typed = [col.name for col in columns]
    candidates = []
    for number in range(101, 101 + c.number(2, 3)):
        row = dict(_row(c, base, columns, number)) | {col.name: None for col in table.columns if col.name not in typed}
        candidates.append(_against_constraint(c, table, row) if c.chance(12) else row)
    changes = []
    for column in c.some(columns[1:], 1, 2 if c.chance(30) else 1):
        value = c.pick(base.domain(column)) if column.not_null or c.chance(90) else None
        changes.append(Change({column.name: value}))
    return replace(table, candidates=tuple(candidates), changes=tuple(changes))


def _against_constraint(c: Choices, table: Table, row: dict[str, Value]) -> dict[str, Value]:
    required = [col.name for col in table.columns[1:] if col.not_null]
    if required and c.chance(50):
        return row | {c.pick(required): None}
    return row | ({"id": table.rows[0]["id"]} if table.rows else {})


def _all_used(base: Base, tables: list[Table]) -> list[Table]:
    """A SELECT rule more for classes that no rule names: the file would be refused."""
    whole = _whole(tables)
    ruled = [t for t in tables if t.listed and not isinstance(t.clients, str)]
    named = {name for t in ruled for rule in t.clients if not isinstance(rule, str) for name in rule.who}
    unused = tuple(kind.name for kind in base.classes if kind.name not in named)
    if not unused:
        return tables
    last = ruled[-1] if ruled else [t for t in tables if t.name not in whole][-1]  # the last table never is
    rules = () if isinstance(last.clients, str) else last.clients
    new = replace(last, listed=True, clients=(*rules, Rule(("select",), unused)))
    return [new if t is last else t for t in tables]


def _used_only(world: World) -> World:
    """The world less the scopes, sets and claims that its rules don't speak of."""
    rules = [r for t in world.tables if t.listed and not isinstance(t.clients, str) for r in t.clients]
    people = [r for t in world.tables if t.listed and not isinstance(t.people, str) for r in t.people]
    text = repr([rules, people])
    sets = {name: found for name, found in world.sets.items() if f"name='{name}'" in text}
    needed = {name for rule in rules for name in rule.scopes}
    scopes = {n: i for n, i in world.scopes.items() if n in needed or needed.intersection(i)}
    scopes = {n: tuple(i for i in implies if i in scopes) for n, implies in scopes.items()}
    return replace(world, sets=sets, scopes=scopes)

