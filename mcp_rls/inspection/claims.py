"""Which claims a value is made of: through settings, JSON operators, and the functions of the database that are called.

`current_setting('request.jwt.claims', true)::jsonb ->> 'scope'`, `(select auth.jwt()) ->> 'scope'` and `app.scope()`,
if its text is one of them, are one thing to a lint: an Origin with the path ('scope',).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast
from pglast.enums import A_Expr_Kind, SubLinkType

from mcp_rls.compiler.model import PolicySet
from mcp_rls.inspection.bodies import body_of
from mcp_rls.inspection.facts import Function
from mcp_rls.inspection.frames import Frame, Names, fields
from mcp_rls.inspection.tree import Node, called, constant, operator

# marks: what happened to a value on its way
TEXT = "text"  # taken out of the document as text: a JSON null has become NULL
FOLDED = "folded"  # upper and lower case are one
PARTED = "parted"  # only a part of it
WORDS = "words"  # split into words or elements
PADDED = "padded"  # a blank at each end
BLANK = "blank"  # an empty text counts as absent

_DEPTH = 40  # functions that call themselves come to an end
_FOLD = {"lower", "upper", "initcap"}
_PART = {
    "substr", "substring", "left", "right", "split_part", "regexp_substr", "regexp_replace", "replace", "overlay",
    "translate", "reverse",
}  # fmt: skip
_SPLIT = {
    "string_to_array", "regexp_split_to_array", "string_to_table", "regexp_split_to_table", "unnest",
    "jsonb_array_elements_text", "json_array_elements_text", "jsonb_array_elements", "json_array_elements",
}  # fmt: skip
_OWN_WORDS = {"raw_user_meta_data", "user_metadata"}  # columns
_SAME = {
    "btrim", "ltrim", "rtrim", "to_jsonb", "to_json", "convert_from", "concat", "array_remove", "normalize",
    "array_to_string", "string_agg",
}  # fmt: skip
_EXTRACT = {
    "jsonb_extract_path": False, "json_extract_path": False, "jsonb_object_field": False, "json_object_field": False,
    "jsonb_extract_path_text": True, "json_extract_path_text": True, "jsonb_object_field_text": True,
    "json_object_field_text": True,
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """One source of a value: a claim, a request header, a setting, a column that holds what a person says of itself."""

    source: str  # 'claims' | 'headers' | 'cookies' | 'setting' | 'column'
    path: tuple[str, ...] = ()  # () is the whole document
    marks: frozenset[str] = frozenset()
    defaults: frozenset[str] = frozenset()  # what stands in for it when it is absent

    @property
    def name(self) -> str:
        """'client_id': the last part of its path, or of the setting's name."""
        return self.path[-1].rpartition(".")[2] if self.path else ""

    def marked(self, *marks: str) -> Origin:
        return replace(self, marks=self.marks | set(marks))

    def at(self, keys: Iterable[str], *, text: bool) -> Origin:
        """A value inside it; what stands in for the whole when it is absent doesn't stand in for the part."""
        marks = self.marks - {TEXT, BLANK} | ({TEXT} if text else set())
        return Origin(self.source, (*self.path, *keys), frozenset(marks))


Origins = frozenset[Origin]
NONE: Origins = frozenset()
# Supabase's own functions, whose text we may not see and nobody may change
PLATFORM = {
    "auth.jwt": Origin("claims"),
    "auth.uid": Origin("claims", ("sub",), frozenset({TEXT})),
    "auth.role": Origin("claims", ("role",), frozenset({TEXT})),
    "auth.email": Origin("claims", ("email",), frozenset({TEXT})),
}


@dataclass(frozen=True)
class Words:
    """Names of claims by what they say."""

    client: frozenset[str]
    scope: frozenset[str]
    person: frozenset[str]

    @classmethod
    def of(cls, policies: PolicySet | None) -> Words:
        """The usual names, and those of the policy file."""
        client, scope, person = {"client_id", "azp", "cid", "appid"}, {"scope", "scopes", "scp", "permissions"}, {"sub"}
        if policies is not None:
            client |= {path[-1] for path in policies.identity.client}
            scope |= set((policies.identity.scope or ())[-1:])
            person.add(policies.identity.person.path[-1])
        return cls(frozenset(client), frozenset(scope), frozenset(person))


