"""Which checks can notice a mutant, those that are likely to first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import COMMANDS, Command
from mcp_rls.harness.mutation.mutant import Concern, Kind, Mutant
from mcp_rls.harness.mutation.readers import readers
from mcp_rls.harness.mutation.standing import Standing
from mcp_rls.harness.run import Runner
from mcp_rls.harness.suite import Case


@dataclass(frozen=True)
class Try:
    """One check of the suite: a case, or the cell that no case frees."""

    token: str
    table: TableName
    command: Command
    case: Case | None = None

    @property
    def price(self) -> int:
        """How many statements it takes, roughly."""
        if self.command == "select":
            return 0
        return 1 if self.case is not None else {"delete": 2, "update": 2}.get(self.command, 3)


class Order:
    """All tries of a suite. `noticed` remembers who noticed what, for the next of that kind."""

    def __init__(self, runner: Runner, standings: Mapping[str, Standing]) -> None:
        self.standings = standings
        self.readers = readers(runner.stage.catalog, runner.stage.covered)
        self.triggers = any(table.triggers for table in runner.stage.covered)
        self.tries = {name: list(_tries(runner, name)) for name in runner.suite.tokens}
        self._noticed: Counter[tuple[Kind, str]] = Counter()

    def noticed(self, mutant: Mutant, token: str) -> None:
        self._noticed[mutant.kind, token] += 1

    def tokens(self, mutant: Mutant) -> list[str]:
        """The tokens that can meet a difference."""
        able = [name for name, known in self.standings.items() if mutant.concern.tokens(known)]
        return sorted(able, key=lambda name: -self._noticed[mutant.kind, name])

    def of_mutant(self, mutant: Mutant) -> Iterator[Try]:
        """Every check that can notice the mutant; of one that changes who is recognised, token by token."""
        tokens, concern = self.tokens(mutant), mutant.concern
        if concern.recognition:
            for token in tokens:
                yield from sorted(self.tries[token], key=lambda one: one.price)
            return
        rank = {token: number for number, token in enumerate(tokens)}
        found = [(d, one) for t in tokens for one in self.tries[t] if (d := self.distance(concern, one)) is not None]
        for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].price, rank[pair[1].token])):
            yield one

    def distance(self, concern: Concern, one: Try) -> int | None:
        """0: the table and the command that it is about; None: out of its reach.

        What is seen of a table may decide about others and about writes; a policy for a write about that write alone,
        but for triggers that write.
        """
        if concern.tables is None or one.table in concern.tables:
            near = concern.command in (None, one.command)
            return 0 if near else 1 if concern.command == "select" or self.triggers else None
        if concern.command not in (None, "select") and not self.triggers:
            return None
        return 2 if any(one.table in self.readers.get(table, ()) for table in concern.tables) else None


def _tries(runner: Runner, token: str) -> Iterator[Try]:
    spec = runner.suite.tokens[token]
    cases = [case for case in runner.suite.cases if case.token == token]
    yield from (Try(token, case.table, case.command, case) for case in cases)
    if spec in runner.client_tokens():
        listed = {case.table for case in cases if case.command == "select"}
        for table in runner.stage.covered:
            for command in COMMANDS:
                if command != "select" or table.name not in listed:
                    yield Try(token, table.name, command)
