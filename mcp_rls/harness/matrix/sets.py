"""The values of named sets for a token, as they are before its statement: what the statement makes is no member yet."""

from __future__ import annotations

from mcp_rls import sql
from mcp_rls.compiler.model import PolicySet
from mcp_rls.harness.matrix.language import Binding, members
from mcp_rls.harness.matrix.probe import Probe


class Sets:
    """Named sets as constants, each asked for once."""

    def __init__(self, probe: Probe, policies: PolicySet) -> None:
        self._probe = probe
        self._policies = policies
        self._known: dict[tuple[str, Binding], str] = {}

    def __call__(self, name: str, binding: Binding) -> str:
        """A sub-select of the set's members; where they can't be had, the set's own query."""
        if (name, binding) not in self._known:
            query = members(self._policies, name, binding)
            (answer,) = self._probe.look([f"select to_jsonb(array(select m.v::text from {query} m(v)))"])
            self._known[name, binding] = query if answer.failed else self._constants(name, answer.found)
        return self._known[name, binding]

    def _constants(self, name: str, found: list[str]) -> str:
        listed = ", ".join(map(sql.literal, found))
        return f"(select m.v::{self._policies.sets[name].type} from unnest(array[{listed}]::text[]) m(v))"
