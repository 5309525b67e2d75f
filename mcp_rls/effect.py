"""What a change does to what sessions may do, from what the two ends mean: OPENS, CLOSES or NEITHER, in words.

A meaning is what compiler/meaning.py wrote down. What isn't proved to close counts as OPENS.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

# {"scopes": [...], "rows": [...], "new": [...]}: all scopes held, all conditions met; "holds": what who has these holds
Rule = dict[str, Any]
Condition = str | list[str]  # text, or an operand and the constants that it may be
Limit = dict[str, Any] | None  # {"columns": [...], "excluded": false}; None: any column
Said = tuple["Effect", str]
Implied = Mapping[str, Collection[str]]  # a scope to all that it stands for, itself among it
_NOTHING: Rule = {"scopes": [], "rows": [], "new": []}
_ALL = ("people", "everybody")  # who isn't a class of clients
_ITSELF: Implied = MappingProxyType({})


class Effect(Enum):
    """What an operation can do to what sessions may see or change. What isn't proved to close counts as OPENS."""

    OPENS = "opens"
    CLOSES = "closes"
    NEITHER = "neither"

    @property
    def word(self) -> str:
        """The word for a reader: 'opens', 'closes', or '' where nothing is to be said."""
        return "" if self is Effect.NEITHER else self.value


UNKNOWN: list[Said] = [(Effect.OPENS, "written anew; what it said before isn't known")]
THE_SAME: list[Said] = [(Effect.NEITHER, "written anew; it says the same")]


def together(said: Iterable[Said]) -> Effect:
    """One effect for several changes: OPENS if one of them opens."""
    effects = {effect for effect, _ in said}
    return next((e for e in (Effect.OPENS, Effect.CLOSES) if e in effects), Effect.NEITHER)


def who_may(meaning: str) -> list[str]:
    """Those whom a policy's meaning names; none where it isn't known."""
    return list(json.loads(meaning)["may"]) if meaning else []


def implied(meanings: Iterable[str]) -> Implied:
    """What each scope stands for, by the function among these that recognises sessions; nothing where none does."""
    gates = (json.loads(meaning) for meaning in meanings if meaning)
    return next((gate["scopes"] for gate in gates if "classes" in gate), _ITSELF)


def of_policy(
    command: str, before: str, after: str, scopes: Implied = _ITSELF, follow: Collection[str] = ()
) -> list[Said]:
    """What changes for each class of clients, or for people, from one policy's meaning to another's.

    `scopes`: what they stand for in the end; that this changes itself is the function's to tell. `follow`: the commands
    of people's own rules that by PostgreSQL's rules reach only what this policy shows, when a WHERE names the rows.
    """
    if not before or not after:
        return UNKNOWN
    old, new = _policy(before, scopes), _policy(after, scopes)
    if old["values"] != new["values"]:
        return [(Effect.OPENS, "what the token's claims are read from has changed")]
    said = [
        change
        for who in dict.fromkeys([*old["may"], *new["may"]])
        for change in _for_one(who, command, old["may"].get(who), new["may"].get(who))
    ]
    if said and follow:
        effect, words = said[-1]
        said[-1] = effect, f"{words}; what they may {' and '.join(follow)} by a WHERE follows"
    return said or THE_SAME


def of_roles(before: Collection[str], after: Collection[str], *, permissive: bool) -> list[Said]:
    """What changes where a policy is for other roles: a ceiling binds its roles, a permissive policy admits them."""
    if set(before) == set(after):
        return []
    larger, smaller = (before, after) if permissive else (after, before)
    covered = "public" in larger or set(smaller) <= set(larger)
    words = f"to {', '.join(after)}; before: {', '.join(before)}"
    return [(Effect.CLOSES if covered else Effect.OPENS, words)]


