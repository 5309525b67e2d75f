"""Mutants: one change to what is installed, the sentence and the place that tell it, and whom it can concern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from mcp_rls.catalog import TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import Command
from mcp_rls.diagnostics import Span
from mcp_rls.harness.mutation.standing import Standing


class Kind(Enum):
    """What was done; a report counts by these, in this order."""

    POLICY_DROPPED = "policy dropped"
    USING_TRUE = "USING true"
    CHECK_TRUE = "WITH CHECK true"
    CHECK_LEFT_OUT = "WITH CHECK left out"
    PERMISSIVE = "permissive instead of restrictive"
    ROLE_LEFT_OUT = "role left out"
    TO_PUBLIC = "TO PUBLIC"
    EXTRA_POLICY = "extra permissive policy"
    SECURITY_OFF = "row security off"
    FORCE_OFF = "FORCE off"
    GUARD_DROPPED = "guard of columns dropped"
    COLUMN_ADDED = "one column more may be set"
    CONDITION_DROPPED = "condition dropped"
    ATOM_DROPPED = "part of a condition dropped"
    ATOM_NEGATED = "part of a condition negated"
    AND_OR = "AND and OR exchanged"
    COMPARISON = "comparison weakened"
    LIST_LONGER = "list with one value more"
    LIST_SHORTER = "list with one value less"
    VALUE_SWAPPED = "another claim or set"
    SELECT_LEFT_OUT = "write without the SELECT ceiling"
    RULE_DROPPED = "rule dropped for a class"
    CLASS_ADDED = "rule given to another class"
    CLASSES_SWAPPED = "classes exchanged"
    SCOPE_DROPPED = "scope not asked for"
    SCOPE_SWAPPED = "another scope asked for"
    IMPLICATION = "scope implies more or less"
    SCOPE_TEXT = "scope matched as part of a text"
    SCOPE_SOURCE = "scopes of the token or consent not asked for"
    EVERY_CLIENT = "class given to every client"
    PREFIX = "URL prefix matched loosely"
    MALFORMED = "malformed client taken for none"
    CONSENT = "consent not asked for"
    CONSENT_OF_OTHERS = "consent of another counts"
    WHERE_DROPPED = "registry or consent: where not asked for"
    SET_WIDER = "set with more values"

    def __str__(self) -> str:
        return self.value


def everybody(_: Standing) -> bool:
    return True


def clients(standing: Standing) -> bool:
    """Ceilings are true for a direct session."""
    return standing.kind != "direct"


@dataclass(frozen=True)
class Concern:
    """Whom and what a mutant can concern; whatever is outside stays as it was, and need not be tried.

    `tables`: whose rows it decides about, None for all. `command`: where it shows first. `tokens`: which tokens can
    meet a difference, by how they stand in the original. `recognition`: a token that stands as before meets none.
    `conditions`: what it is about, for rows that could tell.
    """

    tables: frozenset[TableName] | None = None
    command: Command | None = None
    tokens: Callable[[Standing], bool] = field(default=everybody, compare=False)
    recognition: bool = False
    conditions: tuple[e.Expr, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """One wrong database: `statements` make it of the right one. `equivalent`: why nobody could tell, or ''."""

    kind: Kind
    sentence: str
    span: Span
    statements: tuple[str, ...] = field(repr=False)
    concern: Concern = field(default=Concern(), repr=False)
    equivalent: str = ""
    number: int = 0
