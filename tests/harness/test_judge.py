"""The judge of tokens against the evaluator of the tests, which shares no line with it. No server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mcp_rls.compiler.model import ClientClass, PolicySet
from mcp_rls.compiler.policy import read_policies
from mcp_rls.harness.matrix.judge import Holder, below, judge
from mcp_rls.harness.matrix.language import Binding
from mcp_rls.harness.variants import variants
from tests.oracle.evaluator import Session
from tests.oracle.render import policy_file
from tests.oracle.test_hostile import WORLDS, hostile, right
from tests.oracle.tokens import lookalikes
from tests.oracle.world import ANON, USER, Consent, Token, World


def policies_of(world: World) -> PolicySet:
    found, diagnostics = read_policies("policies.yaml", policy_file(world))
    assert found is not None, [str(d) for d in diagnostics]
    return found


class WorldLife:
    """Registrations and consents of an evaluator's world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def registered(self, client_class: ClientClass, binding: Binding) -> bool | None:
        kind = next(k for k in self.world.classes if k.name == client_class.name)
        assert kind.registry is not None
        rows = [
            row for row in self.world.table(kind.registry.table).rows if str(row[kind.registry.id]) == binding.client
        ]
        return any(bool(row["approved"]) for row in rows) if rows else None

    def consented(self, binding: Binding) -> frozenset[str] | None:
        return None


def understood(holder: Holder) -> tuple[object, ...]:
    """What the judge found, as the evaluator says it."""
    scopes = holder.scopes if holder.live else frozenset()
    return holder.unlimited, holder.live, holder.class_name if holder.live else None, scopes


def evaluated(world: World, token: Token) -> tuple[object, ...]:
    session = Session(world, token)
    live = session.kind == "client" and session.live
    kind = session.client_class if live else None
    return session.unlimited, live, kind.name if kind else None, session.scopes if live else frozenset()


def bound(world: World, token: Token) -> tuple[object, ...]:
    """What conditions read, as the evaluator sees it."""
    session = Session(world, token)
    values = [session._token_value(name) for name in ("person", "client", *world.claims)]
    return tuple(None if value is None else str(value).lower() for value in values)


@pytest.mark.parametrize("name", WORLDS)
def test_hostile_tokens_are_understood_as_the_evaluator_does(name: str) -> None:
    """Who acts, of which class, alive or not, with which scopes and values: for every hostile token of a world."""
    world = WORLDS[name]
    policies = policies_of(world)
    judged = 0
    for token in hostile(world):
        holder = judge(policies, WorldLife(world), token.claims or "", token.role)
        assert understood(holder) == evaluated(world, token), token
        if holder.kind in ("direct", "client") and holder.live:
            values = (holder.binding.person, holder.binding.client, *dict(holder.binding.claims).values())
            found = tuple(None if value is None else value.lower() for value in values)
            assert found == bound(world, token), token
        judged += holder.live
    assert judged > 20


@pytest.mark.parametrize("name", WORLDS)
def test_what_comes_near_a_token_is_understood_too(name: str) -> None:
    """The same for the variants that the harness makes of right tokens; most are of no use, and some are."""
    world = WORLDS[name]
    policies = policies_of(world)
    live = dead = 0
    for client in ("agent", "https://claude.ai/x", "partner"):
        claims = right(world, client).text()
        for variant in variants(policies, claims, USER, {"the client of nobody": "somebody"}):
            token = Token(variant.claims, variant.role)
            holder = judge(policies, WorldLife(world), variant.claims, variant.role)
            assert understood(holder) == evaluated(world, token), variant.name
            live, dead = live + holder.live, dead + (not holder.live)
    assert dead > live > 20


def test_consent_narrows_and_its_lack_kills() -> None:
    """Effective scopes are those of token and consent; without a live consent there is no life."""
    world = WORLDS["uuid, no_client"]
    consented = replace(world, consent=Consent("registry", "id", "client", None))
    needing = tuple(replace(kind, consent_required=True) for kind in world.classes)
    policies = policies_of(replace(consented, classes=needing))

    class Granted(WorldLife):
        words: frozenset[str] | None = frozenset()

        def consented(self, binding: Binding) -> frozenset[str] | None:
            return self.words

    life, claims = Granted(world), right(world, "agent").text()
    assert judge(policies, life, claims, USER).scopes == {"read", "write"}  # no column of scopes: it doesn't narrow
    life.words = None
    assert judge(policies, life, claims, USER).why == "there is no live consent"


def test_urls_below_a_prefix() -> None:
    """Look-alikes are none."""
    prefix = "https://claude.ai/"
    good = ("https://claude.ai/x", "https://claude.ai/", "https://claude.ai/x..y", "https://claude.ai/a%20b?q=1")
    assert all(below(url, prefix) for url in good)
    found = [url for url in lookalikes(prefix) if below(url, prefix)]
    assert sorted(found) == sorted(url for url in lookalikes(prefix)[:9])


def test_every_variant_is_another_token() -> None:
    """None twice, none the valid one, and each kind of claim is varied; texts that are no JSON are among them."""
    world = WORLDS["uuid, no_client"]
    policies, claims = policies_of(world), right(world, "agent").text()
    made = list(variants(policies, claims, USER, {"the person bob": "00000000-0000-4000-8000-00000000000b"}))
    texts = [(one.claims, one.role, tuple(one.settings.items())) for one in made]
    assert len(set(texts)) == len(texts) > 150
    assert not any(one.claims == claims and one.role == USER and not one.settings for one in made)
    names = " ".join(one.name for one in made)
    for word in (
        "client_id is empty",
        "scope is",
        "sub is the person bob",
        "the claim level",
        "twice",
        "older gateway",
    ):
        assert word in names, word
    (left,) = [one.settings for one in made if not one.claims and one.settings]
    assert left["request.jwt.claim.client_id"] == "agent"
    assert {"request.jwt.claim", "request.jwt.claim.sub", "request.jwt.claim.role"} < left.keys()
    assert any(one.role == ANON for one in made)
    assert any(not _is_json(one.claims) for one in made)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
