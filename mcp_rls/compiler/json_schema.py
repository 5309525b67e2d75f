"""The JSON Schema of a policy file, from the models that validate it."""

from __future__ import annotations

from typing import Any

from mcp_rls.compiler.schema import PolicyFile


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file, for editors: every key with a line of help."""
    schema = _tidy(PolicyFile.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mcp-rls:policy-file:1",
        "title": "mcp_rls policy file",
        **schema,
    }


def _tidy(part: Any) -> Any:
    """`part` without nulls: an optional key may be left out, and must not be empty."""
    if isinstance(part, list):
        return [_tidy(each) for each in part]
    if not isinstance(part, dict):
        return part
    tidied = {key: _tidy(value) for key, value in part.items() if (key, value) != ("default", None)}
    if not isinstance(part.get("title"), dict):  # a title, and no property of that name
        tidied.pop("title", None)
    members = [each for each in tidied.get("anyOf", ()) if each != {"type": "null"}]
    if len(members) == 1 and len(members) < len(tidied["anyOf"]):
        del tidied["anyOf"]
        tidied = {**members[0], **tidied}
    elif members:
        tidied["anyOf"] = members
    return tidied
