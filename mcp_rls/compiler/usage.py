"""Checks across the parts of a policy file: what nothing uses, what overlaps, what doesn't work together."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import ClientClass, Condition, PolicySet, Rule, TableRules
from mcp_rls.compiler.shape import Draft, shown
from mcp_rls.diagnostics import Span

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_usage(draft: Draft, policies: PolicySet) -> None:
    """All checks across parts; a part that is damaged isn't blamed for what it lacks."""
    _unused(draft, policies)
    _overlaps(draft, policies)
    keys = {TableName.parse(key): key for key in draft.file.tables}  # as written: with quotes, perhaps
    for name, rules in policies.tables.items():
        if not draft.damaged("tables", keys.get(name, "")):
            _without_select(draft, rules)
            _update_mix(draft, rules)
            _columns_mix(draft, rules)
    _self_grant(draft, policies)


# --- what nothing uses


def _unused(draft: Draft, policies: PolicySet) -> None:
    if not draft.damaged("tables"):
        _unused_classes(draft, policies)
        _unused_scopes(draft, policies)
        _unused_sets(draft, policies)
    consent, asked = policies.consent, any(map(policies.consent_required, policies.classes))
    if consent is not None and not asked and policies.classes and not draft.damaged("classes"):
        message = "no class requires consent, so revoking a row of this table changes nothing"
        hint = "consent: required, in each class that needs it"
        draft.warning("unused-consent", message, draft.document.key_span("consent"), hint)


def _client_rules(policies: PolicySet) -> Iterator[Rule]:
    for table in policies.tables:
        yield from policies.client_rules(table)


def _unused_classes(draft: Draft, policies: PolicySet) -> None:
    used = {name for rule in _client_rules(policies) for name in rule.who} | draft.meant
    for name, each in policies.classes.items():
        if name not in used:
            message = f'no rule names the class "{shown(name)}": its clients may do nothing'
            draft.warning("unused-class", message, each.span)


def _unused_scopes(draft: Draft, policies: PolicySet) -> None:
    asked = {name for rule in _client_rules(policies) for name in rule.scopes} | draft.meant
    for name, scope in policies.scopes.items():
        if not scope.closure & asked:
            message = f'no rule asks for the scope "{shown(name)}" or for one that it implies'
            draft.warning("unused-scope", message, scope.span)


def _unused_sets(draft: Draft, policies: PolicySet) -> None:
    used = {word for text in _texts(policies) for word in _WORD.findall(text)}
    for name, each in policies.sets.items():
        if name not in used:
            span = draft.document.key_span("sets", each.name)
            draft.warning("unused-set", f'no condition uses the set "{shown(name)}"', span)


def _texts(policies: PolicySet) -> Iterator[str]:
    conditions: list[Condition | None] = [policies.consent.where if policies.consent else None]
    conditions += [each.registry.where for each in policies.classes.values() if each.registry]
    for table in policies.tables.values():
        people = () if table.people == "existing" else table.people
        for rule in (*people, *policies.client_rules(table.table)):
            conditions += [rule.rows, rule.check]
    return (each.text for each in conditions if each is not None)


# --- classes that overlap


def _overlaps(draft: Draft, policies: PolicySet) -> None:
    overlaps = _Overlaps(draft, policies)
    for name, each in policies.classes.items():
        overlaps.of_ids(name, each.client_id_url_prefix)
    overlaps.of_prefixes()


class _Overlaps:
    """Clients that two classes would take; the file's order decides, and its author should know."""

    def __init__(self, draft: Draft, policies: PolicySet) -> None:
        self.draft = draft
        self.order = {name: place for place, name in enumerate(policies.classes)}
        self.prefixes = _Prefixes(policies.classes.values())
        self.owners: dict[str, str] = dict.fromkeys(policies.identity.direct.ids, "")  # '': direct sessions

    def of_ids(self, name: str, prefix: str | None) -> None:
        """Ids of the class `name` that another class takes too, or that its own prefix rules out."""
        match = self.draft.file.classes[name].match
        for index, client in enumerate((match and match.ids) or ()):
            span = self.draft.document.span("classes", name, "match", "ids", index)
            if prefix and not client.startswith(prefix):
                message = f'"{shown(client)}" doesn\'t begin with the prefix of this class and never matches'
                self.draft.diagnostics.error("never-holds", message, span, "keys within match are ANDed")
                continue
            owner = self.owners.setdefault(client, name)
            if owner == "":
                message = f'"{shown(client)}" is listed under identity: direct: its sessions are never a client\'s'
                self.draft.warning("class-overlap", message, span)
            elif owner != name:
                self.report(f'"{shown(client)}" is listed under "{shown(owner)}" too', span, owner)
            for other in self.prefixes.holding(client):
                if other.name != name and not other.ids:
                    text = f'"{shown(client)}" begins with the prefix of "{shown(other.name)}" too'
                    self.report(text, span, min(name, other.name, key=self.order.__getitem__))

    def of_prefixes(self) -> None:
        """Prefixes that lie within another class's."""
        for each in self.prefixes.classes:
            own = each.client_id_url_prefix or ""
            for other in self.prefixes.holding(own):
                twin = other.client_id_url_prefix == own and self.order[other.name] >= self.order[each.name]
                if twin or each.ids or other.ids:
                    continue
                span = self.draft.document.span("classes", each.name, "match", "client_id_url_prefix")
                text = f'the prefix of "{shown(each.name)}" begins with that of "{shown(other.name)}"'
                self.report(text, span, min(each.name, other.name, key=self.order.__getitem__))

    def report(self, text: str, span: Span, winner: str) -> None:
        message = f'{text}: "{shown(winner)}" comes first and wins'
        hint = "the first class in the file that matches decides"
        self.draft.warning("class-overlap", message, span, hint)


