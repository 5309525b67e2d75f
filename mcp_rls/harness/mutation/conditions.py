"""Variants of a condition, each wrong in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from mcp_rls.compiler import expression as e
from mcp_rls.compiler.meaning import shown
from mcp_rls.harness.mutation.mutant import Kind

_NEGATED = {
    "=": "<>",
    "<>": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
    "is distinct from": "is not distinct from",
    "is not distinct from": "is distinct from",
}
_WEAKER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_MOST = 4  # values of a list that are added or taken away


@dataclass(frozen=True)
class Variant:
    """Another condition; `words` say what a rule with it does: 'no longer asks for status = 'open''."""

    kind: Kind
    expr: e.Expr
    words: str


@dataclass(frozen=True)
class Known:
    """What could stand in place of what stands there: values by column, types of tokens' values and of sets."""

    values: Mapping[str, tuple[e.Lit, ...]] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)


def variants(expr: e.Expr, known: Known) -> Iterator[Variant]:
    """Each variant once, the widest first."""
    if expr == e.TRUE:
        return
    seen = {expr}
    everything = Variant(Kind.CONDITION_DROPPED, e.TRUE, f"no longer asks for {shown(expr)}")
    for variant in (everything, *_variants(expr, known)):
        if variant.expr not in seen:
            seen.add(variant.expr)
            yield variant


def _variants(expr: e.Expr, known: Known) -> Iterator[Variant]:
    if isinstance(expr, e.Logic):
        yield from _of_logic(expr, known)
    elif isinstance(expr, e.Prefix) and expr.op == "not":
        yield Variant(Kind.ATOM_NEGATED, expr.operand, f"asks for {shown(expr.operand)} instead of {shown(expr)}")
        if isinstance(expr.operand, e.Logic):
            yield from (_within(v, lambda inner: e.Prefix("not", inner)) for v in _variants(expr.operand, known))
    else:
        yield from _of_atom(expr, known)


def _of_logic(expr: e.Logic, known: Known) -> Iterator[Variant]:
    join, other = (e.conjunction, e.disjunction) if expr.op == "and" else (e.disjunction, e.conjunction)
    parts = expr.operands
    listed = ", ".join(map(shown, parts))
    words = f"asks for one alone of: {listed}" if expr.op == "and" else f"asks for all of: {listed}"
    yield Variant(Kind.AND_OR, other(parts), words)
    for index, part in enumerate(parts):
        before, after = parts[:index], parts[index + 1 :]
        words = "no longer asks for" if expr.op == "and" else "no longer admits"
        yield Variant(Kind.ATOM_DROPPED, join((*before, *after)), f"{words} {shown(part)}")
        for variant in _variants(part, known):
            yield Variant(variant.kind, join((*before, variant.expr, *after)), variant.words)


def _within(variant: Variant, wrap: Callable[[e.Expr], e.Expr]) -> Variant:
    return Variant(variant.kind, wrap(variant.expr), variant.words)


def _of_atom(atom: e.Expr, known: Known) -> Iterator[Variant]:
    negated = _negated(atom)
    yield Variant(Kind.ATOM_NEGATED, negated, f"asks for {shown(negated)} instead of {shown(atom)}")
    if isinstance(atom, e.Op) and atom.op in _WEAKER:
        weaker = e.Op(_WEAKER[atom.op], atom.left, atom.right)
        yield Variant(Kind.COMPARISON, weaker, f"asks for {shown(weaker)} instead of {shown(atom)}")
    yield from _of_list(atom, known)
    for other in _swapped(atom, known):
        yield Variant(Kind.VALUE_SWAPPED, other, f"asks for {shown(other)} instead of {shown(atom)}")


def _negated(atom: e.Expr) -> e.Expr:
    match atom:
        case e.Op(op, left, right) if op in _NEGATED:
            return e.Op(_NEGATED[op], left, right)
        case e.In(operand, items, negated):
            return e.In(operand, items, not negated)
        case e.Any(left, "=", array, "any"):
            return e.Any(left, "<>", array, "all")
        case e.Any(left, "<>", array, "all"):
            return e.Any(left, "=", array)
        case e.Test(operand, test):
            word = test.removeprefix("is ")
            return e.Test(operand, f"is {word.removeprefix('not ')}" if word.startswith("not ") else f"is not {word}")
    return e.Prefix("not", atom)


def _of_list(atom: e.Expr, known: Known) -> Iterator[Variant]:
    """A list of constants with one more or one less; an equality is a list of one."""
    match atom:
        case e.In(e.Col(name) as column, items, False):
            pass
        case e.Op("=", e.Col(name) as column, e.Lit() as value):
            items = (value,)
        case _:
            return
    for value in [v for v in known.values.get(name, ()) if v not in items][:_MOST]:
        yield Variant(Kind.LIST_LONGER, e.In(column, (*items, value)), f"also admits {name} = {shown(value)}")
    for item in items[:_MOST] if len(items) > 1 else ():
        fewer = e.In(column, tuple(i for i in items if i != item))
        yield Variant(Kind.LIST_SHORTER, fewer, f"no longer admits {name} = {shown(item)}")


def _swapped(atom: e.Expr, known: Known) -> Iterator[e.Expr]:
    """The atom with another claim of the same type, or another set, in place of one."""
    for node in dict.fromkeys(atom.walk()):
        if isinstance(node, e.Token):
            others: list[e.Expr] = [e.Token(n) for n in _alike(node.name, known.tokens)]
        elif isinstance(node, e.SetValues):
            others = [e.SetValues(n) for n in _alike(node.name, known.sets)]
        else:
            continue
        yield from (replaced(atom, node, other) for other in others)


def _alike(name: str, types: Mapping[str, str]) -> list[str]:
    return [other for other, kind in types.items() if other != name and kind == types.get(name)]


def replaced(expr: e.Expr, old: e.Expr, new: e.Expr) -> e.Expr:
    """`expr` with `new` wherever `old` stands."""
    if expr == old:
        return new
    if isinstance(expr, e.Raw):
        return e.Raw(tuple(new if part == old else part for part in expr.parts))
    return e.mapped(expr, lambda child: replaced(child, old, new))
