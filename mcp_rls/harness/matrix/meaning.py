"""What a token may do by the words of the design (section 3), for one row at a time.

Of a client: what the same person's own session was seen to do, and that the class lives, and that some rule of the
class whose scopes are held is true of the row. What is emitted for all that has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mcp_rls.compiler.model import Command, Condition, PolicySet, Rule
from mcp_rls.harness.matrix import conditions as said
from mcp_rls.harness.matrix.field import COMMAND_OF, Field, Item, Move, Subject
from mcp_rls.harness.matrix.judge import Holder
from mcp_rls.harness.matrix.language import Binding, Members
from mcp_rls.harness.matrix.outcome import Outcome
from mcp_rls.harness.matrix.truths import Truths

Seen = Mapping[Item, Outcome]  # what a session was seen to do on one table
Answer = bool | None  # None: nobody can say
# Row security can't narrow TRUNCATE, PostgreSQL refuses COPY under it, and DO NOTHING leaves alone what is there.
NEVER = ("truncate", "copy", "do nothing")


class Meaning:
    """The meaning of one policy file on one table."""

    def __init__(self, policies: PolicySet, truths: Truths, listed: Members) -> None:
        self.policies = policies
        self._listed = listed
        self.truths = truths
        self.table = truths.field.table
        self._people = said.people_naming_client(policies, self.table)
        self._open: dict[tuple[str | None, frozenset[str], Command], tuple[Rule, ...]] = {}
        self._texts: dict[tuple[Condition, Binding], str] = {}

    @property
    def field(self) -> Field:
        return self.truths.field

    @property
    def has_people_rules(self) -> bool:
        """Whether the file says what people may do themselves."""
        return bool(self._people_rules())

    @property
    def people_name_the_client(self) -> bool:
        """Whether what people's rules admit differs with the client."""
        return bool(self._people)

    def open_rules(self, holder: Holder, command: Command) -> tuple[Rule, ...]:
        """The rules of the token's class for a command whose scopes it holds."""
        if not holder.live:
            return ()
        kind = (holder.class_name, holder.scopes, command)
        if kind not in self._open:
            rules = said.rules_for(self.policies, self.table, holder.class_name, command)
            self._open[kind] = tuple(rule for rule in rules if holder.scopes.issuperset(rule.scopes))
        return self._open[kind]

    def texts(self, holders: Iterable[Holder]) -> list[str]:
        """Every condition that `expected` will ask of these tokens, and the atoms of them."""
        found: dict[str, None] = {}
        for holder in holders:
            for condition in self._asked(holder):
                found[self.text(condition, holder.binding)] = None
                for atom in said.atoms(self.policies, self.table, condition):
                    found[self.atom_text(atom, holder.binding)] = None
        return list(found)

    def _asked(self, holder: Holder) -> Iterator[Condition]:
        mine = [r for r in self.policies.client_rules(self.table.name) if holder.live and holder.class_name in r.who]
        people = self._people_rules() if holder.unlimited or (holder.live and self._people) else ()
        for rule in (*mine, *people):
            yield from (c for c in (rule.rows, rule.check) if c is not None)

    # --- what is expected ---

    def expected(self, item: Item, holder: Holder, own: Seen) -> Answer:
        """Whether the token may do this; `own` is what its person's own session was seen to do.

        Of people themselves the file says so where it has rules for them; the app's own policies are what they are.
        """
        if item[0] in NEVER or self.barred(item, holder):
            return False
        if holder.unlimited:
            return self._by_people(item, holder) if self._people_rules() else own[item].allowed
        if not self.open_rules(holder, COMMAND_OF[item[0]]):
            return False
        return _all((self.by_person(item, holder, own), self.by_rules(item, holder)))

    def barred(self, item: Item, holder: Holder) -> bool:
        """Whether it sets a column that the rules leave out."""
        held = self.policies.held_to(self.table.name, None if holder.unlimited else holder.class_name)
        return isinstance(item[1], Move) and not all(limit.admit(item[1].column) for limit in held)

    def by_person(self, item: Item, holder: Holder, own: Seen) -> Answer:
        """Whether the person may: as seen, or by people rules that read the client, which no session of theirs has."""
        seen = own.get(item)
        may = seen is not None and seen.allowed
        if may or not self._people or not holder.live:
            return may if seen is None or seen.decided else None
        return _any((may, self._by_people(item, holder)))

    def _by_people(self, item: Item, holder: Holder) -> Answer:
        def by(command: Command, subject: Subject, *, new: bool = False) -> Answer:
            mine = (rule for rule in self._people_rules() if command in rule.commands)
            return _any(self._holds(rule, subject, holder, new=new) for rule in mine)

        return _all(by(command, subject, new=new) for command, subject, new in _parts(item))

    def _people_rules(self) -> tuple[Rule, ...]:
        rules = self.policies.tables.get(self.table.name)
        return () if rules is None or rules.people == "existing" else rules.people

    def fails(self, item: Item, holder: Holder) -> tuple[Rule, ...]:
        """The open rules that could have admitted it, of each command of which none does."""
        barred = self.open_rules(holder, "update") if self.barred(item, holder) else ()
        found: dict[Rule, None] = dict.fromkeys(barred)
        for command, subject, new in _ceilings(item):
            if not self._ceiling(command, subject, holder, new=new):
                found.update(dict.fromkeys(self.open_rules(holder, command)))
        return tuple(found)

    def by_rules(self, item: Item, holder: Holder) -> Answer:
        """Whether the rules of the token's class admit it."""
        return _all(self._ceiling(command, subject, holder, new=new) for command, subject, new in _ceilings(item))

    def _ceiling(self, command: Command, subject: Subject, holder: Holder, *, new: bool) -> Answer:
        rules = self.open_rules(holder, command)
        return _any(self._holds(rule, subject, holder, new=new) for rule in rules)

    def _holds(self, rule: Rule, subject: Subject, holder: Holder, *, new: bool) -> Answer:
        return self.truths.holds(subject, self.text(rule.new_row() if new else rule.rows, holder.binding))

    def text(self, condition: Condition | None, binding: Binding) -> str:
        """The condition as SQL for a token."""
        if condition is None:
            return "true"
        if (condition, binding) not in self._texts:
            self._texts[condition, binding] = said.rule_text(self.policies, condition, binding, self._listed)
        return self._texts[condition, binding]

    def atom_text(self, atom: said.Atom, binding: Binding) -> str:
        """An atom of a condition as SQL for a token."""
        return said.atom_text(self.policies, atom, binding, self._listed)