def _policy(meaning: str, scopes: Implied) -> dict[str, Any]:
    """What a policy's meaning says, with what is left out where it is empty, and what each rule's scopes stand for."""
    said = json.loads(meaning)
    may = {
        who: {of: [_whole(rule, scopes) for rule in rules.get(of, [])] for of in ("rules", "sees")}
        for who, rules in said["may"].items()
    }
    return {"may": may, "values": said.get("values", {})}


def _whole(rule: Rule, scopes: Implied) -> Rule:
    whole = _NOTHING | rule
    return whole | {"holds": {held for scope in whole["scopes"] for held in (scope, *scopes.get(scope, ()))}}


def _for_one(who: str, command: str, old: Any, new: Any) -> Iterator[Said]:
    if old is None:
        yield Effect.OPENS, f"{who} may {command} {_described(who, new)}"
    elif new is None:
        yield Effect.CLOSES, f"{who} may no longer {command}"
    else:
        yield from _changed(who, command, old, new)
        seen = list(_changed(who, "select", {"rules": old["sees"]}, {"rules": new["sees"]}))
        if seen:
            yield together(seen), f"for {_named(who)} {command} follows select"


def _changed(who: str, command: str, before: Any, after: Any) -> Iterator[Said]:
    old, new = before["rules"], after["rules"]
    narrower, wider = _within(new, old), _within(old, new)
    if narrower and wider:
        return
    if len(old) == len(new) == 1:
        yield from _scopes_changed(who, command, old[0], new[0])
        for part in ("rows", "new"):
            was, is_ = old[0][part], new[0][part]
            if part == "new" and (was, is_) == (old[0]["rows"], new[0]["rows"]):
                continue  # said already
            what = command if part == "rows" or command == "insert" else f"{command} to rows"
            yield from _conditions_changed(who, what, was, is_)
    else:
        effect = Effect.CLOSES if narrower else Effect.OPENS
        yield effect, f"{who} may {command} {_described(who, after)}; before: {_described(who, before)}"


def _scopes_changed(who: str, command: str, old: Rule, new: Rule) -> Iterator[Said]:
    if old["scopes"] != new["scopes"]:
        effect = Effect.CLOSES if set(old["scopes"]) <= new["holds"] else Effect.OPENS
        yield effect, f"{_has(who, 'need')} {_scopes(new)} to {command}; before: {_scopes(old)}"


def _scopes(rule: Rule) -> str:
    words = rule["scopes"]
    return f"the scope{'s' * (len(words) > 1)} {' and '.join(words)}" if words else "no scope"


def _conditions_changed(who: str, what: str, old: list[Condition], new: list[Condition]) -> Iterator[Said]:
    more = [c for c in new if not any(_implies(o, c) for o in old)]
    less = [c for c in old if not any(_implies(n, c) for n in new)]
    if more and less and not all(isinstance(c, list) for c in (*more, *less)):
        yield Effect.OPENS, f"{who} may {what} where {_all(new)}; before: where {_all(old)}"
        return
    for condition in more:
        apart = _apart(condition, old)
        verb, rows = ("lose", apart) if apart else ("keep", f"only where {_text(condition)}")
        yield Effect.CLOSES, f"{_has(who, verb)} {what} {rows}"
    for condition in less:
        rows = _apart(condition, new) or f"also where {_within_and(_text(condition))} isn't true"
        yield Effect.OPENS, f"{_has(who, 'gain')} {what} {rows}"


def _named(who: str) -> str:
    """People, or a class: its name alone could be any word, singular or plural."""
    return who if who in _ALL else f"class {who}"


def _has(who: str, verb: str) -> str:
    return f"{_named(who)} {verb}{'' if who == 'people' else 's'}"


def _apart(condition: Condition, others: list[Condition]) -> str:
    """Which rows `condition` keeps away that the others don't: the values that only they list, if it's about a list."""
    if isinstance(condition, list):
        for other in others:
            if isinstance(other, list) and other[0] == condition[0]:
                return f"where {_text([other[0], *(v for v in other[1:] if v not in condition[1:])])}"
    return ""


