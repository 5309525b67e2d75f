"""What can be said of conditions without a server: does one imply another, can it ever hold.

Sound, not complete: True is proved, False means "not proved". Conditions filter rows, so NULL counts as false.
"""

from __future__ import annotations

from mcp_rls.compiler import expression as e

_SPECIAL = (
    *"true yes on off no infinity nan now today tomorrow yesterday epoch allballs".split(),
    *"january february march april may june july august september october november december".split(),
    *"monday tuesday wednesday thursday friday saturday sunday".split(),
)


def implies(a: e.Expr, b: e.Expr) -> bool:
    """Whether every row that meets `a` is proved to meet `b`."""
    if b in (a, e.TRUE) or unsatisfiable(a):
        return True
    if isinstance(b, e.Logic) and b.op == "and":
        return all(implies(a, part) for part in b.operands)
    if isinstance(a, e.Logic) and a.op == "or":
        return all(implies(part, b) for part in a.operands)
    if isinstance(a, e.Logic) and any(implies(part, b) for part in a.operands):
        return True
    if isinstance(b, e.Logic) and any(implies(a, part) for part in b.operands):
        return True
    narrow, wide = _values(a), _values(b)
    return narrow is not None and wide is not None and narrow[0] == wide[0] and narrow[1] <= wide[1]


def unsatisfiable(a: e.Expr) -> bool:
    """Whether no row at all can meet `a`."""
    if isinstance(a, e.Lit):
        return a.kind == "null" or a == e.FALSE
    if isinstance(a, e.Op) and a.op in ("=", "<>", "<", "<=", ">", ">="):
        return any(isinstance(side, e.Lit) and side.kind == "null" for side in (a.left, a.right))
    if not isinstance(a, e.Logic):
        return False
    if a.op == "or":
        return all(map(unsatisfiable, a.operands))
    return any(map(unsatisfiable, a.operands)) or _clash(a.operands)


def disjoint(a: e.Expr, b: e.Expr) -> bool:
    """Whether no row can meet both."""
    if isinstance(a, e.Logic) and a.op == "or":
        return all(disjoint(part, b) for part in a.operands)
    if isinstance(b, e.Logic) and b.op == "or":
        return all(disjoint(a, part) for part in b.operands)
    return unsatisfiable(e.conjunction((a, b)))


def _clash(parts: tuple[e.Expr, ...]) -> bool:
    """Whether two of these parts can't hold on one row."""
    allowed: dict[e.Expr, frozenset[e.Expr]] = {}
    for part in parts:
        values = _values(part)
        if values is not None:
            known = allowed.setdefault(values[0], values[1])
            allowed[values[0]] = known & values[1]
    if any(not values for values in allowed.values()):
        return True
    null = {p.operand for p in parts if isinstance(p, e.Test) and p.test == "is null"}
    present = set(allowed) | {p.operand for p in parts if isinstance(p, e.Test) and p.test == "is not null"}
    negated = {p.operand for p in parts if isinstance(p, e.Prefix) and p.op == "not"}
    return bool(null & present) or bool(negated & set(parts))


def _values(a: e.Expr) -> tuple[e.Expr, frozenset[e.Expr]] | None:
    """(operand, the string constants it must be one of), where `a` says just that.

    Strings alone: 1 and 1.0 are equal numbers of different spelling. Two strings of different spelling can be equal
    too (under boolean, uuid, citext, a date), so only words count that no such type takes.
    """
    match a:
        case e.Op("=", left, e.Lit(_, "string") as value):
            operand, values = left, [value]
        case e.Op("=", e.Lit(_, "string") as value, right):
            operand, values = right, [value]
        case e.In(member, items, False):
            operand, values = member, [i for i in items if isinstance(i, e.Lit) and i.kind == "string"]
            if len(values) != len(items):
                return None
        case e.Logic("or", operands):
            return _union(operands)
        case _:
            return None
    return (operand, frozenset(values)) if all(_one_spelling(v.text) for v in values) else None


def _union(operands: tuple[e.Expr, ...]) -> tuple[e.Expr, frozenset[e.Expr]] | None:
    pairs = [_values(o) for o in operands]
    known = [p for p in pairs if p is not None]
    if len(known) != len(pairs) or len({p[0] for p in known}) != 1:
        return None
    return known[0][0], frozenset().union(*(p[1] for p in known))


def _one_spelling(text: str) -> bool:
    word = text.islower() and text.replace("_", "a").isalpha() and any(c not in "abcdef" for c in text)
    return word and not any(special.startswith(text) for special in _SPECIAL)
