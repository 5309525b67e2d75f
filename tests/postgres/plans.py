"""Plans as PostgreSQL tells them, read for what policies do in them; and the templates as stages to ask for them on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mcp_rls.catalog import Table
from mcp_rls.compiler.policy import read_policies
from mcp_rls.database.apply import install
from mcp_rls.database.introspect import read_catalog
from mcp_rls.harness.run import Runner, open_runner
from mcp_rls.harness.suite import load_suite
from mcp_rls.resources import bundled
from tests.postgres.scratch import Scratch
from tests.postgres.test_class_roles import for_everybody

WAYS = {"shared roles": "", "class roles": "class_roles", "resolved": "resolved"}
TEMPLATES = sorted(path.parent.name for path in bundled("policy_templates").glob("*/policies.yaml"))
# Keys that stand in the way of rows that are written several times, or of their being deleted.
_NO_KEYS = """
do $$ declare found record; begin
  for found in select conname as name, conrelid::regclass as relation from pg_constraint
    where contype in ('f', 'p', 'u') and connamespace = 'public'::regnamespace order by contype = 'f' desc
  loop execute format('alter table %s drop constraint %I', found.relation, found.name); end loop;
end $$
"""


@dataclass(frozen=True)
class SubPlan:
    """A part of a plan that a policy, or the query, has as a sub-select. `text`: what it gives."""

    name: str
    text: str
    loops: int

    @property
    def ours(self) -> bool:
        return "mcp_rls." in self.text


@dataclass(frozen=True)
class Read:
    """`per_row`: conditions that are evaluated for each row, or each look into an index."""

    subplans: tuple[SubPlan, ...]
    per_row: tuple[str, ...]
    indexes: frozenset[str]

    @property
    def ours(self) -> tuple[SubPlan, ...]:
        return tuple(s for s in self.subplans if s.ours)


def read(answer: list[Any]) -> Read:
    """What an EXPLAIN (FORMAT JSON) says."""
    ((found,),) = answer
    ((root),) = json.loads(found) if isinstance(found, str) else found
    subplans: list[SubPlan] = []
    per_row: list[str] = []
    indexes: set[str] = set()
    for node, inside in _nodes(root["Plan"], inside=False):
        if "Subplan Name" in node and not node["Subplan Name"].startswith("CTE"):
            text = " ".join([*node.get("Output", []), node.get("Function Call", "")])
            subplans.append(SubPlan(node["Subplan Name"], text, node.get("Actual Loops", 0)))
        if "Index Name" in node:
            indexes.add(node["Index Name"])
        said = [str(node[key]) for key in node if key.endswith(("Cond", "Filter")) or (key == "Output" and not inside)]
        per_row += said
    return Read(tuple(subplans), tuple(per_row), frozenset(indexes))


def _nodes(node: dict[str, Any], *, inside: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    inside = inside or node.get("Parent Relationship") == "InitPlan"
    yield node, inside
    for child in node.get("Plans", []):
        yield from _nodes(child, inside=inside)


@contextmanager
def template(name: str, scratch: Scratch, fill: str = "", way: str = "", *, keys: bool = True) -> Iterator[Runner]:
    """Yields a runner on a template's database with its fixtures, and further rows that `fill` makes.

    `way`: a key that is true in the policy file. With class_roles the app's policies are for everybody.
    """
    folder = bundled("policy_templates") / name
    text, schema = ((folder / file).read_text(encoding="utf-8") for file in ("policies.yaml", "schema.sql"))
    if way:
        text = re.sub(r"^roles: ", f"{way}: true\nroles: ", text, flags=re.MULTILINE)
    if way == "class_roles":
        schema = for_everybody(schema)
    policies, _ = read_policies("policies.yaml", text)
    assert policies is not None
    assert (bool(policies.class_roles), policies.resolved) == (way == "class_roles", way == "resolved")
    suite, _ = load_suite(folder / "cases.yaml", policies)
    assert suite is not None
    scratch.run(schema)
    install(scratch.connection, policies)
    catalog = read_catalog(scratch.connection)
    scratch.run(fill + ("" if keys else _NO_KEYS) + ("; analyze" if fill else ""))
    with open_runner(scratch.connection, policies, suite, catalog) as runner:
        yield runner


def writable(table: Table) -> str:
    """A column that a token may set."""
    return next(c.name for c in table.columns if not c.generated and c.name not in table.primary_key)
