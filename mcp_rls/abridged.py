"""What is recorded of policies, said once for those that share their rules.

A policy's facts say its own rules, and again those by which its rows are seen. Of a table's policies together:

    {"policies": "public.notes mcp_rls: notes", "file": "policies.yaml",
     "written": {"select": "LINE SOURCE", "delete": "LINE SOURCE"},
     "rules": {"helper": [{"may": ["select", "delete"], "scopes": ["n:r"], "rows": ["status = 'open'"]}]},
     "values": {...}}

A rule without "new" says of new rows what it says of old ones. `mcp_rls.record` makes of it what `expanded` does
here, so what wouldn't come out as it went in is not abridged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Row = dict[str, Any]  # {"object", "source", "place", "facts"}
Rule = dict[str, Any]

PEOPLE = "people"  # what they see is for PostgreSQL to ask
_COMMANDS = ("select", "update", "delete", "insert")  # in an order that brings together what says the same
_SAID = ("select", "insert", "update", "delete")
_OF_OLD, _OF_NEW = ("select", "update", "delete"), ("update", "insert")
_FOLLOWING = ("update", "delete")  # policies of clients for these repeat what may be seen


def abridged(rows: Iterable[Row]) -> list[Row]:
    """The rows, but of those of a table's policies one for all, where that says the same."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        head, _, command = row["object"].rpartition(" ")
        known = head.startswith("policy ") and command in _COMMANDS and "may" in row.get("facts", {})
        groups.setdefault(head if known else "", []).append(row)
    others = groups.pop("", [])
    said = []
    for head, group in groups.items():
        short = _together(head, {row["object"].rpartition(" ")[2]: row for row in group})
        if _sorted(expanded(short)) == _sorted(group):
            said.append(short)
        else:
            others += group
    return said + others


def expanded(said: Row) -> Iterator[Row]:
    """A row for each policy: what `mcp_rls.record` makes of it."""
    for command, written in said["written"].items():
        line, _, source = written.rpartition(" ")
        may = {who: own for who, rules in said["rules"].items() if (own := _facts(who, command, rules))}
        text = json.dumps(may, ensure_ascii=False)
        values = {name: of for name, of in said.get("values", {}).items() if f"token.{name}" in text}
        facts = {"may": may} | ({"values": values} if values else {})
        object_, place = f"policy {said['policies']} {command}", f"{said['file']}:{line}"
        yield {"object": object_, "source": source, "place": place, "facts": facts}


def _sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row["object"]))


def _facts(who: str, command: str, rules: list[Rule]) -> dict[str, list[Rule]]:
    own = [_of(rule, command) for rule in rules if command in rule["may"]]
    follows = command in _FOLLOWING and who != PEOPLE
    seen = [_of(rule, "select") for rule in rules if "select" in rule["may"]] if follows else []
    return {"rules": own} | ({"sees": seen} if seen else {}) if own else {}


def _of(rule: Rule, command: str) -> Rule:
    """The rule as a policy for this command has it."""
    old = rule.get("rows") if command in _OF_OLD else None
    new = rule.get("new", rule.get("rows")) if command in _OF_NEW else None
    return {key: value for key, value in (("scopes", rule.get("scopes")), ("rows", old), ("new", new)) if value}


def _together(head: str, rows: dict[str, Row]) -> Row:
    facts = {command: rows[command]["facts"] for command in _COMMANDS if command in rows}
    classes = dict.fromkeys(who for said in facts.values() for who in said["may"])
    rules = {who: _merged({command: said["may"].get(who, {}) for command, said in facts.items()}) for who in classes}
    values = {name: of for said in facts.values() for name, of in said.get("values", {}).items()}
    written = {command: f"{row['place'].rpartition(':')[2]} {row['source']}" for command, row in rows.items()}
    file = next(row["place"].rpartition(":")[0] for row in rows.values())
    said = {"policies": head.removeprefix("policy "), "file": file, "written": written, "rules": rules}
    return said | ({"values": values} if values else {})


def _merged(facts: dict[str, dict[str, list[Rule]]]) -> list[Rule]:
    """One's rules for all commands; of what may be seen, what another policy says of it, where its own isn't here."""
    seen = next((said["sees"] for said in facts.values() if "sees" in said), [])
    lists = {"select": seen} | {command: said.get("rules", []) for command, said in facts.items()}
    found: list[Rule] = []
    for command, rules in lists.items():
        for rule in rules:
            _add(found, rule, command)
    return [_written(rule) for rule in found]


def _add(found: list[Rule], rule: Rule, command: str) -> None:
    """Adds the command to the rule that says the same, or the rule."""
    said: Rule = {"scopes": rule.get("scopes", [])}
    if command in _OF_OLD:
        said["rows"] = rule.get("rows", [])
    if command in _OF_NEW:
        said["new"] = rule.get("new", [])
    for one in found:
        new = one.get("new", said.get("new") if command == "update" else one.get("rows"))
        if command not in one["may"] and all((one | {"new": new})[key] == said[key] for key in said):
            one.update(said, may=[*one["may"], command])
            return
    found.append({"may": [command], **said})


def _written(rule: Rule) -> Rule:
    """The rule without what goes without saying."""
    kept = {key: rule[key] for key in ("may", "scopes", "rows") if rule.get(key)}
    kept["may"] = sorted(kept["may"], key=_SAID.index)
    return kept | ({"new": rule["new"]} if "new" in rule and rule["new"] != rule.get("rows", []) else {})
