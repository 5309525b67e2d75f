"""What a policy file says about one table, as texts that PostgreSQL can evaluate: whole conditions, and their atoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mcp_rls.catalog import Table
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Condition, PolicySet, Rule
from mcp_rls.compiler.predicate import parse
from mcp_rls.compiler.raw import Names
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.harness.matrix.language import Binding, Members, constant, members, mentions_token, sets_in, spelled
from mcp_rls.harness.matrix.values import leaves


@dataclass(frozen=True)
class Atom:
    """A condition that no AND, OR or NOT is in. `of_row`: it says something about the row, not whose it is."""

    expr: e.Expr
    shown: str
    of_row: bool


def conditions(policies: PolicySet, table: Table) -> tuple[Condition, ...]:
    """Every condition that the file has about the table: of client rules, people rules, registries and the consent."""
    rules = policies.tables.get(table.name)
    people = rules.people if rules is not None and rules.people != "existing" else ()
    listed = [c for rule in (*policies.client_rules(table.name), *people) for c in (rule.rows, rule.check)]
    listed += [c.registry.where for c in policies.classes.values() if c.registry and c.registry.table == table.name]
    if policies.consent is not None and policies.consent.table == table.name:
        listed.append(policies.consent.where)
    return tuple(dict.fromkeys(c for c in listed if c is not None))


def read(policies: PolicySet, table: Table, condition: Condition) -> e.Expr | None:
    """The condition as a tree; None when it isn't understood, which an earlier stage has said."""
    return _parsed(condition, Names(frozenset(policies.claims), frozenset(policies.sets), table))


@lru_cache(4096)
def _parsed(condition: Condition, names: Names) -> e.Expr | None:
    return parse(condition, names, Diagnostics())


def atoms(policies: PolicySet, table: Table, condition: Condition) -> tuple[Atom, ...]:
    """The atoms of a condition; one that isn't understood is an atom as a whole."""
    expr = read(policies, table, condition)
    if expr is None or isinstance(expr, e.Raw):
        personal = mentions_token(condition.text, "person") or bool(sets_in(policies, condition.text))
        return (Atom(e.Raw((condition.text,)), condition.text, not personal),)
    return tuple(_atom(policies, leaf) for leaf in leaves(expr) if e.columns(leaf) or isinstance(leaf, e.Raw))


def _atom(policies: PolicySet, leaf: e.Expr) -> Atom:
    personal = any(isinstance(n, e.SetValues) or n == e.Token("person") for n in leaf.walk())
    names = {"person": "token.person", "client": "token.client", **{n: f"token.{n}" for n in policies.claims}}
    shown = e.render(leaf, lambda node: names[node.name] if isinstance(node, e.Token) else node.name)
    return Atom(leaf, shown, not personal)


def atom_text(policies: PolicySet, atom: Atom, binding: Binding, listed: Members | None = None) -> str:
    """The atom as SQL, the token's values written in."""
    if isinstance(atom.expr, e.Raw):
        return spelled(policies, "".join(p for p in atom.expr.parts if isinstance(p, str)), binding, listed)

    def value(node: e.Token | e.SetValues) -> str:
        if isinstance(node, e.Token):
            return constant(policies, node.name, binding)
        found = listed(node.name, binding) if listed is not None else members(policies, node.name, binding)
        return f"array{found}::{policies.sets[node.name].type}[]"

    return e.render(atom.expr, value)


def rule_text(policies: PolicySet, condition: Condition | None, binding: Binding, listed: Members | None = None) -> str:
    """The condition of a rule in its author's words, the token's values written in; 'true' where there is none."""
    return "true" if condition is None else spelled(policies, condition.text, binding, listed)


def rules_for(policies: PolicySet, table: Table, class_name: str | None, command: str) -> tuple[Rule, ...]:
    """The client rules of a class for a command, whatever scopes they need."""
    return tuple(r for r in policies.client_rules(table.name) if command in r.commands and class_name in r.who)


def people_naming_client(policies: PolicySet, table: Table) -> tuple[Rule, ...]:
    """People rules that read token.client, by themselves or through a set: what they admit differs with the client."""
    rules = policies.tables.get(table.name)
    if rules is None or rules.people == "existing":
        return ()
    return tuple(rule for rule in rules.people if any(_names_client(policies, c) for c in (rule.rows, rule.check)))


def _names_client(policies: PolicySet, condition: Condition | None) -> bool:
    if condition is None:
        return False
    queries = [policies.sets[name].query for name in sets_in(policies, condition.text)]
    return any(mentions_token(text, "client") for text in [condition.text, *queries])