def _all(conditions: list[Condition]) -> str:
    texts = list(map(_text, conditions))
    return " and ".join(map(_within_and, texts) if len(texts) > 1 else texts)


def _within_and(text: str) -> str:
    """The condition as it may stand beside AND: in brackets, if it has an OR outside of brackets and quotes."""
    outside, depth, quote = "", 0, ""
    for c in text:
        quote = "" if c == quote else quote or (c if c in "'\"" else "")
        depth += (c == "(") - (c == ")") if not quote else 0
        outside += c if not depth and not quote else " "
    return f"({text})" if " or " in outside.lower() else text


def _within(some: list[Rule], others: list[Rule]) -> bool:
    """Whether each of these rules asks for all that one of the others asks, and so allows nothing that it doesn't."""
    return all(any(_asks_for(s, o) for o in others) for s in some)


def _asks_for(rule: Rule, all_of: Rule) -> bool:
    scopes = set(all_of["scopes"]) <= rule["holds"]
    return scopes and all(any(_implies(r, a) for r in rule[p]) for p in ("rows", "new") for a in all_of[p])


def _implies(one: Condition, other: Condition) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return one[0] == other[0] and set(one[1:]) <= set(other[1:])
    return one == other


def _text(condition: Condition) -> str:
    if isinstance(condition, str):
        return condition
    operand, *values = condition
    return f"{operand} = {values[0]}" if len(values) == 1 else f"{operand} in ({', '.join(values)})"


def _described(who: str, may: Any) -> str:
    """The rows that these rules are for; with SELECT rules beside them, of those that these show."""
    each = []
    for rule in may["rules"]:
        old, new = _all(rule["rows"]), _all(rule["new"])
        words = f"where {old}" if old else "every row" if who in _ALL else "all that people may"
        if new and new != old:
            words = f"{words} to {new}" if rule["rows"] else f"rows with {new}"
        each.append(words + (f" (scope {' '.join(rule['scopes'])})" if rule["scopes"] else ""))
    return ("of what it may select, " if may.get("sees") else "") + ", or ".join(each)


# --- columns ----------------------------------------------------------------------------------------------------------


def limits(meaning: str) -> dict[str, Limit]:
    """The columns that a guard lets each class, or people, set; none where that isn't known."""
    return dict(json.loads(meaning)["may"]) if meaning else {}


def of_columns(before: Mapping[str, Limit], after: Mapping[str, Limit]) -> list[Said]:
    """What changes in the columns that an update may set, for each who may update in the end."""
    said = []
    for who, limit in after.items():
        old = before.get(who)
        if old != limit:
            effect = Effect.CLOSES if _no_wider(limit, old) else Effect.OPENS
            was = f"; before: {_set(old)}" if who in before else ""
            said.append((effect, f"{who} may set {_set(limit)}{was}"))
    return said or THE_SAME


def _no_wider(limit: Limit, old: Limit) -> bool:
    """Whether each column that may be set now could be set before."""
    if limit is None or old is None:
        return old is None
    some, others = set(limit["columns"]), set(old["columns"])
    if limit["excluded"]:
        return bool(old["excluded"]) and others <= some
    return not some & others if old["excluded"] else some <= others


def _set(limit: Limit) -> str:
    if limit is None:
        return "any column"
    return ("all columns but " if limit["excluded"] else "only ") + ", ".join(limit["columns"])


# --- functions --------------------------------------------------------------------------------------------------------


def of_presence(meaning: str, *, there: bool) -> list[Said]:
    """What it changes that a function comes or goes: nothing, but of the one that sessions must call."""
    if not meaning or not json.loads(meaning).get("called"):
        return []
    if there:
        return [(Effect.CLOSES, "from now on sessions must call it in each transaction: one that doesn't is closed")]
    return [(Effect.OPENS, "sessions need not call it any more: one that doesn't may do what its claims say")]


