"""What the rows of a database say about clients: who is registered, and what people consented to. Read past row
security, with the conditions in their author's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_rls import sql
from mcp_rls.compiler.model import ClientClass, Condition, PolicySet
from mcp_rls.harness.matrix.language import Binding, spelled
from mcp_rls.harness.matrix.probe import Probe
from mcp_rls.harness.session import CannotTest


class RowsLife:
    """A `Life` from the rows that are there now; `forget` when they change."""

    Ask = Callable[[str], Any]  # the one value of a query past row security

    def __init__(self, ask: Ask, policies: PolicySet) -> None:
        self._ask = ask
        self._policies = policies
        self._known: dict[str, Any] = {}

    def forget(self) -> None:
        self._known.clear()

    def registered(self, client_class: ClientClass, binding: Binding) -> bool | None:
        """Whether the client is live by the registry of the class; None: it isn't listed there."""
        registry = client_class.registry
        assert registry is not None, "only a class with a registry has registrations"
        mine = f"{sql.ident(registry.id)}::text = {sql.literal(binding.client or '')}"
        live = self._condition(registry.where, binding)
        found = self._asked(f"select to_jsonb(bool_or({live})) from {sql.table(registry.table)} where {mine}")
        return found if found is None else bool(found)

    def consented(self, binding: Binding) -> frozenset[str] | None:
        """The scope words of the person's live consents to the client; None: there is no live one."""
        consent = self._policies.consent
        assert consent is not None, "a class that requires consent has a table of consents"
        words = f"to_jsonb({sql.ident(consent.scopes)})" if consent.scopes else "'null'::jsonb"
        mine = [
            f"{sql.ident(consent.person)}::text = {sql.literal(binding.person or '')}",
            f"{sql.ident(consent.client)}::text = {sql.literal(binding.client or '')}",
            self._condition(consent.where, binding),
        ]
        found = self._asked(f"select jsonb_agg({words}) from {sql.table(consent.table)} where {' and '.join(mine)}")
        return None if found is None else frozenset(word for value in found for word in _words(value))

    def _condition(self, condition: Condition | None, binding: Binding) -> str:
        return f"(({spelled(self._policies, condition.text, binding)}) is true)" if condition is not None else "true"

    def _asked(self, query: str) -> Any:
        if query not in self._known:
            self._known[query] = self._ask(query)
        return self._known[query]


def by_probe(probe: Probe) -> RowsLife.Ask:
    """Asks in the way of everything that a matrix asks. What it returns raises CannotTest."""

    def ask(query: str) -> Any:
        (answer,) = probe.look([query])
        if answer.failed:
            raise CannotTest(f"registrations and consents can't be read: {answer.message}")
        return answer.found

    return ask


def _words(value: Any) -> list[str]:
    """The words of a scopes column: a text of words, or an array of them."""
    if isinstance(value, str):
        return [word for word in value.split(" ") if word]
    return [word for word in value or () if isinstance(word, str) and word]
