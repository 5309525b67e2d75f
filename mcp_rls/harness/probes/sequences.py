"""Findings on sequences: they count for everybody, so that a number tells how many others were given out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.probes.kit.bench import Bench
from mcp_rls.harness.probes.kit.facts import Sequence
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.probes.kit.writable import inserts
from mcp_rls.harness.session import CannotTest
from mcp_rls.harness.stage import Attempt

TITLE = "sequences"
NOTHING = "no sequence belongs to a covered table or schema"
_START = 30_000  # away from the keys of the rows that are there, and small enough for any type
_LEARNT = "its numbers go on where others left off: it learns how many were given out since"
_REMEDY = "use uuid keys, and revoke all on the sequence from the tokens' roles"


def probe(bench: Bench) -> Iterator[Found]:
    covered = {table.name for table in bench.stage.covered}
    for sequence in bench.facts.sequences:
        if sequence.table in covered or sequence.name.schema in bench.stage.policies.schemas:
            try:
                yield _found(bench, sequence)
            except CannotTest as problem:
                yield Found(str(sequence), Verdict.UNDECIDED, str(problem), remedy=_REMEDY)


def _found(bench: Bench, sequence: Sequence) -> Found:
    name = str(sequence)
    told, tells = _by_role(bench, sequence)
    if told or any(_differs(bench.act, question, sequence) for question in _inserted(bench, sequence)):
        return Found(name, Verdict.KNOWN_LIMIT, _LEARNT, remedy=_REMEDY)
    if not tells:
        return Found(name, Verdict.UNDECIDED, "not even past row security do its numbers tell", vain=True)
    return Found(name, Verdict.HOLDS, "its numbers are refused, and no key that it counts is shown")


def _by_role(bench: Bench, sequence: Sequence) -> tuple[bool, bool]:
    """Whether the numbers are told to the role, whoever arrives as it; and to the login role."""
    mark = (sequence, bench.role)
    if mark not in bench.lasting:
        asked = [
            any(_differs(ask, question, sequence) for question in _questions(sequence))
            for ask in (bench.act, bench.control)
        ]
        bench.lasting[mark] = tuple(asked)
    told, tells = bench.lasting[mark]
    return told, tells


def _differs(ask: Callable[..., Attempt], question: str, sequence: Sequence) -> bool:
    """Whether the answer is another after a number was given to somebody else.

    Started anew, a sequence is one of this transaction, so that all of it is undone with the savepoint.
    """
    quiet = [f"alter sequence {sql.table(sequence.name)} restart with {_START}", f"select nextval({_name(sequence)})"]
    first, second = ask([question], plant=quiet), ask([question], plant=[*quiet, quiet[-1]])
    return first.error is None and second.error is None and first.rows != second.rows


def _questions(sequence: Sequence) -> Iterator[str]:
    yield f"select last_value, is_called from {sql.table(sequence.name)}"
    yield f"select pg_sequence_last_value({_name(sequence)})"
    yield f"select nextval({_name(sequence)})"


def _inserted(bench: Bench, sequence: Sequence) -> Iterator[str]:
    """A row that the token may insert, and the number that it is given."""
    sight = bench.sight(sequence.table) if sequence.table is not None else None
    if sight is not None:
        for row in inserts(bench, sight)[:1]:
            given = {name: value for name, value in row.items() if name != sequence.column}
            yield f"{rows.insert(sight.table, given)} returning {sql.ident(sequence.column)}"


def _name(sequence: Sequence) -> str:
    return f"{sql.literal(sql.table(sequence.name))}::regclass"
