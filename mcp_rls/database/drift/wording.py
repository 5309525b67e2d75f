"""Changed policies in words: what each was, what it is, and what that opens or closes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.database.drift.finding import PUTS_BACK, TAKES_NOTE, Finding, Kind
from mcp_rls.database.drift.policies import Change, Tree
from mcp_rls.database.drift.reading import Name, Printed, Text, Texts, Unreadable
from mcp_rls.effect import THE_SAME, Effect, Said, of_policy, together

_SHOWN = 5  # names in one line
WHY_ANEW = "a dump and restore, or an upgrade"


def told(changes: Iterable[Change], texts: Texts, *, all_anew: bool) -> Iterator[Finding]:
    """What there is to say of these changes; `all_anew`: every policy was made anew, changed or not."""
    same, unknown = [], []
    for change in changes:
        text = texts.get(change.name)
        if change.in_text and isinstance(text, Printed) and text.digest == change.printed:
            same.append(change.name)
        elif all_anew and change.in_text and not (change.printed and isinstance(text, Printed)):
            unknown.append(change)
        else:
            yield _finding(change, text)
    if same:
        yield Finding(Kind.NOTE, _policies(same), f"made anew with the text that was applied ({WHY_ANEW})")
    yield from _undecided(unknown, texts)


def _undecided(changes: list[Change], texts: Texts) -> Iterator[Finding]:
    """Where all was made anew, one whose text can't be compared is not known to have changed, nor to be the same."""
    for name in (c.name for c in changes):
        why = _unread(texts.get(name)) or "its text was not noted"
        yield Finding(Kind.UNKNOWN, name.object, f"made anew ({WHY_ANEW})", means=why)


def _policies(names: list[Name]) -> str:
    if len(names) == 1:
        return names[0].object
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "policies " + ", ".join(f"{n.table} {n.name}" for n in names[:_SHOWN]) + more


def _unread(text: Text | None) -> str:
    return f"its text could not be read: {text}" if isinstance(text, Unreadable) else ""


def _finding(change: Change, text: Text | None) -> Finding:
    if change.before:
        return _renamed(change)
    if change.was is not None and change.now is not None:
        return _altered(change, change.was, change.now, text)
    return _gone(change, change.was) if change.was is not None else _added(change, change.now, text)


def _renamed(change: Change) -> Finding:
    remedy, place = TAKES_NOTE, ""
    if change.recorded:
        remedy, place = "`mcp-rls apply` makes it again under its own name", change.recorded.place
        if not change.name.ours:
            remedy = f"rename it back: `{_rename(change.name, change.before)}`; {remedy}, beside this one"
    elif change.name.ours:
        remedy = "`mcp-rls apply` drops it"
    means = "it does what it did"
    return Finding(Kind.DRIFT, change.name.object, "renamed", f"named {change.before}", means, remedy, place=place)


def _gone(change: Change, was: Tree) -> Finding:
    if was.kind == "permissive":
        effect, means = Effect.CLOSES, "people lose what it gave them, and clients with them"
    elif change.name.ours:
        effect, means = Effect.OPENS, f"clients may {_do(was)} any row that people may"
    else:
        effect, means = Effect.OPENS, "what it kept back is open"
    before = _applied(change) or _shape(was)
    return Finding(Kind.DRIFT, change.name.object, "gone", before, means, _remedy(change), effect, _place(change))


def _added(change: Change, now: Tree | None, text: Text | None) -> Finding:
    assert now is not None, "a change has at least one end"
    if now.kind == "permissive":
        effect, means = (
            Effect.OPENS,
            f"{', '.join(now.roles)} may {_do(now)} more rows; clients, below their ceilings, too",
        )
    else:
        effect, means = Effect.CLOSES, f"{', '.join(now.roles)} may {_do(now)} fewer rows"
    said = ", ".join(["new", _shape(now), *_expressions(text)])
    remedy = (
        "`mcp-rls apply` drops it" if change.name.ours else f"{TAKES_NOTE}; if not, drop it: `{_drop(change.name)}`"
    )
    return Finding(Kind.DRIFT, change.name.object, said, "", means, remedy, effect)


def _rename(name: Name, before: str) -> str:
    return f"alter {_policy(name)} rename to {sql.ident(before)}"


def _drop(name: Name) -> str:
    return f"drop {_policy(name)}"


def _policy(name: Name) -> str:
    schema, _, table = name.table.partition(".")
    return f"policy {sql.ident(name.name)} on {sql.table(TableName(schema, table))}"


def _altered(change: Change, was: Tree, now: Tree, text: Text | None) -> Finding:
    said, before = [], []
    if was[:2] != now[:2]:
        said, before = [f"{now.kind} for {now.command}"], [f"{was.kind} for {was.command}"]
    if was.roles != now.roles:
        said, before = [*said, f"to {', '.join(now.roles)}"], [*before, f"to {', '.join(was.roles)}"]
    if was[3:] != now[3:]:
        said = [*said, *(_expressions(text) or ["another condition"])]
        before = [*before, _applied(change)]
    consequences = list(_consequences(change, was, now, text))
    means = ", ".join(words for _, words in consequences)
    return Finding(
        Kind.DRIFT, change.name.object, f"changed: {', '.join(said)}", ", ".join(filter(None, before)), means,
        _remedy(change), together(consequences), _place(change),
    )  # fmt: skip


def _consequences(change: Change, was: Tree, now: Tree, text: Text | None) -> Iterator[Said]:
    """What an altered policy opens or closes: OPENS unless it is known to close."""
    ceiling = now.kind == "restrictive"
    if was[:2] != now[:2]:
        yield Effect.OPENS, "it is another kind of policy"
    elif was.roles != now.roles:
        wider = not _cover(now.roles, was.roles) if ceiling else not _cover(was.roles, now.roles)
        verb = "binds" if ceiling else "admits"
        yield Effect.OPENS if wider else Effect.CLOSES, f"it {verb} {', '.join(now.roles)} and nobody else"
    if was[3:] != now[3:]:
        who = "people" if not ceiling else "clients" if change.name.ours else "people and clients"
        yield _effect(text), f"{who} may {_do(now)} other rows than before"


def _effect(text: Text | None) -> Effect:
    shut = isinstance(text, Printed) and {text.using, text.check} <= {None, "false"}
    return Effect.CLOSES if shut else Effect.OPENS


def _cover(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return "public" in some or set(others) <= set(some)


def _shape(tree: Tree) -> str:
    return f"{tree.kind} for {tree.command} to {', '.join(tree.roles)}"


def _do(tree: Tree) -> str:
    return "reach" if tree.command == "all" else tree.command


def _expressions(text: Text | None) -> list[str]:
    """What the policy says now, in one line each."""
    if isinstance(text, Unreadable):
        return [_unread(text)]
    both = (("using", text.using), ("with check", text.check)) if text else ()
    return [f"{word} ({' '.join(expression.split())})" for word, expression in both if expression is not None]


def _applied(change: Change) -> str:
    """What the policy that was applied lets clients or people do."""
    if not change.recorded or not change.recorded.facts or change.was is None:
        return ""
    facts = change.recorded.facts
    said = of_policy(change.was.command, json.dumps({**facts, "may": {}}), change.recorded.meaning)
    words = ", ".join(words for _, words in said) if said != THE_SAME else ""
    return words or f"no client may {_do(change.was)} any row"


def _remedy(change: Change) -> str:
    return PUTS_BACK if change.recorded else TAKES_NOTE


def _place(change: Change) -> str:
    return change.recorded.place if change.recorded else ""
