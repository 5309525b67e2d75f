"""Who acts in a matrix: two people, and a client of each class, made up so that they are nobody's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler.model import ClientClass, PolicySet
from mcp_rls.harness.matrix.judge import below
from mcp_rls.harness.matrix.language import Binding

ANN, BOB = "ann", "bob"
PEOPLE = (ANN, BOB)
CLIENT = "mcp-rls-test-client"
STRANGER = "mcp-rls-test-stranger"
BYSTANDER = "mcp-rls-test-bystander"  # a client of rows that are there for no token
_FIRST = 1_900_000_001  # of numbers that are nobody's


@dataclass(frozen=True)
class Place:
    """A home for rows: of a person, with the claims that a token for it has. Ann has two, her tokens name the first."""

    number: int
    person: str


PLACES = (Place(0, ANN), Place(1, ANN), Place(2, BOB))


@dataclass(frozen=True)
class Cast:
    """People and clients by what a token calls them."""

    subjects: Mapping[str, str]
    claims: Mapping[int, tuple[tuple[str, str | None], ...]]  # by place
    clients: Mapping[str, str]  # by class; a class whose clients can't be made up has none

    def binding(self, place: Place, client: str | None = None) -> Binding:
        """What conditions read of a token for this place."""
        return Binding(self.subjects[place.person], client, self.claims[place.number])


def cast(policies: PolicySet, catalog: Catalog) -> Cast:
    """The people and clients for a policy file."""
    kind = policies.identity.person.type
    subjects = {person: made_up(kind, person, index) for index, person in enumerate(PEOPLE)}
    claims = {
        place.number: tuple(
            (name, made_up(claim.type, f"{name} {place.number}", place.number))
            for name, claim in policies.claims.items()
        )
        for place in PLACES
    }
    found = ((c.name, client_of(policies, c, catalog)) for c in policies.classes.values())
    return Cast(subjects, claims, {name: client for name, client in found if client is not None})


def made_up(kind: str, words: str, number: int) -> str:
    """A value of a claim's type as text, the same in every run."""
    if kind == "uuid":
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"mcp-rls {words}"))
    if kind == "boolean":
        return "true" if number % 2 == 0 else "false"
    return str(_FIRST + number) if kind in ("integer", "bigint") else f"mcp-rls-test-{words.replace(' ', '-')}"


def client_of(policies: PolicySet, c: ClientClass, catalog: Catalog) -> str | None:
    """A client id of the class; rather one that no earlier class could claim, as far as its text tells."""
    earlier = list(policies.classes.values())
    earlier = earlier[: earlier.index(c)]
    ids = [client for client in _ids(policies, c, catalog) if below(client, c.client_id_url_prefix)]
    free = [client for client in ids if not any(_claims(other, client) for other in earlier)]
    return next(iter([*free, *ids]), None)


def _ids(policies: PolicySet, c: ClientClass, catalog: Catalog) -> list[str]:
    """Client ids that the class may be tried with."""
    if c.ids:
        return list(c.ids)
    if c.client_id_url_prefix is not None:
        return [c.client_id_url_prefix + CLIENT, c.client_id_url_prefix + f"{c.name}/{CLIENT}"]
    assert c.registry is not None, "a class has some match"
    kinds = [_type(catalog, c.registry.table, c.registry.id)]
    if policies.consent is not None and policies.consent_required(c.name):
        kinds.append(_type(catalog, policies.consent.table, policies.consent.client))
    special = next((kind for kind in kinds if kind in ("uuid", "integer", "bigint")), None)
    return [CLIENT if special is None else made_up(special, f"client {c.name}", 100 + len(c.name))]


def _type(catalog: Catalog, name: TableName, column: str) -> str:
    table = catalog.tables.get(name)
    found = table.column(column) if table is not None else None
    return (found.base_type or found.type) if found is not None else "text"


def _claims(c: ClientClass, client: str) -> bool:
    """Whether the class has the client by its text; with a registry it is another question."""
    by_text = c.ids or c.client_id_url_prefix is not None
    return bool(by_text) and (not c.ids or client in c.ids) and below(client, c.client_id_url_prefix)
