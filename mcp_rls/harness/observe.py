"""What one statement came to: five outcomes, told apart by SQLSTATE and by the function that raised it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import psycopg

from mcp_rls.catalog import Table
from mcp_rls.compiler.model import Command
from mcp_rls.harness.session import one_line
from mcp_rls.state import PREFIX

Key = tuple[str, ...]  # the primary key as PostgreSQL prints it; without one, table and place of the row


class Outcome(Enum):
    """ALLOWED: a row was seen or changed. HIDDEN: no error and no row. ERRORED: anything that isn't a refusal."""

    ALLOWED = "allowed"
    HIDDEN = "hidden"
    REFUSED_BY_POLICY = "refused by policy"
    REFUSED_BY_GRANT = "refused by a missing grant"
    ERRORED = "error"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Observation:
    """One statement as a token, judged by a look past row security where it writes."""

    command: Command
    outcome: Outcome
    keys: tuple[Key, ...] = ()  # rows seen, changed or inserted
    found: int | None = None  # rows that the look found for the statement's WHERE; in the table, without one
    statement: str = ""
    sqlstate: str = ""
    error: str = ""  # PostgreSQL's message
    constraint: str = ""  # the constraint that stopped the statement
    early: bool = False  # that was before all policies were asked, for all one can tell
    policy: str = ""  # the policy that PostgreSQL named

    @property
    def allowed(self) -> bool:
        return self.outcome is Outcome.ALLOWED

    @property
    def hidden(self) -> bool:
        return self.outcome is Outcome.HIDDEN

    @property
    def refused_by_policy(self) -> bool:
        return self.outcome is Outcome.REFUSED_BY_POLICY

    @property
    def refused_by_grant(self) -> bool:
        return self.outcome is Outcome.REFUSED_BY_GRANT

    @property
    def errored(self) -> bool:
        return self.outcome is Outcome.ERRORED

    @property
    def denied(self) -> bool:
        """Nothing was seen or changed, and row security or a missing grant is the reason."""
        return self.outcome not in (Outcome.ALLOWED, Outcome.ERRORED)

    @property
    def admitted(self) -> bool:
        """The policies let it through, whether or not a constraint stopped it then."""
        return self.allowed or (bool(self.constraint) and not self.early)

    def __str__(self) -> str:
        """'refused by policy "mcp_rls: tickets insert"'."""
        if self.constraint:
            when = "before the policies were asked" if self.early else "after the policies"
            return f'stopped by the constraint "{self.constraint}" ({self.sqlstate}), {when}'
        if self.policy:
            return f'{self.outcome} "{self.policy}"'
        if self.error:
            return f"{self.outcome}: {self.error} ({self.sqlstate})"
        return str(self.outcome)


# PostgreSQL raises each of the two kinds of refusal in one place (executor/execMain.c, catalog/aclchk.c).
_BY_POLICY = "ExecWithCheckOptions"
_BY_GRANT = ("aclcheck_error", "aclcheck_error_col", "aclcheck_error_type")
# PostgreSQL asks the policies about a new row before it checks constraints, except to find the row's partition; and a
# trigger or a function may raise the SQLSTATE of a constraint at any time.
_EARLY = ("ExecFindPartition", "exec_stmt_raise")
_POLICY = re.compile(
    r'row-level security policy (?:"(?P<policy>.*)" )?(?:\(USING expression\) )?for table "(?P<table>.*)"'
)
_PERMISSION = re.compile(r"permission denied for (?P<kind>\w+) (?P<name>.*)")


def of_error(command: Command, statement: str, error: psycopg.Error, table: Table) -> Observation:
    """The observation of a statement that ended in `error`."""
    state, message = error.sqlstate or "", one_line(error)
    outcome, policy, constraint = Outcome.ERRORED, "", ""
    if state == "42501":
        outcome, policy = _guarded(error, table) or _refusal(error.diag.source_function, message, table)
    elif state.startswith("23"):
        constraint = error.diag.constraint_name or error.diag.column_name or "not null"
    return Observation(
        command,
        outcome,
        statement=statement,
        sqlstate=state,
        error=message,
        constraint=constraint,
        early=error.diag.source_function in _EARLY,
        policy=policy,
    )


def _guarded(error: psycopg.Error, table: Table) -> tuple[Outcome, str] | None:
    """The refusal by a trigger of ours that guards columns of this table: it gives its own name as a constraint's."""
    name, mine = error.diag.constraint_name or "", {table.name.name, *(parent.name for parent in table.parents)}
    ours = error.diag.source_function == "exec_stmt_raise" and name.startswith(PREFIX)
    return (Outcome.REFUSED_BY_POLICY, name) if ours and error.diag.table_name in mine else None


def _refusal(function: str | None, message: str, table: Table) -> tuple[Outcome, str]:
    """Who refused: a policy of this table, a missing grant on it, or something else that the statement ran into."""
    if function == _BY_POLICY:
        found = _POLICY.search(message)
        if found and found["table"] not in {table.name.name, *(parent.name for parent in table.parents)}:
            return Outcome.ERRORED, ""  # a trigger of this table wrote to another one
        return Outcome.REFUSED_BY_POLICY, (found["policy"] or "") if found else ""
    if function in _BY_GRANT:
        found = _PERMISSION.fullmatch(message)
        if found and found["kind"] in ("table", "view", "function", "procedure"):
            mine = found["kind"] == "table" and found["name"] == table.name.name
            return (Outcome.REFUSED_BY_GRANT if mine else Outcome.ERRORED), ""
        return Outcome.REFUSED_BY_GRANT, ""  # schema, sequence, column; or a message in another language
    return Outcome.ERRORED, ""  # raised by a function, or row_security = off
