"""Tokens as claims, and what session a claims document makes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mcp_rls.compiler.model import Claim, ClientClass, Direct, Identity, PolicySet
from mcp_rls.harness.suite import TokenSpec
from mcp_rls.harness.token import claims_text, identify, is_bound, is_client_token, matches_text, scope_words

ANN = "00000000-0000-4000-8000-00000000000a"
POLICIES = PolicySet(
    "policies.yaml",
    "postgres",
    ("public",),
    Identity(Claim(("sub",), "uuid"), (("client_id",), ("azp",)), ("scope",), Direct("no_client")),
    ("authenticated", "anon"),
    ("anon",),
    claims={"tenant": Claim(("app_metadata", "tenant_id"), "uuid")},
    classes={"assistant": ClientClass("assistant", ids=("the-assistant",))},
)


def spec(**values: object) -> TokenSpec:
    return replace(TokenSpec("t", "authenticated", sub=ANN), **values)  # type: ignore[arg-type]


def document(token: TokenSpec, client: str | None = None, policies: PolicySet = POLICIES) -> object:
    return json.loads(claims_text(policies, token, client))


def test_each_part_goes_to_its_claim() -> None:
    """Declared claims reach inside objects; the scope stands as it was given."""
    token = spec(scope="a b", claims={"tenant": "t1"})
    assert document(token, "c1") == {
        "sub": ANN,
        "client_id": "c1",
        "scope": "a b",
        "app_metadata": {"tenant_id": "t1"},
    }


def test_a_list_of_scopes_is_an_array() -> None:
    assert document(spec(scope=("a", "b"))) == {"sub": ANN, "scope": ["a", "b"]}
    assert scope_words(spec(scope=("a", "b"))) == scope_words(spec(scope="a  b")) == ("a", "b")


def test_scopes_of_the_consent_are_no_claim() -> None:
    policies = replace(POLICIES, identity=replace(POLICIES.identity, scope=None))
    assert document(spec(scope="a"), policies=policies) == {"sub": ANN}


def test_raw_is_merged_last_and_inside_objects() -> None:
    token = spec(claims={"tenant": "t1"}, raw={"client_id": None, "sub": 7, "app_metadata": {"x": 1}})
    assert document(token, "c1") == {
        "sub": 7,
        "client_id": None,
        "app_metadata": {"tenant_id": "t1", "x": 1},
    }


def test_a_raw_text_is_the_whole_claims() -> None:
    assert claims_text(POLICIES, spec(raw="{broken"), "c1") == "{broken"


def test_the_role_is_a_claim_where_the_platform_reads_it() -> None:
    assert document(spec(), policies=replace(POLICIES, platform="postgrest")) == {
        "sub": ANN,
        "role": "authenticated",
    }


# Claims, and the kind of session, person and client that they make.
DOCUMENTS = [
    ({"sub": ANN}, "direct", ANN, None),
    ({"sub": ANN.upper()}, "direct", ANN, None),
    ({"sub": ANN, "client_id": "c"}, "client", ANN, "c"),
    ({"sub": ANN, "azp": "c"}, "client", ANN, "c"),
    ({"sub": ANN, "client_id": "", "azp": "c"}, "client", ANN, None),
    ({"sub": ANN, "client_id": None}, "client", ANN, None),
    ({"sub": ANN, "client_id": 7}, "client", ANN, None),
    ({"sub": ANN, "client_id": "c" * 2049}, "client", ANN, None),
    ({"client_id": "c"}, "client", None, "c"),
    ({"sub": "ann"}, "nobody", None, None),
    ({}, "nobody", None, None),
]


@pytest.mark.parametrize(("claims", "kind", "person", "client"), DOCUMENTS)
def test_what_claims_make(claims: object, kind: str, person: str | None, client: str | None) -> None:
    found = identify(POLICIES, json.dumps(claims))
    assert (found.kind, found.person, found.client) == (kind, person, client)


@pytest.mark.parametrize("text", ["{broken", "[]", "null", "7", '"x"'])
def test_a_malformed_document_is_bound_in_every_role(text: str) -> None:
    """No object: closed for everybody; no claims at all: nobody, whom an anonymous role leaves alone."""
    assert is_bound(POLICIES, identify(POLICIES, text).kind, "anon")
    assert not is_bound(POLICIES, identify(POLICIES, "").kind, "anon")
    assert is_bound(POLICIES, identify(POLICIES, "").kind, "authenticated")


def test_direct_by_id() -> None:
    """With `ids` a token of the app carries a client, and one without is closed."""
    policies = replace(POLICIES, identity=replace(POLICIES.identity, direct=Direct("ids", ("crm-web",))))
    assert identify(policies, json.dumps({"sub": ANN, "client_id": "crm-web"})).kind == "direct"
    assert identify(policies, json.dumps({"sub": ANN, "client_id": "other"})).kind == "client"
    assert identify(policies, json.dumps({"sub": ANN})).kind == "client"
    assert not is_client_token(policies, spec())
    assert is_client_token(policies, spec(client="other"))


@pytest.mark.parametrize(
    ("kind", "value", "person"),
    [
        ("integer", 7, "7"), ("integer", True, None), ("integer", "7", None), ("integer", 2**31, None),
        ("bigint", 2**31, str(2**31)), ("boolean", True, "true"), ("boolean", 1, None),
        ("text", "x", "x"), ("text", "", None), ("text", 7, None),
    ],
)  # fmt: skip
def test_persons_of_every_type(kind: str, value: object, person: str | None) -> None:
    policies = replace(POLICIES, identity=replace(POLICIES.identity, person=Claim(("sub",), kind)))
    assert identify(policies, json.dumps({"sub": value})).person == person


@pytest.mark.parametrize(
    ("client", "member"),
    [
        ("https://claude.ai/oauth", True),
        ("https://claude.ai/", True),
        ("https://claude.ai.example/oauth", False),
        ("https://claude.ai/../x", False),
        ("https://claude.ai/x/..", False),
        ("https://claude.ai/%2E%2E/x", False),
        ("https://claude.ai/a b", False),
        ("https://claude.ai/x#y", False),
        ("https://claude.ai/x\\y", False),
        ("HTTPS://claude.ai/oauth", False),
        ("https://claude.ai/..x", True),
    ],
)
def test_url_prefixes(client: str, member: bool) -> None:
    by_url = ClientClass("claude", client_id_url_prefix="https://claude.ai/")
    assert matches_text(by_url, client) is member
