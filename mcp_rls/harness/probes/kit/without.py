"""Whether an answer depends on a hidden row: the same question with the row there, and with the row gone.

This finds what any comparison of values would, and counts, sums and yes-or-no answers too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mcp_rls import sql
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.probes.kit.bench import Bench, Sight
from mcp_rls.harness.probes.kit.verdict import Found, Verdict
from mcp_rls.harness.session import CannotTest, one_line
from mcp_rls.harness.stage import Attempt

Ask = Callable[..., Attempt]  # Bench.act, or one of the controls
Own = Iterable[tuple[Key, Sequence[str]]]
_MOST = 3  # hidden rows of a table that are taken away, one at a time
_FAILED = "error"


@dataclass(frozen=True)
class Change:
    """What an answer has only while the row is there. `trouble`: why it can't be compared."""

    lines: tuple[str, ...] = ()
    differs: bool = False
    trouble: str = ""


def changed(
    bench: Bench, ask: Ask, question: Sequence[str], sight: Sight, key: Key, refresh: Sequence[str] = ()
) -> Change:
    """What the answer to `question` loses when the row is gone. `refresh` follows every change, as the login role."""
    there = _steady(bench, ask, question, refresh)
    if there is None:
        return Change(trouble="its answer is another each time")
    after = _answer(ask(question, plant=(*without(bench, sight, key), *refresh)))
    if any(f"{_FAILED} 57014" in answer for answer in (there, after)):
        return Change(trouble="it didn't answer in time")
    return Change(tuple((there - after).elements()), there != after)


def _steady(bench: Bench, ask: Ask, question: Sequence[str], refresh: Sequence[str]) -> Counter[str] | None:
    """The answer with every row there, or None when a second one differs."""
    mark = (ask, *question)
    if mark not in bench.kept:
        first, second = (_answer(ask(question, plant=refresh)) for _ in range(2))
        bench.kept[mark] = first if first == second else None
    known: Counter[str] | None = bench.kept[mark]
    return known


def removable(bench: Bench, sight: Sight) -> Iterator[tuple[Key, bool | None]]:
    """Hidden rows, with whether taking one away leaves all that the token is shown as it is; None when it can't be.

    A row that decides what the token may see (a consent, a membership) changes answers rightly.
    """
    for key in sight.hidden[:_MOST]:
        mark = ("neutral", sight.name, key)
        if mark not in bench.kept:
            bench.kept[mark] = _neutral(bench, sight, key)
        neutral: bool | None = bench.kept[mark]
        yield key, neutral


def _neutral(bench: Bench, sight: Sight, key: Key) -> bool | None:
    """Whether nothing else goes with the row; None when it can't be taken away."""
    question = [_shown(bench)]
    if "shown" not in bench.kept:
        bench.kept["shown"] = _answer(bench.act(question))
    try:
        return bool(_answer(bench.act(question, plant=without(bench, sight, key))) == bench.kept["shown"])
    except CannotTest:
        return None


def _shown(bench: Bench) -> str:
    """A query of all that the token is shown of covered tables."""
    parts = ["select '', ''"]
    for sight in bench.sights:
        columns = [sql.ident(c.name) for c in sight.table.columns if c.name in sight.reach.select]
        if columns:
            row = f"row({', '.join(columns)})::text"
            parts.append(f"select {sql.literal(str(sight.name))}, {row} from {sql.table(sight.name)}")
    return " union all ".join(parts)


def without(bench: Bench, sight: Sight, key: Key) -> tuple[str, ...]:
    """Deletes the row and nothing else: no trigger fires, and no reference is followed, where we may say so."""
    delete = rows.delete(sight.table, f" where {rows.by_key(sight.table, key)}")
    if not bench.stage.superuser:
        return (delete,)
    return ("set local session_replication_role = replica", delete, "set local session_replication_role = origin")