class _Prefixes:
    """The URL prefixes of classes, for finding those that a text begins with."""

    def __init__(self, classes: Iterable[ClientClass]) -> None:
        self.classes = [each for each in classes if each.client_id_url_prefix]
        self._by_prefix: dict[str, list[ClientClass]] = {}
        for each in self.classes:
            self._by_prefix.setdefault(each.client_id_url_prefix or "", []).append(each)
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})

    def holding(self, text: str) -> Iterator[ClientClass]:
        """The classes with a prefix of `text`."""
        for length in self._lengths[: bisect_right(self._lengths, len(text))]:
            yield from self._by_prefix.get(text[:length], ())


# --- rules that don't work together


def _without_select(draft: Draft, rules: TableRules) -> None:
    """PostgreSQL would let a class change rows unseen; we don't, so such a rule does nothing."""
    clients = () if isinstance(rules.clients, str) else rules.clients
    if not all(draft.knows("classes", name) for rule in clients for name in rule.who):
        return
    seeing = {name for rule in clients if "select" in rule.commands for name in rule.who}
    for rule in clients:
        commands = [command for command in ("update", "delete") if command in rule.commands]
        blind = [name for name in rule.who if name not in seeing]
        if commands and blind:
            names, verb = _list(blind), " and ".join(commands)
            message = f'{names} may {verb} rows of "{rules.table}" and select none: for them this rule does nothing'
            hint = f"add a rule: {{who: {blind[0]}, allow: select, ...}}"
            draft.diagnostics.error("write-without-select", message, rule.span, hint)


def _update_mix(draft: Draft, rules: TableRules) -> None:
    """PostgreSQL asks the old row of one rule and the new row of another: what they admit must be one thing."""
    for side in (rules.clients, rules.people):
        updates = [rule for rule in side if "update" in rule.commands] if not isinstance(side, str) else []
        new_rows = [(_normal(rule.new_row()), rule.columns) for rule in updates]
        firsts: dict[str, int] = {}
        mixed: dict[tuple[int, int], list[str]] = {}
        for index, rule in enumerate(updates):
            for name in rule.who or ("a person",):
                first = firsts.setdefault(name, index)
                if new_rows[first] != new_rows[index]:
                    mixed.setdefault((first, index), []).append(name)
        for (first, index), names in mixed.items():
            who = "a person has" if side is rules.people else _list(names) + " " + _has(names)
            _mixed(draft, rules, updates[first], updates[index], who)


def _columns_mix(draft: Draft, rules: TableRules) -> None:
    """A grant on columns knows no rows: two rules of a class with different columns would add up."""
    for command in ("select", "insert"):
        firsts: dict[str, Rule] = {}
        for rule in rules.clients if not isinstance(rules.clients, str) else ():
            for name in rule.who if command in rule.commands else ():
                first = firsts.setdefault(name, rule)
                if first.columns != rule.columns:
                    two = f'"{shown(name)}" has two {command} rules of "{rules.table}" with different columns'
                    why = "a grant knows no rows, so each would hold for the other's"
                    message = f"{two}, here and on line {first.span.line}: {why}"
                    hint = 'give both the same "columns", or the columns a table of their own'
                    draft.diagnostics.error("columns-mix", message, rule.span, hint)


def _mixed(draft: Draft, rules: TableRules, first: Rule, rule: Rule, who: str) -> None:
    if first.columns != rule.columns:
        message = (
            f'{who} two update rules of "{rules.table}" with different columns, here and on line {first.span.line}: '
            "so a row of one could get what the other lets through"
        )
        hint = 'give both the same "columns"; nothing can tell by which of them a row was let through'
        draft.diagnostics.error("update-rules-mix", message, rule.span, hint)
        return
    message = (
        f'{who} two update rules of "{rules.table}" with different new rows, here and on line '
        f"{first.span.line}: so {_row(first.rows)} could become {_row(rule.new_row())}, "
        f"and {_row(rule.rows)} become {_row(first.new_row())}"
    )
    hint = 'give both the same "check"; PostgreSQL can\'t pair old and new rows by rule'
    draft.diagnostics.error("update-rules-mix", message, rule.span, hint)


def _normal(condition: Condition | None) -> str:
    return " ".join(condition.text.split()) if condition else ""


def _row(condition: Condition | None) -> str:
    return f"a row with ({shown(condition.text)})" if condition else "any row"


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _list(names: list[str]) -> str:
    listed = ", ".join(f'"{shown(name)}"' for name in names[:5])
    return listed if len(names) <= 5 else f"{listed} and {len(names) - 5} more"


def _self_grant(draft: Draft, policies: PolicySet) -> None:
    """A table that decides who may do what must be covered, and closed to writes of clients."""
    deciding = {policies.consent.table: (policies.consent.span, "consents")} if policies.consent else {}
    for each in policies.classes.values():
        if each.registry is not None:
            deciding.setdefault(each.registry.table, (each.registry.span, f'clients of "{shown(each.name)}"'))
    for table, (span, what) in deciding.items():
        if policies.schemas and table.schema not in policies.schemas and not draft.damaged("schemas"):
            message = f'"{table}" holds the {what} and isn\'t in a covered schema: clients might write to it'
            draft.diagnostics.error("self-grant", message, span, f"add {shown(table.schema)} to schemas")
        for rule in policies.client_rules(table):
            written = [command for command in ("insert", "update", "delete") if command in rule.commands]
            if written:
                message = f'this lets clients {" and ".join(written)} in "{table}", which holds the {what}'
                hint = "clients: none, or select only; let the app itself write there"
                draft.diagnostics.error("self-grant", message, rule.span, hint)
