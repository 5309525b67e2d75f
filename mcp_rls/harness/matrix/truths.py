"""Which conditions hold of which rows: evaluated by PostgreSQL as plain expressions, past row security.

Of a row that isn't there yet, the statement that makes it is rehearsed, so that defaults and triggers have their say;
where a constraint forbids it, the row is put together from constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mcp_rls import sql
from mcp_rls.catalog import Table
from mcp_rls.harness import rows
from mcp_rls.harness.matrix.field import Copy, Field, Move, Subject, identity
from mcp_rls.harness.matrix.probe import Answer, Probe, Try

_CLASHES = ("23505", "23503")  # with other rows: the row itself could be

Says = Mapping[str, bool | None]  # text -> whether it is true; None: it can't be evaluated


class Truths:
    """Conditions of one table, remembered. `impossible`: why the table takes some copies and moves from nobody."""

    def __init__(self, probe: Probe, field: Field) -> None:
        self._probe = probe
        self.field = field
        self._known: dict[Subject, dict[str, bool | None]] = {}
        self.impossible: dict[Subject, str] = {}

    def holds(self, subject: Subject, text: str) -> bool | None:
        """Whether the condition is true of the row, copy or moved row; None where nobody can say."""
        return True if text == "true" else self._known.get(plain(subject), {}).get(text)

    def is_possible(self, subject: Subject) -> bool:
        """Whether the table would take such a row from anybody."""
        return plain(subject) not in self.impossible

    def sides(self, text: str, among: Iterable[Subject]) -> frozenset[bool]:
        """Which answers the condition gives for these rows."""
        found = (self.holds(subject, text) for subject in among)
        return frozenset(answer for answer in found if answer is not None)

    def everything(self) -> Iterator[Subject]:
        """All rows, copies and moved rows of which something is known."""
        yield from self._known

    # --- learning ---

    def of_rows(self, texts: Iterable[str]) -> None:
        """Evaluates conditions on all rows that are there."""
        wanted = self._unknown(self.field.keys[:1], texts)
        if not wanted or not self.field.there:
            return
        name = sql.table(self.field.table.name)
        query = f"select jsonb_agg(jsonb_build_array({identity(self.field.table)}, {{}})) from {name} t"
        (answer,) = self._probe.look([query.format(_vector(wanted))])
        if answer.failed:  # one of them is to blame: each is asked alone
            alone = self._probe.look([query.format(_vector([text])) for text in wanted])
            for text, one in zip(wanted, alone, strict=True):
                self._learn([text], one)
        else:
            self._learn(wanted, answer)

    def _learn(self, texts: Sequence[str], answer: Answer) -> None:
        if answer.failed:
            for key in self.field.keys:
                self._known.setdefault(key, {}).update(dict.fromkeys(texts, None))
        for place, says in answer.found or ():
            found = tuple(place) if self.field.table.primary_key else self.field.key_at(place[0])
            self._known.setdefault(found, {}).update(zip(texts, says, strict=True))

    def of_new(self, claims: str, made: Mapping[Subject, Try], texts: Iterable[str]) -> None:
        """Evaluates conditions on rows that statements make: of copies and moves."""
        wanted = {subject: self._unknown([subject], texts) for subject in made if subject not in self.impossible}
        asked = [(subject, some) for subject, some in wanted.items() if some or subject not in self._known]
        tries = [self._looked_at(made[subject], some) for subject, some in asked]
        for (subject, some), answer in zip(asked, self._probe.rehearse(claims, tries), strict=True):
            if answer.state in _CLASHES:
                answer = self._constants(subject, some)  # noqa: PLW2901
            if answer.failed or answer.found is None:
                self.impossible[subject] = answer.message or "nothing came of it"
            else:
                self._known.setdefault(subject, {}).update(zip(some, answer.found, strict=True))

    def _looked_at(self, made: Try, texts: Sequence[str]) -> Try:
        where = f"where {self.field.unknown()} limit 1"
        look = f"select to_jsonb({_vector(texts)}) from {sql.table(self.field.table.name)} {where}"
        return Try(made.statement, look, made.target)

    def _constants(self, subject: Subject, texts: Sequence[str]) -> Answer:
        """The conditions on a row of constants."""
        assert isinstance(subject, Copy | Move), "only a row that is yet to be can clash with another"
        data = _data(self.field, subject)
        columns = ", ".join(
            f"{_typed(self.field.table, name, text)} as {sql.ident(name)}" for name, text in data.items()
        )
        name = sql.ident(self.field.table.name.name)
        (answer,) = self._probe.look([f"select to_jsonb({_vector(texts)}) from (select {columns}) {name}"])
        return answer

    def _unknown(self, subjects: Sequence[Subject], texts: Iterable[str]) -> list[str]:
        known = self._known.get(subjects[0], {}) if subjects else {}
        return [text for text in dict.fromkeys(texts) if text != "true" and text not in known]


def plain(subject: Subject) -> Subject:
    """A move makes the same row whether or not its statement has a WHERE."""
    return replace(subject, blind=False) if isinstance(subject, Move) else subject


def _vector(texts: Sequence[str]) -> str:
    """An array that says of each condition whether it is true."""
    return f"array[{', '.join(f'(({text}) is true)' for text in texts)}]::boolean[]"


def _data(field: Field, subject: Copy | Move) -> dict[str, str]:
    """The columns of a row that is yet to be, as constants."""
    source = subject.source if isinstance(subject, Copy) else subject.key
    stored = rows.stored_literals(field.there[source].data, [c.name for c in field.table.columns])
    if isinstance(subject, Copy):
        return {**stored, **dict(subject.values)}
    return {**stored, subject.column: "null" if subject.value is None else sql.literal(subject.value)}


def _typed(table: Table, column: str, text: str) -> str:
    return f"({text})::{rows.column(table, column).type}"
