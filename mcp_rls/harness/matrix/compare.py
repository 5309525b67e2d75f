"""What was seen against what was expected, for one token and one table: cells, leaks, and doubts to be looked into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mcp_rls.compiler.model import COMMANDS, Command, Condition, Rule
from mcp_rls.harness.facts import RoleFacts
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.field import COMMAND_OF, Copy, Form, Item, Move, Subject
from mcp_rls.harness.matrix.judge import Holder
from mcp_rls.harness.matrix.meaning import Meaning, Seen
from mcp_rls.harness.matrix.outcome import Kind, Outcome
from mcp_rls.harness.matrix.result import Ruled, Verdict
from mcp_rls.harness.matrix.truths import plain

BASIC: tuple[Form, ...] = (
    "select", "insert", "update blind", "update", "move blind", "move", "delete blind", "delete",
)  # fmt: skip


@dataclass
class Judged:
    """One token on one table by one command. `leaks` and `strict` are items that aren't as expected."""

    command: Command
    may: list[Item] = field(default_factory=list)  # what the person may of it
    got: list[Item] = field(default_factory=list)  # what of that the token got
    leaks: list[Item] = field(default_factory=list)
    strict: list[Item] = field(default_factory=list)
    unclear: list[tuple[Item, str]] = field(default_factory=list)
    sided: str = ""  # a condition of which only one side was witnessed

    @property
    def verdict(self) -> Verdict:
        """As far as what was tried goes; whether enough was tried is another question."""
        effective = [item for item in self.got if item[0] not in ("update", "update blind")]
        moved = any(form in ("move", "move blind") for form, _ in self.may)
        if not (effective if moved else self.got):
            return Verdict.DENIED
        return Verdict.ALLOWED if len(self.got) == len(self.may) else Verdict.CONDITIONAL


def judged(meaning: Meaning, holder: Holder, seen: Seen, own: Seen, *, granted: bool = True) -> dict[Command, Judged]:
    """What a token was seen to do, judged command by command. `granted`: its role should have what people may do."""
    found = {command: Judged(command) for command in COMMANDS}
    own = seen if holder.unlimited else own
    for item, outcome in seen.items():
        refused = outcome.kind is Kind.GRANT and holder.unlimited and not granted
        if meaning.truths.is_possible(item[1]) and not refused:
            _item(found[COMMAND_OF[item[0]]], meaning, holder, item, outcome, own)
    for command, one in found.items():
        one.sided = next(_one_sided(meaning, holder, command, one), "")
    return found


def _item(one: Judged, meaning: Meaning, holder: Holder, item: Item, outcome: Outcome, own: Seen) -> None:
    """Takes one outcome into account."""
    expected = meaning.expected(item, holder, own)
    may = outcome.allowed if holder.unlimited else meaning.by_person(item, holder, own)
    if item[0] in BASIC and may:
        one.may.append(item)
        one.got += [item] if outcome.allowed else []
    if outcome.allowed and expected is False:
        one.leaks.append(item)
    elif expected is None:
        one.unclear.append((item, "a condition can't be evaluated, or the person's own session ended in an error"))
    elif expected and not outcome.allowed:
        one.strict.append(item)
    elif not outcome.decided or (outcome.kind is Kind.ELSEWHERE and not expected):
        one.unclear.append((item, str(outcome)))


def _one_sided(meaning: Meaning, holder: Holder, command: Command, one: Judged) -> Iterator[str]:
    """Conditions of open rules of which no row was true, or none wasn't: among those that the person may, for what
    the row itself says.
    """
    mine = _subjects(one.may)
    for rule in meaning.open_rules(holder, command):
        for condition, new in _conditions(rule, command):
            pool = [s for s in meaning.truths.everything() if _fits(s, command, new=new)]
            for atom in said.atoms(meaning.policies, meaning.table, condition):
                among = [s for s in pool if s in mine] if atom.of_row else pool
                text = meaning.atom_text(atom, holder.binding)
                missing = {True, False} - meaning.truths.sides(text, among)
                if missing:
                    yield f"no row was made of which this is {'true' if True in missing else 'not true'}: {atom.shown}"


def _conditions(rule: Rule, command: Command) -> Iterator[tuple[Condition, bool]]:
    if command != "insert" and rule.rows is not None:
        yield rule.rows, False
    if command in ("insert", "update") and (condition := rule.new_row()) is not None:
        yield condition, True


def _fits(subject: Subject, command: Command, *, new: bool) -> bool:
    if command == "insert":
        return isinstance(subject, Copy)
    return isinstance(subject, Move) if new else isinstance(subject, tuple)


def _subjects(items: Sequence[Item]) -> set[Subject]:
    return {plain(subject) for _, subject in items}


def ruled(meaning: Meaning, holder: Holder, command: Command) -> tuple[Ruled, ...]:
    """The rules that are open to the token, for a reader."""
    found = []
    for rule in meaning.open_rules(holder, command):
        condition = rule.new_row() if command == "insert" else rule.rows
        check = rule.check.text if command == "update" and rule.check is not None else ""
        columns = str(rule.columns) if command == "update" and rule.columns is not None else ""
        found.append(Ruled(condition.text if condition is not None else "", rule.scopes, rule.span, check, columns))
    return tuple(found)


def nothing_tried(command: Command, seen: Seen) -> bool:
    """Whether there was not one row to try the command with."""
    return not any(COMMAND_OF[form] == command and form in BASIC for form, _ in seen)


def closed_to_role(facts: RoleFacts, meaning: Meaning, command: Command) -> str:
    """Why nobody in this role may do it, as the catalog alone proves; or ''."""
    reach = facts.reach.get(meaning.table.name)
    if reach is None:
        return f"{facts.role} has no USAGE on the schema {meaning.table.name.schema}"
    if not reach.may(command):
        return f"{facts.role} has no {command.upper()} privilege"
    if reach.row_security and not any(p.permissive for p in facts.binding(meaning.table.name, command)):
        return f"no permissive policy is for {command} and {facts.role}"
    return ""
