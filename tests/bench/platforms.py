"""What is compared with what: policy files as text, and beside each the conditions that one would write by hand.

A platform is a way for a session to carry its token, or for rules to be written; one record adds another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.data import LARGEST_AMOUNT, OWNED, OWNER, REFERENCE, STATUSES, USER, Owned

Own = dict[str, str]  # table -> the condition written by hand; '' where a policy does the work
UNDER_POLICY: Own = dict.fromkeys(OWNED, "")

_HEAD = f"""
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [{USER}]
identity: {{direct: no_client}}
claims:
  tenant: {{claim: tenant, type: integer}}
  region: {{claim: region, type: text}}
scopes:
  "notes:read": {{text: Read}}
  "notes:write": {{text: Write, implies: ["notes:read"]}}
"""
_CONSENT = """
consent:
  table: public.consents
  columns: {person: person, client: client, scopes: scopes}
  where: "revoked_at is null"
"""
_STATUSES = f"status in ({', '.join(repr(s) for s in STATUSES)})"


@dataclass(frozen=True)
class Platform:
    """`rows` is the condition of the n-th class of clients, '' for none; `role` what a token of that class arrives as.

    `head`: further keys of the policy file. `session`: statements of the session before it takes the role.
    """

    name: str
    words: str
    rows: Callable[[int], str] = lambda _: ""
    role: Callable[[int], str] = lambda _: USER
    people: Callable[[Owned], str] = lambda owned: f"{owned.column} = token.{owned.claim}"
    head: str = ""
    session: tuple[str, ...] = ()
    own_policies: bool = False  # people's rules are the app's own policies, and the reference is those alone
    consent: bool = False
    scopes: bool = True  # rules ask for them
    on_request: bool = False

    def policies(self, rules: int) -> str:
        """The policy file, as YAML: `rules` classes, each with a rule to read and one to write on every table."""
        parts = [_HEAD, self.head, "classes:"]
        consent = ", consent: required" if self.consent else ""
        parts += [f"  c{n}: {{match: {{ids: [{client(n)}]}}{consent}}}" for n in _classes(rules)]
        if self.consent:
            parts.append(_CONSENT)
        parts.append(f"trusted_roles: {{{REFERENCE}: what the ceilings are compared with, {OWNER}: owns the tables}}")
        parts.append("tables:")
        for table in OWNED:
            parts += self._table(table, rules)
        return "\n".join([*parts, "  public.consents: {clients: none}", ""])

    def _table(self, table: str, rules: int) -> list[str]:
        people = f'[{{allow: [select, insert, update, delete], rows: "{self.people(OWNED[table])}"}}]'
        lines = [f"  public.{table}:", f"    people: {'existing' if self.own_policies else people}", "    clients:"]
        for n in _classes(rules):
            rows = f', rows: "{self.rows(n)}"' if self.rows(n) else ""
            read, write = (f', scope: "notes:{word}"' if self.scopes else "" for word in ("read", "write"))
            lines.append(f"      - {{who: c{n}, allow: select{read}{rows}}}")
            lines.append(f"      - {{who: c{n}, allow: [insert, update, delete]{write}{rows}}}")
        return lines

    def by_hand(self, rules: int) -> Own:
        """The reference's conditions, for the last class; none where the app's own policies are the reference."""
        if self.own_policies:
            return UNDER_POLICY
        return {table: self._condition(table, rules) for table in OWNED}

    def _condition(self, table: str, rules: int) -> str:
        parts = [OWNED[table].by_hand, self.rows(rules)]
        return " and ".join(f"{table}.{part}" for part in parts if part)


def client(number: int) -> str:
    """The id of the only client in the class of that number."""
    return f"client-{number:04}"


def _classes(rules: int) -> range:
    return range(1, rules + 1)


_CLASS_ROLES = "class_roles: true"
_RESOLVED = "resolved: true"


def _class_role(number: int) -> str:
    return f"mcp_c{number}"


PLATFORMS = {
    p.name: p
    for p in (
        Platform("raw", "claims as JSON; clients may do what their person may"),
        Platform("resolved", "as raw, claims resolved once a transaction", head=_RESOLVED),
        Platform("existing", "as raw, ceilings over the app's own policies", own_policies=True),
        Platform("consent", "as raw, and a row of consent is needed", consent=True),
        Platform(
            "roles",
            "a database role for each class; conditions name the person",
            role=_class_role,
            head=_CLASS_ROLES,
            scopes=False,
        ),
        Platform(
            "roles-constant",
            "a database role for each class; conditions are constant",
            role=_class_role,
            people=lambda owned: owned.by_hand,
            head=_CLASS_ROLES,
            scopes=False,
        ),
        Platform(
            "roles-scoped",
            "as roles, and rules ask for scopes",
            role=_class_role,
            head=_CLASS_ROLES,
            on_request=True,
        ),
        Platform(
            "existing-resolved",
            "as existing, claims resolved once a transaction",
            head=_RESOLVED,
            own_policies=True,
            on_request=True,
        ),
        Platform(
            "roles-resolved",
            "as roles, claims resolved once a transaction",
            role=_class_role,
            head=f"{_CLASS_ROLES}\n{_RESOLVED}",
            scopes=False,
            on_request=True,
        ),
        Platform("narrow", f"as raw, clients only where {_STATUSES}", lambda _: _STATUSES, on_request=True),
        Platform(
            "distinct",
            "as raw, each class with a condition of its own",
            lambda n: f"amount <= {LARGEST_AMOUNT + n}",
            on_request=True,
        ),
    )
}
