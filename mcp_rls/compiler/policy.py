"""A policy file as a PolicySet, or everything that is wrong with it: the first stage of the compiler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mcp_rls.compiler import clients, identity, tables
from mcp_rls.compiler.json_schema import json_schema
from mcp_rls.compiler.model import PolicySet, Rule, TableRules
from mcp_rls.compiler.schema import PolicyFile
from mcp_rls.compiler.shape import Draft, shaped
from mcp_rls.compiler.usage import check_usage
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.document import Document, parse_document, read_document

__all__ = ["json_schema", "load_policies", "read_policies"]


def read_policies(path: str, text: str, *, partial: bool = False) -> tuple[PolicySet | None, Diagnostics]:
    """The policies in `text`, and all that can be said of them without a database; None when one is an error.

    `path` is only what diagnostics call the file. With `partial`, the sound parts are handed on in spite of errors,
    so that a later stage can add what it finds; nothing may be compiled from them.
    """
    diagnostics = Diagnostics()
    return _policies(parse_document(path, text, diagnostics), diagnostics, partial), diagnostics


def load_policies(path: Path, *, partial: bool = False) -> tuple[PolicySet | None, Diagnostics]:
    """The policies in the file at `path`; else as `read_policies`."""
    diagnostics = Diagnostics()
    return _policies(read_document(path, diagnostics), diagnostics, partial), diagnostics


def _policies(document: Document | None, diagnostics: Diagnostics, partial: bool) -> PolicySet | None:
    draft = shaped(PolicyFile, document, diagnostics) if document else None
    if draft is None:
        return None
    policies = _assembled(draft)
    check_usage(draft, policies)
    if not diagnostics.has_errors:
        return policies
    return _for_reading_only(policies) if partial else None


def _assembled(draft: Draft) -> PolicySet:
    identity.version(draft)
    roles = identity.roles(draft)
    classes = clients.classes(draft)
    return PolicySet(
        path=draft.document.path,
        platform=draft.file.platform or "postgres",
        schemas=identity.schemas(draft),
        identity=identity.identity(draft),
        roles=roles,
        anonymous=identity.anonymous(draft, frozenset(roles)),
        claims=identity.claims(draft),
        classes=classes,
        consent=identity.consent(draft),
        scopes=clients.scopes(draft),
        sets=tables.sets(draft),
        tables=tables.tables(draft),
        doors=tables.doors(draft),
        accepted=dict(draft.file.accepted),
        trusted_roles=identity.trusted_roles(draft, frozenset(roles)),
        class_roles=clients.class_roles(draft, classes, roles),
        taken_by=clients.taken_by(draft),
        resolved=draft.file.resolved,
    )


def _for_reading_only(policies: PolicySet) -> PolicySet:
    """`policies` with rules that say nothing of updates: how one rule's rows lie in another's can't be judged
    while rules are missing, and their conditions can be read all the same."""

    def read(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(replace(rule, commands=rule.commands - {"update"}) for rule in rules)

    def table(rules: TableRules) -> TableRules:
        people = rules.people if isinstance(rules.people, str) else read(rules.people)
        return replace(
            rules, people=people, clients=rules.clients if isinstance(rules.clients, str) else read(rules.clients)
        )

    return replace(policies, tables={name: table(rules) for name, rules in policies.tables.items()})
