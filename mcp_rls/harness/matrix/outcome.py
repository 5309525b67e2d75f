"""What a try came to for one row: told apart by SQLSTATE and message, never by "some 42501"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from mcp_rls.catalog import Table
from mcp_rls.harness.facts import Reach
from mcp_rls.harness.matrix.field import COMMAND_OF, Field, Item, Question
from mcp_rls.harness.matrix.probe import Answer
from mcp_rls.harness.observe import Key
from mcp_rls.state import PREFIX


class Kind(Enum):
    """ALLOWED: seen, written, or stopped only by a constraint after all policies. ERROR: anything that is no denial."""

    ALLOWED = "allowed"
    HIDDEN = "hidden"
    POLICY = "refused by a policy"
    GRANT = "refused by a missing grant"
    ELSEWHERE = "refused on another table"
    ERROR = "an error"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Outcome:
    kind: Kind
    text: str = ""  # PostgreSQL's message
    state: str = ""

    @property
    def allowed(self) -> bool:
        return self.kind is Kind.ALLOWED

    @property
    def decided(self) -> bool:
        """Whether it is either an access or a denial."""
        return self.kind not in (Kind.ERROR, Kind.UNKNOWN)

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}" if self.text else self.kind.value


ALLOWED, HIDDEN = Outcome(Kind.ALLOWED), Outcome(Kind.HIDDEN)
_POLICY = re.compile(
    r'row-level security policy (?:"(?P<policy>.*)" )?(?:\(USING expression\) )?for table "(?P<table>.*)"'
)
_DENIED = re.compile(r"permission denied for (?P<kind>\w+) (?P<name>.*)")
# PostgreSQL asks the policies about a new row before it checks constraints, except to find the row's partition.
_EARLY = re.compile(r"no partition of relation")
_OF_TRIGGERS = "PL/pgSQL function"


def decoded(field: Field, question: Question, answer: Answer, reach: Reach) -> Iterator[tuple[Item, Outcome]]:
    """The outcome for each row, copy or move that the question is about."""
    if answer.failed:
        outcome = of_error(field.table, question, answer, reach)
        for subject in question.subjects or ("",):
            yield (question.form, subject), outcome
        return
    told = _single(answer) if question.single else _listed(field, answer)
    for subject in question.subjects:
        yield (question.form, subject), told(subject)


def _single(answer: Answer) -> Callable[[object], Outcome]:
    return lambda _: ALLOWED if answer.found is True else HIDDEN


def _listed(field: Field, answer: Answer) -> Callable[[object], Outcome]:
    found = answer.found
    if isinstance(found, int):  # rows were only counted
        if found in (0, len(field.keys)):
            return lambda _: ALLOWED if found else HIDDEN
        unknown = Outcome(Kind.UNKNOWN, f"it sees {found} rows, but its role can't read the key, so which isn't known")
        return lambda _: unknown
    seen = {key for one in found or () if (key := _key(field, one)) is not None}
    return lambda subject: ALLOWED if subject in seen else HIDDEN


def _key(field: Field, found: object) -> Key | None:
    """The key of a row, as a statement or the trigger named it."""
    if isinstance(found, list) and field.table.primary_key:
        return tuple(found)
    return field.key_at(str(found[0] if isinstance(found, list) else found))


def of_error(table: Table, question: Question, answer: Answer, reach: Reach) -> Outcome:
    """The outcome of a statement that ended in an error."""
    if answer.state == "42501":
        return _refusal(table, question, answer, reach)
    if (
        question.form == "truncate" and answer.state == "0A000"
    ):  # the privilege is there; a foreign key stands against it
        return Outcome(Kind.ALLOWED, answer.message, answer.state)
    if answer.state.startswith("23"):
        early = _EARLY.search(answer.message) or _raised(answer)
        kind = Kind.ERROR if early else Kind.ALLOWED
        return Outcome(
            kind, f"the policies let it through, then a constraint stopped it ({answer.message})", answer.state
        )
    return Outcome(Kind.ERROR, f"{answer.message} ({answer.state})", answer.state)


def _raised(answer: Answer) -> bool:
    """Whether a function raised the error: below our own, there is another one in the stack."""
    return answer.context.count(_OF_TRIGGERS) > 1


def _refusal(table: Table, question: Question, answer: Answer, reach: Reach) -> Outcome:
    by_policy, denied = _POLICY.search(answer.message), _DENIED.fullmatch(answer.message)
    mine = {table.name.name, *(parent.name for parent in table.parents)}
    if answer.constraint.startswith(PREFIX):  # a guard of columns
        kind = Kind.POLICY if answer.relation in mine else Kind.ELSEWHERE
        return Outcome(kind, answer.message, answer.state)
    if by_policy:
        kind = Kind.POLICY if by_policy["table"] in mine else Kind.ELSEWHERE
        return Outcome(kind, answer.message, answer.state)
    if denied:
        other = denied["kind"] in ("table", "view") and denied["name"] not in mine
        function = denied["kind"] in ("function", "procedure")
        kind = Kind.ELSEWHERE if other else Kind.ERROR if function else Kind.GRANT
        return Outcome(kind, answer.message, answer.state)
    if _raised(answer):
        return Outcome(Kind.ERROR, f"{answer.message} ({answer.state})", answer.state)
    # a message in another language: what the role may do at all tells the two apart
    may = reach.may(COMMAND_OF[question.form])
    return Outcome(Kind.POLICY if may else Kind.GRANT, answer.message, answer.state)
