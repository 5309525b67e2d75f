"""What a session carries, as SQL: the functions for the token's person, client and claims, and for the named sets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mcp_rls import sql
from mcp_rls.compiler import carried
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.meaning import of_value
from mcp_rls.compiler.model import Claim, ClaimPath, NamedSet, PolicySet
from mcp_rls.state import SCHEMA, Function

_SPELLINGS = {
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "bool": "boolean",
    "float4": "real",
    "float8": "double precision",
    "float": "double precision",
    "decimal": "numeric",
    "varchar": "character varying",
    "char": "character",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "varbit": "bit varying",
    "serial": "integer",
    "bigserial": "bigint",
}


def token_calls(policies: PolicySet) -> dict[str, str]:
    """The function call that gives each token.<name>, from the claims."""
    values = {"person": f"{SCHEMA}.person()", "client": f"{SCHEMA}.client()"}
    values |= {name: f"{SCHEMA}.{sql.ident(claim_function_name(name))}()" for name in policies.claims}
    return values


def setting_name(token: str) -> str:
    """Of the setting that holds token.<name> where a session has resolved: as the function that reads the claim."""
    return token if token in ("person", "client") else claim_function_name(token)


def claim_function_name(name: str) -> str:
    return f"claim_{name}"


def set_function_name(name: str) -> str:
    return f"set_{name}"


def set_value(policies: PolicySet, name: str, *, wrapped: bool = True) -> str:
    """SQL for a set's values as an array."""
    call = f"{SCHEMA}.{sql.ident(set_function_name(name))}()"
    # the cast tells PostgreSQL that ANY takes an array here, not a sub-select's rows
    return f"(select {call})::{set_type(policies.sets[name])}[]" if wrapped else call


def token_types(policies: PolicySet) -> dict[str, str]:
    """The type of each token.<name>."""
    types = {"person": policies.identity.person.type, "client": "text"}
    return types | {name: claim.type for name, claim in policies.claims.items()}


def _token_settings(policies: PolicySet) -> dict[str, str]:
    """What gives each token.<name> where a session has resolved."""
    return {name: carried.value(setting_name(name), type_) for name, type_ in token_types(policies).items()}


def renderer(policies: PolicySet, *, wrapped: bool = True, resolving: bool = False, few: bool = False) -> h.Renderer:
    """What `expression.render` needs to spell token values and sets.

    Wrapped in a sub-select they are evaluated once a statement, bare once a row. `resolving`: as the token says, also
    where a session resolves it. `few`: for few rows as a rule, so that settings are read for each; a sub-select costs
    a statement as much as 40 rows.
    """
    resolved = policies.resolved and not resolving
    values = _token_settings(policies) if resolved else token_calls(policies)
    once = wrapped and not (few and resolved)

    def spell(node: e.Token | e.SetValues) -> str:
        if isinstance(node, e.SetValues):
            return set_value(policies, node.name, wrapped=wrapped)
        return f"(select {values[node.name]})" if once else values[node.name]

    return spell


# --- person, client and further claims -------------------------------------------------------------------------------


def person(policies: PolicySet) -> Function:
    claim = policies.identity.person
    meaning = of_value(f"the person, the claim {'.'.join(claim.path)} as {claim.type}")
    return h.claim_function("person", claim, policies.acting, meaning)


def further(policies: PolicySet) -> Iterator[Function]:
    """mcp_rls.claim_<name>(): one for each claim that conditions may read as token.<name>."""
    for name, claim in policies.claims.items():
        meaning = of_value(f"the claim {'.'.join(claim.path)} as {claim.type}")
        yield h.claim_function(claim_function_name(name), claim, policies.acting, meaning)


def client(policies: PolicySet) -> Function:
    paths = policies.identity.client
    meaning = of_value(f"the client, the claim {', '.join('.'.join(path) for path in paths)}")
    if len(paths) == 1:
        return h.claim_function("client", Claim(paths[0], "text"), policies.acting, meaning)
    body = f"""
declare
  document jsonb;
begin
{h.read_document()}
  return {client_text(policies)};
end
"""
    return h.function("client", "", "text", body, arguments="", execute=policies.acting, meaning=meaning)


def client_text(policies: PolicySet) -> str:
    """The client claim, NULL when absent or malformed; the first path where anything stands decides."""

    def text(path: ClaimPath) -> str:
        return f"case when jsonb_typeof({h.value_of(path)}) = 'string' then nullif({h.text_of(path)}, '') end"

    paths = policies.identity.client
    if len(paths) == 1:
        return text(paths[0])
    return "case " + " ".join(f"when {h.present(p)} then {text(p)}" for p in paths) + " end"


# --- sets -------------------------------------------------------------------------------------------------------------


def named_set(policies: PolicySet, definition: NamedSet, parts: tuple[str | e.Expr, ...], place: str) -> Function:
    """mcp_rls.set_<name>(): the set's values, NULLs dropped, read past row security by the function's owner."""
    spell = renderer(policies)
    query = "".join(part if isinstance(part, str) else e.render(part, spell) for part in parts)
    body = f"""
#variable_conflict use_column
begin
  return array(select listed.member from ({query.strip()}) listed(member) where listed.member is not null);
end
"""
    return h.function(
        set_function_name(definition.name),
        "",
        f"{set_type(definition)}[]",
        body,
        arguments="",
        execute=policies.acting,
        place=place,
        settings=h.AUTHOR_SETTINGS,
        meaning=of_value(definition.query),
    )


def set_type(definition: NamedSet) -> str:
    """The type of a set's members as PostgreSQL spells it; a modifier such as (20) means nothing in a result."""
    base = re.sub(r"\s*\([^)]*\)", "", definition.type).strip()
    return base if '"' in base else _SPELLINGS.get(base.lower(), base.lower())