class Claims:
    """Values of one database's policies and functions."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._known: dict[tuple[int, int], tuple[Origins, Node, Frame]] = {}
        self._given: dict[object, Origins] = {}

    def origins(self, node: Node, frame: Frame, depth: int = 0) -> Origins:
        """What a value is made of; nothing for constants, truth values and what isn't understood."""
        key = (id(node), id(frame))
        if key not in self._known:
            found = self._origins(node, frame, depth + 1) if depth < _DEPTH else NONE
            self._known[key] = (found, node, frame)  # kept alive, or the ids would be given to others
        return self._known[key][0]

    def _all(self, nodes: Iterable[Node], frame: Frame, depth: int) -> Origins:
        return NONE.union(*(self.origins(n, frame, depth) for n in nodes))

    def _origins(self, node: Node, frame: Frame, depth: int) -> Origins:
        match node:
            case ast.ColumnRef() | ast.ParamRef():
                return self._named(node, frame, depth)
            case ast.FuncCall():
                return self._called(node, frame, depth)
            case ast.A_Expr():
                return self._operated(node, frame, depth)
            case ast.CoalesceExpr():
                return self._coalesced(node, frame, depth)
            case ast.A_Indirection():
                return self._subscripted(node, frame, depth)
            case ast.SelectStmt() if node.targetList:
                return self.origins(node.targetList[0].val, self.names.inside(node, frame), depth)
        found = self._all(_passed_on(node), frame, depth)
        return _marked(found, FOLDED) if isinstance(node, ast.TypeCast) and _type_name(node) == "citext" else found

    def _named(self, node: Node, frame: Frame, depth: int) -> Origins:
        name = fields(node) if isinstance(node, ast.ColumnRef) else (f"${node.number}",)
        place = frame.place(name) if name else None
        if place is not None and place.name in _OWN_WORDS:
            return frozenset({Origin("column", ("user_metadata",))})
        bound = () if place is not None or not name else frame.bound(name)
        return NONE.union(*(self.origins(value, inner, depth) for value, inner in bound))

    def _called(self, node: Node, frame: Frame, depth: int) -> Origins:
        name = called(node).removeprefix("pg_catalog.")
        arguments: Any = node.args or ()
        if name in PLATFORM:
            return frozenset({PLATFORM[name]})
        function = self.names.function(node, frame)
        if function is not None:
            return self._inside(function, node, frame, depth)
        if name == "current_setting":
            return frozenset(_setting(constant(arguments[0])))
        if name in _EXTRACT:
            keys = [constant(a) or "?" for a in arguments[1:]]
            return frozenset(o.at(keys, text=_EXTRACT[name]) for o in self.origins(arguments[0], frame, depth))
        if name in _FOLD | _PART | _SPLIT:
            mark = FOLDED if name in _FOLD else PARTED if name in _PART else WORDS
            return _marked(self.origins(arguments[0], frame, depth), mark)
        found = self._all(arguments, frame, depth) if name in _SAME else NONE
        joined = name in ("array_to_string", "string_agg")
        return frozenset(replace(o, marks=o.marks - {WORDS}) for o in found) if joined else found

    def _inside(self, function: Function, node: Node, frame: Frame, depth: int) -> Origins:
        """What a function gives: its arguments count by their origins alone, and it is worked out once for each."""
        returned = body_of(function).returned
        if returned is None:
            return NONE
        key = (function.oid, tuple(self.origins(a, frame, depth) for a in node.args or ()))
        if key not in self._given:
            self._given[key] = NONE  # for one that calls itself
            self._given[key] = self.origins(returned, self.names.entered(function, node, frame), depth)
        return self._given[key]

    def _operated(self, node: Node, frame: Frame, depth: int) -> Origins:
        if node.kind == A_Expr_Kind.AEXPR_NULLIF:
            return _marked(self.origins(node.lexpr, frame, depth), *([BLANK] if constant(node.rexpr) == "" else []))
        if node.kind != A_Expr_Kind.AEXPR_OP or node.lexpr is None:
            return NONE
        symbol = operator(node)
        if symbol in ("->", "->>"):
            keys = [constant(node.rexpr) or "?"]
        elif symbol in ("#>", "#>>"):
            keys = _keys(node.rexpr)
        elif symbol == "||":
            found = self._all((node.lexpr, node.rexpr), frame, depth)
            return _marked(found, PADDED) if _padded(node) else found
        else:
            return NONE
        return frozenset(o.at(keys, text=symbol.endswith(">>")) for o in self.origins(node.lexpr, frame, depth))

    def _coalesced(self, node: Node, frame: Frame, depth: int) -> Origins:
        texts = [constant(a) for a in node.args or ()]
        defaults = frozenset(t for t in texts if t is not None)
        found = self._all(node.args or (), frame, depth)
        marked = _marked(found, BLANK) if "" in defaults else found
        return frozenset(replace(o, defaults=o.defaults | defaults) for o in marked)

    def _subscripted(self, node: Node, frame: Frame, depth: int) -> Origins:
        steps: Any = node.indirection
        keys = [constant(s.uidx) or "?" for s in steps if isinstance(s, ast.A_Indices)]
        found = self.origins(node.arg, frame, depth)
        return frozenset(o.at(keys, text=False) for o in found) if keys else found


