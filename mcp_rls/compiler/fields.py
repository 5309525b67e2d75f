"""What a value in a file of ours may be, a text, a list or a mapping, and how an editor is told so."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from mcp_rls.compiler.model import CLAIM_TYPES, Command

CLAIM_TYPE_ALIASES = {
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "string": "text",
    "bool": "boolean",
}

SWITCH, WORD, LIST, MAPPING = (
    "|switch",
    "|word",
    "|list",
    "|mapping",
)  # which member of a union a value is; these turn up in error paths


def expected(what: str, code: str = "wrong-type") -> PydanticCustomError:
    """The error that something else than `what` was found; its type is the diagnostic code."""
    return PydanticCustomError(code, what)


def _kind(value: object) -> str | None:
    if isinstance(value, str | bool):
        return WORD if isinstance(value, str) else SWITCH
    return LIST if isinstance(value, list) else MAPPING if isinstance(value, dict) else None


def either(what: str) -> Discriminator:
    """Tells the members of a union by what YAML kind the value has; any other kind is an error."""
    return Discriminator(_kind, custom_error_type="wrong-type", custom_error_message=what)


def _not_blank(value: str) -> str:
    if not value.strip():
        raise expected("text that isn't empty", "bad-value")
    return value


def _listed(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise expected("a text or a list of texts")
    return value


def _claim_path(value: object) -> object:
    keys = value.split(".") if isinstance(value, str) else value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise expected("the name of a claim, in which dots reach inside, or a list of keys")
    if not keys or not all(key.strip() for key in keys):
        raise expected('the name of a claim, such as "sub" or "app_metadata.tenant_id"', "bad-value")
    return tuple(keys)


def _one_or_list(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


Text = Annotated[str, AfterValidator(_not_blank), WithJsonSchema({"type": "string", "minLength": 1})]
Texts = Annotated[list[Text], Field(min_length=1)]
OneOrMore = Annotated[
    list[Text],
    Field(min_length=1),
    BeforeValidator(_listed),
    _one_or_list({"type": "string", "minLength": 1}),
]
Commands = Annotated[
    list[Command],
    Field(min_length=1),
    BeforeValidator(_listed),
    _one_or_list({"enum": ["select", "insert", "update", "delete"]}),
]
Path = Annotated[tuple[str, ...], BeforeValidator(_claim_path), _one_or_list({"type": "string", "minLength": 1})]
ClaimType = Annotated[Text, WithJsonSchema({"enum": [*CLAIM_TYPES, *CLAIM_TYPE_ALIASES]})]


def _finish(schema: dict[str, Any], model: type[Raw]) -> None:
    schema.pop("title", None)
    if model.needs:
        schema["required"] = list(model.needs)


class Raw(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, json_schema_extra=_finish)
    needs: ClassVar[tuple[str, ...]] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _not_nothing(cls, value: object) -> object:
        """`clients:` with nothing after it is a slip, and must not mean the default."""
        if value is None:
            raise expected("a value")
        return value
