"""The functions of the schema mcp_rls that policies call: what a session's token says, read once a statement.

`claims` is the same everywhere; the others carry the policy file's shape, never a client id. All are STABLE (IMMUTABLE
would let a generic plan serve one client's rows to another), PARALLEL SAFE, and run with search_path = pg_catalog,
pg_temp (an empty one would look for types in pg_temp first). They are SECURITY DEFINER, so that a token role needs
EXECUTE on what a policy names and no USAGE on the schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from mcp_rls import sql
from mcp_rls.compiler.expression import SetValues, Token
from mcp_rls.compiler.model import Claim, ClaimPath, Identity
from mcp_rls.state import SCHEMA, Function, digest

# plpgsql reads a body at its first use in a session, under the session's settings. Nothing that we write depends on
# them; what an author wrote as SQL may, so functions with such text are read under these.
AUTHOR_SETTINGS = "\n  set standard_conforming_strings = on\n  set transform_null_equals = off"

Renderer = Callable[[Token | SetValues], str]

UUID_LOWER = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"  # as PostgreSQL prints one
UUID_SHAPE = "-".join("_" * n for n in (8, 4, 4, 4, 12))  # what LIKE asks for before a cast asks for hexadecimals
_UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"


def function(
    name: str,
    parameters: str,
    returns: str,
    body: str,
    *,
    arguments: str,
    definer: bool = True,
    volatility: str = "stable",
    parallel: str = "safe",
    execute: tuple[str, ...] = (),
    place: str = "",
    settings: str = "",
    meaning: str = "",
) -> Function:
    """A plpgsql function of ours. `parameters` with names, `arguments` their types alone."""
    head = f"create or replace function {SCHEMA}.{sql.ident(name)}({parameters}) returns {returns}"
    security = "security definer" if definer else "security invoker"
    options = f"language plpgsql {volatility} parallel {parallel} {security}"
    path = f"  set search_path = pg_catalog, pg_temp{settings}"
    definition = f"{head}\n{options}\n{path}\nas {sql.dollar(body)}"
    return Function(
        name,
        arguments,
        returns,
        definition,
        tuple(sorted(execute)),
        digest(definition, sorted(execute)),
        place,
        meaning,
    )


# --- static -----------------------------------------------------------------------------------------------------------

# PostgreSQL 16 can ask whether a text is valid JSON; before it a bad one can only raise, and catching that takes a
# subtransaction, which a parallel plan refuses. So there strings become "", numbers and words 0, and whole arrays and
# objects fold to 0 from the inside out. It may take a valid but odd document for a bad one (closed), never the reverse.
_STRING = r""""(?:[^"\\\x01-\x1f]|\\["\\/bfnrt]|\\u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}"""
_STRING += r'''|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"'''
_SCALAR = r"""(?<![0-9a-zA-Z.+"-])(?:-?(?:0|[1-9][0-9]{0,99})(?:[.][0-9]{1,99})?(?:[eE][+-]?[0-9]{1,4})?"""
_SCALAR += r"""|true|false|null)(?![0-9a-zA-Z.+"-])"""
_FOLDABLE = r"""\[(?:(?:0|"")(?:,(?:0|""))*)?\]|\{(?:"":(?:0|"")(?:,"":(?:0|""))*)?\}"""
_BLANK = r"[ \t\r\n]+"
_TOUCHING = '[0-9a-zA-Z".+-]'
_CLAIMS = f"""
declare
  raw constant text := nullif(current_setting('request.jwt.claims', true), '');
  document jsonb;
  shape text;
  folded text;
begin
  if raw is null then return null; end if;
  -- Deep nesting would exhaust the stack, an error that no soft check catches.
  if length(raw) > 2000 and (length(raw) > 65536 or length(raw) - length(translate(raw, '[{{', '')) > 1000) then
    return null;
  end if;
  if current_setting('server_version_num')::integer >= 160000 then
    if not pg_input_is_valid(raw, 'jsonb') then return null; end if;
  else
    shape := regexp_replace(raw, {sql.literal(_STRING)}, '""', 'g');
    if shape ~ {sql.literal(f'{_TOUCHING}{_BLANK}{_TOUCHING}|"{{4}}')} then return null; end if;
    shape := regexp_replace(shape, {sql.literal(_BLANK)}, '', 'g');
    shape := regexp_replace(shape, {sql.literal(_SCALAR)}, '0', 'g');
    loop
      folded := regexp_replace(shape, {sql.literal(_FOLDABLE)}, '0', 'g');
      exit when folded = shape;
      shape := folded;
    end loop;
    if shape <> '0' and shape <> '""' then return null; end if;
  end if;
  document := raw::jsonb;
  if jsonb_typeof(document) = 'object' then return document; end if;
  return null;
end
"""

CLAIMS = function("claims", "", "jsonb", _CLAIMS, arguments="", meaning='{"value":"the claims"}')


# From 17 on a parallel plan admits the subtransaction of an EXCEPTION block, which is cheaper than to ask whether a
# text is valid and then to parse it, and also catches a nesting that exhausts the stack. The version is asked at run
# time: a revision made on one major may run on another. plpgsql sets up each expression of a function anew in each
# transaction, some microseconds apiece, so the functions that policies call have as few as can be.
CATCHES = "current_setting('server_version_num') >= '170000'"  # of six digits ever since 10


def read_document(then: str = "", otherwise: str = "") -> str:
    """Statements that set `document` to the claims, or to NULL when they aren't JSON.

    `then` may raise, which leaves undone what it was doing; `otherwise` is its form for the majors that can't catch.
    """
    return f"""  if {CATCHES} then
    begin
      document := current_setting('request.jwt.claims', true)::jsonb;{then}
    exception when others then null;
    end;
  else
    document := {SCHEMA}.claims();{otherwise}
  end if;"""


def claim_function(name: str, claim: Claim, execute: tuple[str, ...], meaning: str) -> Function:
    """A function that returns one claim as a value of its type, NULL when absent or malformed."""
    # json would be read for less, but takes what jsonb refuses, and another one of several keys that are the same
    body = f"""
declare
  document jsonb;
begin
  if {CATCHES} then
    begin
      document := current_setting('request.jwt.claims', true)::jsonb;
      return {raising(claim)};
    exception when others then return null;
    end;
  end if;
  document := {SCHEMA}.claims();
  return {typed(claim)};
end
"""
    return function(name, "", claim.type, body, arguments="", execute=execute, meaning=meaning)


# --- what a document says, as plpgsql expressions over the variable `document` ----------------------------------------


def path_literal(path: ClaimPath) -> str:
    """A text[] constant of the path's members."""
    return sql.literal("{" + ",".join('"' + p.replace("\\", "\\\\").replace('"', '\\"') + '"' for p in path) + "}")


def value_of(path: ClaimPath, document: str = "document") -> str:
    """The JSON at `path`, SQL NULL when nothing is there."""
    if len(path) == 1:
        return f"({document} -> {sql.literal(path[0])})"
    return f"({document} #> {path_literal(path)})"


def may_name_client(identity: Identity) -> str:
    """Whether the claims, unread, may name a client: false only where its key stands in them in no way.

    In JSON a key can be written otherwise than letter by letter only with a backslash.
    """
    text = "current_setting('request.jwt.claims', true)"
    keys = dict.fromkeys(["\\", *(path[-1] for path in identity.client)])
    return "(" + " or ".join(f"strpos({text}, {sql.literal(key)}) > 0" for key in keys) + ")"


def text_of(path: ClaimPath, document: str = "document") -> str:
    """The value at `path` as text: of a string, its content."""
    if len(path) == 1:
        return f"({document} ->> {sql.literal(path[0])})"
    return f"({document} #>> {path_literal(path)})"


def present(path: ClaimPath) -> str:
    """Whether the claim is there in any form: a parent that is no object counts, for it can't be looked into."""
    key = sql.literal(path[-1])
    if len(path) == 1:
        return f"(document ? {key})"
    tests = [f"document ? {sql.literal(path[0])}"]
    for depth in range(1, len(path)):
        parent = value_of(path[:depth])
        tests.append(f"(jsonb_typeof({parent}) <> 'object' or {parent} ? {sql.literal(path[depth])}")
    return "(" + " and ".join(tests) + ")" * (len(path) - 1) + ")"


def valid(claim: Claim) -> str:
    """Whether the claim is there and well-formed: true, false or NULL; never an error."""
    value, text = value_of(claim.path), text_of(claim.path)
    if claim.type == "text":
        return f"(jsonb_typeof({value}) = 'string' and {text} <> '')"
    if claim.type == "uuid":
        return f"(jsonb_typeof({value}) = 'string' and {text} ~ '{_UUID}')"
    if claim.type == "boolean":
        return f"(jsonb_typeof({value}) = 'boolean')"
    bits = 31 if claim.type == "integer" else 63
    fits = f"case when {text} ~ '^-?[0-9]{{1,19}}$' then {text}::numeric between {-(2**bits)} and {2**bits - 1} end"
    return f"(jsonb_typeof({value}) = 'number' and {fits})"


def raising(claim: Claim) -> str:
    """The claim as a value of its type; NULL or an error when absent or malformed.

    A uuid is spelled as RFC 9562 has it, an integer in digits alone; a string that is cast whole has quotes, and fails.
    """
    value, text, kind = value_of(claim.path), text_of(claim.path), claim.type
    if kind == "uuid":
        return f"case when {text} like '{UUID_SHAPE}' then {text}::uuid end"
    if kind == "text":
        return f"case when jsonb_typeof({value}) = 'string' then nullif({text}, '') end"
    if kind == "boolean":
        return f"case when {value}::text in ('true', 'false') then {value}::text::boolean end"
    return f"{value}::text::{kind}"


def typed(claim: Claim) -> str:
    """The claim as a value of its type, NULL when absent or malformed; never an error."""
    return f"case when {valid(claim)} then {text_of(claim.path)}::{claim.type} end"


def json_text(value: object) -> str:
    """Compact JSON, keys in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
