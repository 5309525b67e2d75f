"""Clients and consents for a run: a token's client made up from its class, and the rows that the token needs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from mcp_rls import sql
from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler.model import ClientClass, Condition, Consent, Registry
from mcp_rls.harness import rows
from mcp_rls.harness.observe import Key
from mcp_rls.harness.session import CannotTest, one_line
from mcp_rls.harness.stage import Stage
from mcp_rls.harness.suite import TokenSpec
from mcp_rls.harness.token import (
    MADE_UP,
    Bearer,
    Identity,
    claims_text,
    expected_client,
    identify,
    matches_text,
    scope_words,
)
from mcp_rls.harness.witness import NoWitness, insert_witness

_ID_LIKE = {"uuid": "00000000-0000-4000-8000-00000000c11e", "integer": "2147480001", "bigint": "2147480001"}
Brought = set[tuple[TableName, Key]]


def enter(stage: Stage, spec: TokenSpec) -> Bearer:
    """Acts as the token from here on, with the client and the consent that it needs.

    Raises: CannotTest when those can't be had.
    """
    if stage.bearer is not None and stage.bearer.spec == spec:
        return stage.bearer
    stage.to_base()
    brought: Brought = set()
    notes: list[str] = []
    client = expected_client(stage.policies, spec)
    if spec.class_name is not None:
        client = _made_up(stage, stage.policies.classes[spec.class_name], brought, notes)
    claims = claims_text(stage.policies, spec, client)
    identity = identify(stage.policies, claims)
    found = None
    if identity.kind == "client" and identity.client is not None:
        found = class_of(stage, identity.client)
    role = spec.role or stage.policies.role_of(found)
    claims = claims_text(stage.policies, spec, client, role)
    if found is not None and spec.consent and stage.policies.consent_required(found):
        _bring_consent(stage, spec, identity, brought, notes)
    bearer = Bearer(spec, claims, identity, role, found, frozenset(brought), tuple(notes))
    stage.act(bearer)
    return bearer


def class_of(stage: Stage, client: str) -> str | None:
    """The first class that the client is a member of, as the database stands now."""
    return next((c.name for c in stage.policies.classes.values() if _is_member(stage, c, client)), None)


def _is_member(stage: Stage, client_class: ClientClass, client: str) -> bool:
    if not matches_text(client_class, client):
        return False
    registry = client_class.registry
    if registry is None:
        return True
    return bool(stage.ask(f"select {_registry_rows(registry)} = {sql.literal(client)} limit 1"))


def _registry_rows(registry: Registry) -> str:
    """'id::text from table where id::text', to be compared."""
    column = f"{sql.ident(registry.id)}::text"
    return f"{column} from {sql.table(registry.table)} where {column}"


# --- clients ----------------------------------------------------------------------------------------------------------


def _made_up(stage: Stage, client_class: ClientClass, brought: Brought, notes: list[str]) -> str:
    """A client of the class that is live as far as its registry goes; a registry row is brought where needed."""
    for candidate in _candidates(stage, client_class):
        if class_of(stage, candidate) == client_class.name and _is_registered(stage, client_class, candidate):
            return candidate
    if client_class.registry is None:
        raise CannotTest(_no_client(client_class, "every id of it belongs to an earlier class"))
    table = stage.table(client_class.registry.table)
    client = next(_texts(client_class), None) or _new_id(table, client_class.registry)
    brought.add((table.name, _register(stage, client_class, client_class.registry, table, client)))
    notes.append(f"a row of {table.name} for the client {client}")
    if class_of(stage, client) != client_class.name:
        raise CannotTest(_no_client(client_class, f'"{client}" belongs to an earlier class'))
    return client


def _register(stage: Stage, client_class: ClientClass, registry: Registry, table: Table, client: str) -> Key:
    fixed = {registry.id: sql.literal(client)}
    try:
        return insert_witness(stage, table, fixed, registry.where.text if registry.where else None)
    except NoWitness as problem:
        raise CannotTest(_no_client(client_class, str(problem))) from None


def _candidates(stage: Stage, client_class: ClientClass) -> Iterator[str]:
    if client_class.ids or client_class.client_id_url_prefix is not None:
        yield from _texts(client_class)
    elif client_class.registry is not None:
        registry = client_class.registry
        live = f" where {_condition(registry.where)}" if registry.where else ""
        query = f"select {sql.ident(registry.id)}::text from {sql.table(registry.table)}{live} order by 1 limit 50"
        for (client,) in _asked(stage, query, client_class):
            yield str(client)


def _texts(client_class: ClientClass) -> Iterator[str]:
    prefix = client_class.client_id_url_prefix
    if client_class.ids:
        yield from (i for i in client_class.ids if matches_text(client_class, i))
    elif prefix is not None:
        yield prefix + MADE_UP


def _is_registered(stage: Stage, client_class: ClientClass, client: str) -> bool:
    """Whether the registry, if the class has one, says that the client is live."""
    registry = client_class.registry
    if registry is None or registry.where is None:
        return True
    query = f"select {_registry_rows(registry)} = {sql.literal(client)} and ({_condition(registry.where)}) limit 1"
    return bool(_asked(stage, query, client_class))


def _asked(stage: Stage, query: str, client_class: ClientClass) -> list[tuple[str]]:
    try:
        return stage.ask(query)
    except psycopg.Error as error:
        raise CannotTest(_no_client(client_class, one_line(error))) from None


def _condition(condition: Condition | None) -> str:
    return condition.text if condition is not None else "true"


def _new_id(table: Table, registry: Registry) -> str:
    return _ID_LIKE.get(rows.column(table, registry.id).base_type, MADE_UP)


def _no_client(client_class: ClientClass, why: str) -> str:
    return (
        f'no client of the class "{client_class.name}" could be made up: {why}\n'
        "hint: give the token an explicit `client:`, with a fixture where a registry must list it"
    )


# --- consents ---------------------------------------------------------------------------------------------------------


def _bring_consent(stage: Stage, spec: TokenSpec, identity: Identity, brought: Brought, notes: list[str]) -> None:
    """A live consent of the person for the client with the token's scope, unless one stands already."""
    person, client = identity.person, identity.client
    if person is None or client is None:
        return  # such a token is closed, and nobody could consent to it
    consent = stage.policies.consent
    assert consent is not None, "a class that requires consent has a table of consents"
    table = stage.table(consent.table)
    if _live_consent(stage, consent, person, client):
        if stage.policies.identity.scope is None and spec.scope is not None:
            raise CannotTest(
                f'the token "{spec.name}" has a scope, but a fixture of {table.name} decides its scopes: '
                "leave out the token's `scope`, or the fixture"
            )
        return
    fixed = {consent.person: sql.literal(person), consent.client: sql.literal(client)}
    words = scope_words(spec)
    if consent.scopes is not None:
        column = rows.column(table, consent.scopes)
        fixed[consent.scopes] = rows.literal(column, list(words) if column.type.endswith("[]") else " ".join(words))
    try:
        key = insert_witness(stage, table, fixed, consent.where.text if consent.where else None)
    except NoWitness as problem:
        raise CannotTest(
            f'the token "{spec.name}" needs a consent: {problem}\n'
            "hint: write the row as a fixture, or `consent: none` in the token"
        ) from None
    brought.add((table.name, key))
    notes.append(f"a row of {table.name} with the scopes [{' '.join(words)}]")


def _live_consent(stage: Stage, consent: Consent, person: str, client: str) -> bool:
    query = (
        f"select from {sql.table(consent.table)} where {sql.ident(consent.person)} = {sql.literal(person)}"
        f" and {sql.ident(consent.client)}::text = {sql.literal(client)} and ({_condition(consent.where)}) limit 1"
    )
    try:
        return bool(stage.ask(query))
    except psycopg.Error:
        return False  # a condition on the token: nothing a look can answer
