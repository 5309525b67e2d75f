"""Conditions and set queries put to PostgreSQL itself: do operators and types fit? Plans only; reads no row."""

from __future__ import annotations

from collections.abc import Iterator
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
    for query, span in _queries(resolved):
        try:
            with conn.transaction():
                conn.execute("set local search_path = pg_catalog")
                conn.execute(b"explain " + query.encode(), prepare=False)
                # the path is the caller's again when this savepoint is rolled back
                raise psycopg.Rollback
        except psycopg.OperationalError:
            raise  # a lock that is not to be had, a lost connection: nothing that the condition is to blame for
        except psycopg.Error as error:
            message = error.diag.message_primary or str(error)
            hint = error.diag.message_hint or ""
            diagnostics.error("type-mismatch", f"PostgreSQL refuses this: {message}", span, hint)


def _queries(resolved: ResolvedPolicies) -> Iterator[tuple[str, Span]]:
    policies = resolved.policies
    done: set[tuple[TableName, e.Expr]] = set()
    for table in resolved.tables:
        for rule in (*(table.people or ()), *table.clients):
            for condition in (rule.rows, rule.new_row):
                known = _known(resolved, table.table, condition)
                if known and condition not in (e.TRUE, e.FALSE) and (table.table, condition) not in done:
                    done.add((table.table, condition))
                    yield _where(policies, table.table, condition), rule.span
    for name, condition in resolved.where.items():
        registry = policies.classes[name].registry if name in policies.classes else None
        source = registry or policies.consent
        assert source is not None
        if _known(resolved, source.table, condition):
            yield _where(policies, source.table, condition), source.span
    for name, parts in resolved.set_queries.items():
        definition = policies.sets[name]
        query = "".join(p if isinstance(p, str) else e.render(p, _typed_null(policies)) for p in parts)
        # compared, not cast: a cast would take any text for a number, until a row comes along that isn't one
        yield f"select null::{definition.type} = any (array(select s.member from ({query}) s(member)))", definition.span


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