def of_function(before: str, after: str) -> list[Said]:
    """What changes when a function is replaced: who is recognised as what, or how a value is computed."""
    if not before or not after:
        return UNKNOWN
    old, new = json.loads(before), json.loads(after)
    if "classes" not in old or "classes" not in new:
        if old["value"] != new["value"]:
            return [(Effect.OPENS, f"computed anew: {new['value']}; before: {old['value']}")]
        # what it says besides is said where that is made
        return [(Effect.NEITHER, f"follows {new['follows']}")] if "follows" in new else THE_SAME
    return list(_of_gate(old, new)) or THE_SAME


def _of_gate(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Said]:
    if old["identity"] != new["identity"]:
        yield from _of_identity(old["identity"], new["identity"])
    if old["consent"] != new["consent"]:
        yield Effect.OPENS, f"consent is {_looked_up(new['consent'])}; before: {_looked_up(old['consent'])}"
    before, after = ({c["name"]: c for c in end["classes"]} for end in (old, new))
    if [c for c in before if c in after] != [c for c in after if c in before]:
        yield Effect.OPENS, "classes are matched in another order"
    for name in dict.fromkeys([*before, *after]):
        others = [c for other, c in after.items() if other != name]
        yield from _of_class(name, before.get(name), after.get(name), others)
    for scope in dict.fromkeys([*old["scopes"], *new["scopes"]]):
        was, is_ = set(old["scopes"].get(scope, [scope])), set(new["scopes"].get(scope, [scope]))
        if is_ - was:
            yield Effect.OPENS, f"{scope} now implies {' '.join(sorted(is_ - was))}"
        if was - is_:
            yield Effect.CLOSES, f"{scope} no longer implies {' '.join(sorted(was - is_))}"


def _of_identity(old: Any, new: Any) -> Iterator[Said]:
    if isinstance(old, str) or isinstance(new, str):  # as it was recorded before each part was
        yield Effect.OPENS, "who is a person, a client or a direct session, and which scopes it has, is decided anew"
    else:
        for part in (part for part in new if old.get(part) != new[part]):
            yield Effect.OPENS, f"{part}: {new[part] or 'none'}; before: {old.get(part) or 'none'}"


def _of_class(name: str, old: Any, new: Any, others: list[Any]) -> Iterator[Said]:
    left = set(old["ids"] if old else ()) - set(new["ids"] if new else ())
    # a client that leaves a class may be taken up by another
    taken = any(left & set(c["ids"]) or not c["alone"] for c in others)
    losing = Effect.OPENS if taken else Effect.CLOSES
    if old is None:
        yield Effect.OPENS, f"class {name} is new"
    elif new is None:
        yield losing, f"class {name} is no more"
    else:
        more = set(new["ids"]) - set(old["ids"])
        if more:
            yield Effect.OPENS, f"class {name}: {_clients(len(more))} more"
        if left:
            words = ", and another class may take up what it lets go" if taken else ""
            yield losing, f"class {name}: {_clients(len(left))} fewer{words}"
        if old["match"] != new["match"]:
            yield Effect.OPENS, f"class {name} is {_recognised(new)}; before: {_recognised(old)}"
        if old["consent"] != new["consent"]:
            needs = new["consent"]
            words = "needs consent now" if needs else "needs no consent any more"
            yield Effect.CLOSES if needs else Effect.OPENS, f"class {name} {words}"


def _recognised(class_: dict[str, Any]) -> str:
    """By what else than ids: what a prefix and a registry say, as `meaning.of_gate` has written it down."""
    prefix, registry, where = class_["match"]
    parts = [f"by the prefix {prefix}"] if prefix else []
    if registry:
        parts.append(f"by the registry {registry}" + (f" where {where}" if where else ""))
    return f"recognised {' or '.join(parts)}" if parts else "recognised by ids alone"


def _looked_up(consent: list[Any] | None) -> str:
    if consent is None:
        return "looked up nowhere"
    table, *columns, where = consent
    return f"looked up in {table} by {', '.join(filter(None, columns))}" + (f" where {where}" if where else "")


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"