def _passed_on(node: Node) -> tuple[Node, ...]:
    """The parts whose value is the node's own, or one of its own."""
    match node:
        case ast.TypeCast() | ast.CollateClause():
            return (node.arg,)
        case ast.CaseExpr():
            return (*(when.result for when in node.args or ()), node.defresult)
        case ast.A_ArrayExpr():
            return tuple(node.elements or ())
        case ast.SubLink() if node.subLinkType in (SubLinkType.EXPR_SUBLINK, SubLinkType.ARRAY_SUBLINK):
            return (node.subselect,)
    return ()


def taken(node: Node) -> bool:
    """Whether a value is taken out of something here: of a setting, or of a document; not what passes it on."""
    match node:
        case ast.A_Expr():
            return operator(node) in ("->", "->>", "#>", "#>>")
        case ast.FuncCall():
            name = called(node).removeprefix("pg_catalog.")
            return name in PLATFORM or name in _EXTRACT or name == "current_setting"
        case ast.ColumnRef():
            return (fields(node) or ("",))[-1] in _OWN_WORDS
    return isinstance(node, ast.A_Indirection)


def _marked(origins: Origins, *marks: str) -> Origins:
    return frozenset(o.marked(*marks) for o in origins)


def _type_name(cast: Node) -> str:
    return str(cast.typeName.names[-1].sval)


def _setting(name: str | None) -> Iterator[Origin]:
    """What a setting holds: PostgREST's have a meaning, any other is called by its name."""
    if name is None:
        return
    request = re.fullmatch(r"request\.(?:jwt\.)?(claim|header|cookie)(s?)(?:\.(.+))?", name, re.IGNORECASE)
    if request is None:
        yield Origin("setting", (name,), frozenset({TEXT}))
    elif request[3]:
        yield Origin(f"{request[1].lower()}s", (request[3],), frozenset({TEXT}))
    else:
        yield Origin(f"{request[1].lower()}s")


def _keys(node: Node) -> list[str]:
    """The path that `#>` goes, from '{a,b}' or ARRAY['a', 'b']."""
    array = node.arg if isinstance(node, ast.TypeCast) else node
    if isinstance(array, ast.A_ArrayExpr):
        elements: Any = array.elements or ()
        return [constant(e) or "?" for e in elements]
    text = constant(node)
    return ["?"] if text is None else [part.strip().strip('"') for part in text.strip("{}").split(",")]


def _padded(node: Node) -> bool:
    """Whether a concatenation begins and ends with a constant blank (or the comma of a list)."""
    ends = list(pieces(node))
    first, last = constant(ends[0]) or "", constant(ends[-1]) or ""
    return first[:1] in (" ", ",") and last[-1:] in (" ", ",")


def pieces(node: Node) -> Iterator[Node]:
    """What a concatenation is made of, from left to right."""
    while isinstance(node, ast.TypeCast):
        node = node.arg
    if isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP and operator(node) == "||":
        yield from pieces(node.lexpr)
        yield from pieces(node.rexpr)
    else:
        yield node