def alone(bench: Bench, sight: Sight) -> tuple[str, ...]:
    """Takes away all that refers to the table's rows, so that nothing but policies stops a DELETE."""
    children = {r.table for r in bench.facts.references if r.target == sight.name and r.table != sight.name}
    if not children or not bench.stage.superuser:
        return ()
    gone = (f"delete from {sql.table(name)}" for name in sorted(children))
    return ("set local session_replication_role = replica", *gone, "set local session_replication_role = origin")


def _answer(attempt: Attempt) -> Counter[str]:
    """The rows as text, each as often as it came; an error is an answer too."""
    if attempt.error is not None:
        return Counter([f"{_FAILED} {attempt.error.sqlstate}", one_line(attempt.error)])
    return Counter("\t".join(map(str, row)) for row in attempt.rows)


class Comparison:
    """Answers of one object, compared for one hidden row after another.

    `refresh` follows every change, as the login role. `bound`: row security binds what answers, so an answer that
    follows what the token may see is no doubt.
    """

    def __init__(self, bench: Bench, object_: str, remedy: str, refresh: Sequence[str] = (), *, bound: bool = False):
        self._bench, self._object, self._remedy = bench, object_, remedy
        self._refresh, self._bound = refresh, bound
        self._troubles: list[str] = []
        self._doubts: list[str] = []
        self._held: list[str] = []
        self._asked = False

    def ask(self, sight: Sight, key: Key, neutral: bool | None, question: Sequence[str], own: Own = ()) -> Found | None:
        """LEAKS, when the answer tells of the row; `own` are rows and questions that the token may be told by."""
        self._asked, row = True, sight.row(key)
        change = self._changed(self._bench.act, question, sight, key)
        if neutral is None or change.trouble:
            self._troubles.append(change.trouble or f"{row} can't be taken away to see what changes without it")
        elif change.differs and neutral:
            words = f"{_verb(change, key)} {row}, which is hidden"
            return Found(self._object, Verdict.LEAKS, words, row, self._remedy)
        elif change.differs and not self._bound:
            self._doubts.append(f"its answer depends on {row}, which also decides what the token may see")
        elif neutral and self._control_tells(sight, key, question, own):
            self._held.append(row)
        return None

    @property
    def stuck(self) -> bool:
        """Whether something went wrong, which no further question makes up for."""
        return bool(self._troubles)

    def verdict(self) -> Found | None:
        """What it came to where nothing was told; None when nothing was asked."""
        grave = self._troubles or ([] if self._held else self._doubts)
        if grave:
            return Found(self._object, Verdict.UNDECIDED, grave[0], remedy=self._remedy)
        if self._held:
            return Found(self._object, Verdict.HOLDS, "its answer is the same without the hidden row", self._held[0])
        words = "nobody is told of any row by it, so its silence proves nothing: add a fixture that it shows"
        found = Found(self._object, Verdict.UNDECIDED, words, remedy=self._remedy, vain=True)
        return found if self._asked else None

    def _control_tells(self, sight: Sight, key: Key, question: Sequence[str], own: Own) -> bool:
        """Whether the login role is told of the row, or the token of one that it is shown anyway."""
        bench = self._bench
        if self._changed(bench.control, question, sight, key).differs:
            return True
        return any(self._changed(bench.allowed, asked, sight, seen).differs for seen, asked in own)

    def _changed(self, ask: Ask, question: Sequence[str], sight: Sight, key: Key) -> Change:
        return changed(self._bench, ask, question, sight, key, self._refresh)


def judge(bench: Bench, compared: Comparison, question: Sequence[str], sights: Iterable[Sight]) -> Found | None:
    """Whether the answer to one question tells the token of hidden rows of these tables."""
    for sight in sights:
        own = [(key, question) for key in sight.seen[:_MOST]]
        for key, neutral in removable(bench, sight):
            told = compared.ask(sight, key, neutral, question, own)
            if told is not None or compared.stuck:
                return told or compared.verdict()
    return compared.verdict()


def _verb(change: Change, key: Key) -> str:
    """'shows' when a line of the answer that went with the row has its key, else 'depends on'."""
    shown = any(set(key) <= set(line.split("\t")) for line in change.lines)
    return "shows" if shown else "its answer depends on"
