"""The points of what is decided before any row: classes, registrations, consents."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mcp_rls.compiler.model import ClientClass, Consent, PolicySet
from mcp_rls.diagnostics import Span
from mcp_rls.harness.coverage.points import Point, Sighting, of_pieces
from mcp_rls.harness.coverage.rules import class_key
from mcp_rls.harness.coverage.twins import Twins
from mcp_rls.harness.token import scope_words


def of_gate(twins: Twins) -> Iterator[Point]:
    """The points of classes in order of match, then those of the consent table."""
    policies = twins.resolved.policies
    for c in policies.classes.values():
        yield _class(twins, c)
        if c.name in twins.wheres:
            cut, under = twins.wheres[c.name], (class_key(c.name),)
            yield from of_pieces(
                f"{class_key(c.name)} registry", f"registry of {c.name}", cut.pieces, under, whole=cut.whole
            )
        if policies.consent_required(c.name):
            lacking = _when(_without_consent(twins, c.name), _ceilings_of(twins, c.name))
            about, under = f"class {c.name}: its consent", (class_key(c.name),)
            yield Point(
                f"{class_key(c.name)} consent",
                "consent",
                c.span,
                about,
                "was never missing",
                under=under,
                shown=lacking,
            )
    yield _strangers(twins)
    if policies.consent is not None and any(map(policies.consent_required, policies.classes)):
        yield from _of_consent(twins, policies, policies.consent)


def _class(twins: Twins, c: ClientClass) -> Point:
    met = _when(lambda sighting: sighting.is_live(c.name), _any_ceiling(twins))
    detail = "no live token of it got anywhere"
    return Point(class_key(c.name), "class", c.span, f"class {c.name}", "was never met", detail, shown=met)


def _when(test: Callable[[Sighting], bool], numbers: frozenset[int]) -> Callable[[Sighting], bool]:
    """Whether `test` holds of a token that was asked one of these."""
    return lambda sighting: test(sighting) and sighting.reached(numbers)


def _any_ceiling(twins: Twins) -> frozenset[int]:
    return frozenset().union(*twins.ceilings.values())


def _ceilings_of(twins: Twins, name: str) -> frozenset[int]:
    """The ceilings in which the class has a rule: for others the gate doesn't look for its consent."""
    policies = twins.resolved.policies
    mine = [
        numbers
        for (table, command), numbers in twins.ceilings.items()
        if any(name in r.who and command in r.commands for r in policies.client_rules(table))
    ]
    return frozenset().union(*mine)


def _strangers(twins: Twins) -> Point:
    def shown(sighting: Sighting) -> bool:
        identity = sighting.bearer.identity
        return identity.client is not None and identity.kind == "client" and sighting.bearer.class_name is None

    span, missed = Span(twins.resolved.policies.path), "were never tried"
    return Point("no class", "class", span, "clients of no class", missed, shown=_when(shown, _any_ceiling(twins)))


# --- consents ---------------------------------------------------------------------------------------------------------


def _without_consent(twins: Twins, name: str) -> Callable[[Sighting], bool]:
    """Whether a token of the class lacks nothing but a consent that stands."""
    registry, consent = twins.wheres.get(name), twins.wheres["consent"]

    def shown(sighting: Sighting) -> bool:
        registered = registry is None or sighting.came_to(registry.whole, "true")
        mine = sighting.bearer.class_name == name and sighting.bearer.identity.person is not None
        return mine and registered and not sighting.came_to(consent.whole, "true")

    return shown


def _of_consent(twins: Twins, policies: PolicySet, consent: Consent) -> Iterator[Point]:
    cut = twins.wheres["consent"]
    needing = [name for name in policies.classes if policies.consent_required(name)]
    tests = [_when(_without_consent(twins, name), _ceilings_of(twins, name)) for name in needing]
    yield Point(
        "consent absent",
        "consent",
        consent.span,
        "consent",
        "was never absent",
        "each token that needs one had a row",
        shown=lambda s: any(test(s) for test in tests) and not s.reached(frozenset({cut.whole})),
    )
    yield from of_pieces("consent where", "consent", cut.pieces, whole=cut.whole)
    if consent.scopes is not None and policies.identity.scope is not None:
        missed, detail = "never narrowed a token", "each was granted all scopes that it names"
        shown = _narrowed(policies)
        yield Point("consent narrows", "consent", consent.span, "consent", missed, detail, shown=shown)


def _narrowed(policies: PolicySet) -> Callable[[Sighting], bool]:
    def shown(sighting: Sighting) -> bool:
        words = [w for w in scope_words(sighting.bearer.spec) if w in policies.scopes]
        asked = frozenset().union(*(policies.scopes[w].closure for w in words))
        name = sighting.bearer.class_name
        return name is not None and policies.consent_required(name) and sighting.live and not asked <= sighting.held

    return shown
