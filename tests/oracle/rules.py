"""The policy file's side of a world: rules that obey the language, and the statements to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .app import Base, names_of, random_row
from .choices import Choices
from .conditions import DOMAIN, Names, condition
from .expressions import BY_ABSENCE, And, Col, Compare, Expr, InSet, Not, Or, Select, TokenValue, Value
from .world import COMMANDS, AppPolicy, Change, Columns, NamedSet, Rule, Table, World


def whole_tables(tables: list[Table]) -> frozenset[str]:
    """Tables that a policy reads by absence, and what their own policies read: clients must see all that people see."""
    found: set[str] = set()
    for table in reversed(tables):  # policies look at tables that stand before theirs
        for policy in table.policies:
            look = policy.using
            if isinstance(look, Select) and (look.form in BY_ABSENCE or table.name in found):
                found.add(look.table)
    return frozenset(found)


def with_rules(c: Choices, base: Base, table: Table, sets: Mapping[str, NamedSet], whole: bool) -> Table:
    if whole:
        return _with_writes(c, base, replace(table, clients="read_as_person"))
    support = table.name in ("registry", "consents")
    if c.chance(8):
        return _with_writes(c, base, replace(table, listed=False))
    table = replace(table, force=c.chance(5), granted=("select", *c.some(COMMANDS[1:])) if c.chance(5) else COMMANDS)
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
    names = names_of(base, table, False, sets)
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
    return (
        wide,
        Rule(("insert",), check=Or((mine, condition(c, names, 1)))),
        Rule(("update",), rows=mine, check=check, columns=_columns(c, table) if c.chance(35) else None),
    )


def _client_rules(
    c: Choices, base: Base, table: Table, sets: Mapping[str, NamedSet], allowed: tuple[str, ...]
) -> tuple[Rule, ...]:
    """Rules that obey the language: who changes may see, and one check for all updates of a class."""
    names = names_of(base, table, True, sets)
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
    return _limited(c, table, _one_check(rules)) if c.chance(30) else _one_check(rules)


def _columns(c: Choices, table: Table) -> Columns:
    """Some columns, or all but some; one at least may be set."""
    names = tuple(column.name for column in table.columns)
    return Columns(c.some(names, 1, len(names) - 1), c.chance(35))


def _limited(c: Choices, table: Table, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules with those for update apart, held to columns: one list, or none, for all that a class may update."""
    lists = (_columns(c, table), *((_columns(c, table), None) if c.chance(50) else ()))
    of_class = {name: c.pick(lists) for rule in rules for name in rule.who}
    found = []
    for rule in rules:
        others = tuple(command for command in rule.commands if command != "update")
        if others:
            found.append(replace(rule, commands=others, check=rule.check if "insert" in others else None))
        for limit in dict.fromkeys(of_class[name] for name in rule.who) if "update" in rule.commands else ():
            who = tuple(name for name in rule.who if of_class[name] == limit)
            found.append(replace(rule, commands=("update",), who=who, columns=limit))
    return tuple(found)


def _client_rule(
    c: Choices, base: Base, names: Names, commands: tuple[str, ...], who: tuple[str, ...], open_percent: int
) -> Rule:
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
    checks: dict[str, tuple[bool, Expr | None]] = {}
    kept = []
    for rule in rules:
        check = rule.raw, rule.check or rule.rows  # the same as SQL is another to who can't read it
        if "update" in rule.commands and any(checks.get(name, check) != check for name in rule.who):
            commands = tuple(command for command in rule.commands if command != "update")
            if commands:
                kept.append(replace(rule, commands=commands, check=rule.check if "insert" in commands else None))
            continue
        if "update" in rule.commands:
            checks.update(dict.fromkeys(rule.who, check))
        kept.append(rule)
    return tuple(kept)


def _with_writes(c: Choices, base: Base, table: Table) -> Table:
    """What to try: new rows, one of them perhaps against a constraint, and changes of one or two columns."""
    columns = [col for col in table.columns if col.type in DOMAIN]
    typed = [col.name for col in columns]
    candidates = []
    for number in range(101, 101 + c.number(2, 3)):
        row = dict(random_row(c, base, columns, number)) | {
            col.name: None for col in table.columns if col.name not in typed
        }
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


def all_used(base: Base, tables: list[Table]) -> list[Table]:
    """A SELECT rule more for classes that no rule names: the file would be refused."""
    whole = whole_tables(tables)
    ruled = [t for t in tables if t.listed and not isinstance(t.clients, str)]
    named = {name for t in ruled for rule in t.clients if not isinstance(rule, str) for name in rule.who}
    unused = tuple(kind.name for kind in base.classes if kind.name not in named)
    if not unused:
        return tables
    last = ruled[-1] if ruled else [t for t in tables if t.name not in whole][-1]  # the last table never is
    rules = () if isinstance(last.clients, str) else last.clients
    new = replace(last, listed=True, clients=(*rules, Rule(("select",), unused)))
    return [new if t is last else t for t in tables]


def used_only(world: World) -> World:
    """The world less the scopes, sets and claims that its rules don't speak of."""
    rules = [r for t in world.tables if t.listed and not isinstance(t.clients, str) for r in t.clients]
    people = [r for t in world.tables if t.listed and not isinstance(t.people, str) for r in t.people]
    text = repr([rules, people])
    sets = {name: found for name, found in world.sets.items() if f"name='{name}'" in text}
    needed = {name for rule in rules for name in rule.scopes}
    scopes = {n: i for n, i in world.scopes.items() if n in needed or needed.intersection(i)}
    scopes = {n: tuple(i for i in implies if i in scopes) for n, implies in scopes.items()}
    return replace(world, sets=sets, scopes=scopes)
