"""Conditions and set queries put to PostgreSQL itself: do operators and types fit? Plans only; reads no row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies
from mcp_rls.diagnostics import Diagnostics, Span


def typecheck(conn: psycopg.Connection[Any], resolved: ResolvedPolicies, diagnostics: Diagnostics) -> None:
    """Adds `type-mismatch` for each condition or set query that PostgreSQL can't plan."""
    # the path is the caller's again when this is rolled back
    with conn.transaction(force_rollback=True):
        conn.execute("set local search_path = pg_catalog")
        for _, group in groupby(_queries(resolved), lambda query: query.table):
            queries = list(group)
            # those of a table are put at once, for the way there and back takes longest; one by one to tell which it is
            if len(queries) > 1 and _refusal(conn, "\nunion all ".join(query.text for query in queries)) is None:
                continue
            for query in queries:
                error = _refusal(conn, query.text)
                if error is not None:
                    message = error.diag.message_primary or str(error)
                    hint = error.diag.message_hint or ""
                    diagnostics.error("type-mismatch", f"PostgreSQL refuses this: {message}", query.span, hint)


def _refusal(conn: psycopg.Connection[Any], query: str) -> psycopg.Error | None:
    """Why PostgreSQL can't plan `query`; no lock that this took stays."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(b"explain " + query.encode(), prepare=False)
    except psycopg.OperationalError:
        raise  # a lock that is not to be had, a lost connection: nothing that the condition is to blame for
    except psycopg.Error as error:
        return error
    return None


@dataclass(frozen=True)
class _Query:
    text: str
    span: Span
    table: TableName | None = None


def _queries(resolved: ResolvedPolicies) -> Iterator[_Query]:
    policies = resolved.policies
    done: set[tuple[TableName, e.Expr]] = set()
    for table in resolved.tables:
        for rule in (*(table.people or ()), *table.clients):
            for condition in (rule.rows, rule.new_row):
                known = _known(resolved, table.table, condition)
                if known and condition not in (e.TRUE, e.FALSE) and (table.table, condition) not in done:
                    done.add((table.table, condition))
                    yield _Query(_where(policies, table.table, condition), rule.span, table.table)
    for name, condition in resolved.where.items():
        registry = policies.classes[name].registry if name in policies.classes else None
        source = registry or policies.consent
        assert source is not None
        if _known(resolved, source.table, condition):
            yield _Query(_where(policies, source.table, condition), source.span, source.table)
    for name, parts in resolved.set_queries.items():
        definition = policies.sets[name]
        query = "".join(p if isinstance(p, str) else e.render(p, _typed_null(policies)) for p in parts)
        # compared, not cast: a cast would take any text for a number, until a row comes along that isn't one
        text = f"select null::{definition.type} = any (array(select s.member from ({query}) s(member)))"
        yield _Query(text, definition.span)


def _known(resolved: ResolvedPolicies, table: TableName, condition: e.Expr) -> bool:
    """Whether the table and the columns of the condition exist; what doesn't was reported already."""
    facts = resolved.catalog.tables.get(table) if resolved.catalog else None
    return facts is not None and e.columns(condition) <= {column.name for column in facts.columns}


def _where(policies: PolicySet, table: TableName, condition: e.Expr) -> str:
    return f"select from {sql.table(table)} where {e.render(condition, _typed_null(policies))}"


def _typed_null(policies: PolicySet) -> Any:
    types = {"person": policies.identity.person.type, "client": "text"}
    types |= {name: claim.type for name, claim in policies.claims.items()}

    def spell(node: e.Token | e.SetValues) -> str:
        if isinstance(node, e.SetValues):
            return f"null::{policies.sets[node.name].type}[]"
        return f"null::{types.get(node.name, 'text')}"

    return spell