def _parts(item: Item) -> Iterator[tuple[Command, Subject, bool]]:
    """What is asked of whom: a command, the old row or the new one, and whether it is new."""
    form, subject = item
    old = subject.key if isinstance(subject, Move) else subject
    reads = form in ("update", "move", "delete", "lock", "insert returning", "upsert", "merge update", "merge delete")
    if form in ("insert", "insert returning", "do nothing", "merge insert"):
        yield "insert", subject, True
    elif form == "upsert":
        yield from _upserted(subject)
        return
    elif form == "select":
        yield "select", old, False
    elif form.startswith(("delete", "merge delete")):
        yield "delete", old, False
    else:
        yield "update", old, False
    if isinstance(subject, Move) or form == "merge update":
        yield "update", subject, True
    if reads:
        yield "select", old, False
        if isinstance(subject, Move):
            yield "select", subject, False


def _upserted(subject: Subject) -> Iterator[tuple[Command, Subject, bool]]:
    """An upsert of a row onto itself: it must pass as a new row, as one to see and as one to update."""
    yield "insert", subject, True
    yield "select", subject, False
    yield "update", subject, False
    yield "update", subject, True


def _ceilings(item: Item) -> Iterator[tuple[Command, Subject, bool]]:
    """The same for ceilings: UPDATE and DELETE carry the one for SELECT, of the old row and of the new one."""
    form, subject = item
    listed = dict.fromkeys(_parts(item))
    if form.startswith(("update", "move", "delete", "merge update", "merge delete", "lock")):
        old = subject.key if isinstance(subject, Move) else subject
        listed["select", old, False] = None
        if isinstance(subject, Move):
            listed["select", subject, False] = None
    yield from listed


def _all(answers: Iterable[Answer]) -> Answer:
    found = list(answers)
    return False if False in found else None if None in found else True


def _any(answers: Iterable[Answer]) -> Answer:
    found = list(answers)
    return True if True in found else None if None in found else False
