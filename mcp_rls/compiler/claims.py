"""The policy file's own functions: who the token's person and client are, and which case of a policy is open to it.

`mcp_rls.gate(acting, rules)` is the heart: -1 for a direct session, 0 for closed, else the number of the case that
the token's class and scopes open. `rules` is {"class": [[case, "scope", ...], ...]}, the most demanding entry first.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import groupby

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.model import ClaimPath, ClientClass, NamedSet, PolicySet
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
# Not printable ASCII, a backslash, a fragment, a dot segment, or one of these in percent-encoding.
_ODD_URL = sql.literal(r"[^!-~]|[\\#]|/[.][.]?(/|[?]|$)|%2[eEfF]|%5[cC]")
MAX_CLIENT_ID = 2048  # characters; a longer one is of no class
DIRECT = -1
CLOSED = 0


def token_value(policies: PolicySet, *, wrapped: bool = True) -> dict[str, str]:
    """SQL for each token.<name>. Wrapped in a sub-select it is evaluated once a statement, bare once a row."""
    values = {"person": f"{SCHEMA}.person()", "client": f"{SCHEMA}.client()"}
    for name, claim in policies.claims.items():
        values[name] = f"{SCHEMA}.claim({h.path_literal(claim.path)}, {sql.literal(claim.type)})::{claim.type}"
    return {name: f"(select {call})" if wrapped else call for name, call in values.items()}


def set_function_name(name: str) -> str:
    return f"set_{name}"


def set_value(policies: PolicySet, name: str, *, wrapped: bool = True) -> str:
    """SQL for a set's values as an array."""
    call = f"{SCHEMA}.{sql.ident(set_function_name(name))}()"
    # the cast tells PostgreSQL that ANY takes an array here, not a sub-select's rows
    return f"(select {call})::{set_type(policies.sets[name])}[]" if wrapped else call


def renderer(policies: PolicySet, *, wrapped: bool = True) -> h.Renderer:
    """What `expression.render` needs to spell token values and sets."""
    values = token_value(policies, wrapped=wrapped)

    def spell(node: e.Token | e.SetValues) -> str:
        return values[node.name] if isinstance(node, e.Token) else set_value(policies, node.name, wrapped=wrapped)

    return spell


# --- person and client ------------------------------------------------------------------------------------------------


def person(policies: PolicySet) -> Function:
    claim = policies.identity.person
    body = f"""
declare
  document jsonb;
begin
{h.READ_DOCUMENT}
  return {h.typed(claim)};
end
"""
    return h.function("person", "", claim.type, body, arguments="", execute=policies.roles)


def client(policies: PolicySet) -> Function:
    body = f"""
declare
  document jsonb;
begin
{h.READ_DOCUMENT}
  return {_client_text(policies)};
end
"""
    return h.function("client", "", "text", body, arguments="", execute=policies.roles)


def _client_text(policies: PolicySet) -> str:
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
        execute=policies.roles,
        place=place,
        settings=h.AUTHOR_SETTINGS,
    )


def set_type(definition: NamedSet) -> str:
    """The type of a set's members as PostgreSQL spells it; a modifier such as (20) means nothing in a result."""
    base = re.sub(r"\s*\([^)]*\)", "", definition.type).strip().lower()
    return _SPELLINGS.get(base, base)


# --- the gate ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What a file's `gate` and `key` decide by.

    `where`: the SQL of each registry's and the consent table's `where`, by class and 'consent'. `entries`: the largest
    number of entries that a class has in any ceiling's rules. `raw`: some `where` is an author's SQL.
    """

    policies: PolicySet
    catalog: Catalog | None
    where: dict[str, str]
    entries: int
    raw: bool = False


def gate(decision: Decision) -> Function:
    """mcp_rls.gate(acting, rules): -1 for a direct session, 0 for closed, else the number of the open case."""
    body = _body(decision, "return v_case;")
    parameters, types = "acting name, rules jsonb", "name, jsonb"
    return _deciding("gate", parameters, types, "integer", body, decision)


def key(decision: Decision) -> Function:
    """mcp_rls.key(acting, rules, path, kind): a claim as text if the session is direct or some case is open, else NULL.

    Where clients see all that their person does, a policy compares with this, and asks gate and claim at one price.
    """
    body = _body(decision, f"if v_case = {CLOSED} then return null; end if;\n{h.RETURN_CLAIM}")
    parameters, types = "acting name, rules jsonb, path text[], kind text", "name, jsonb, text[], text"
    return _deciding("key", parameters, types, "text", body, decision)


def _deciding(name: str, parameters: str, types: str, returns: str, body: str, decision: Decision) -> Function:
    settings = h.AUTHOR_SETTINGS if decision.raw else ""
    roles = decision.policies.roles
    return h.function(name, parameters, returns, body, arguments=types, execute=roles, settings=settings)


def _body(decision: Decision, result: str) -> str:
    """Statements that set `v_case`, then `result`."""
    policies = decision.policies
    parts = [
        _declarations(policies),
        "begin",
        h.READ_DOCUMENT,
        f"  v_client := {_client_text(policies)};",
        _without_client(policies),
        "  else",
        _class(decision),
        _consent(decision),
        _token_scopes(policies),
        _choose(decision),
        "  end if;",
        f"  {result}",
        "end",
    ]
    # in a query a bare name is a column; what is ours is said with its block's name
    return "\n#variable_conflict use_column\n<<ours>>\n" + "\n".join(part for part in parts if part) + "\n"


def _declarations(policies: PolicySet) -> str:
    lines = [
        "document jsonb;",
        "v_client text;",
        "v_case integer;",
        "v_class text;",
        *(["v_listed text;"] if not _by_id_alone(policies) else []),
        *(["v_asked jsonb;"] if policies.identity.scope is not None else []),
        *([f"v_person {policies.identity.person.type};"] if _needing_consent(policies) else []),
        *(["v_standing boolean;", "v_consented jsonb;"] if _needing_consent(policies) else []),
    ]
    return "\n  ".join(["declare", *lines])


def _without_client(policies: PolicySet) -> str:
    """The case of every session that names no valid client."""
    absent = " and ".join(f"not {h.present(p)}" for p in policies.identity.client)
    left = "false"
    if policies.anonymous:
        left = f"acting in ({', '.join(map(sql.literal, policies.anonymous))})"
    direct = DIRECT if policies.identity.direct.kind == "no_client" else CLOSED
    return f"""  if v_client is null then
    v_case := case
      -- a setting that holds anything but an object may hide a client: closed
      when jsonb_typeof(document) is distinct from 'object' then case
        when {left} and coalesce(current_setting('request.jwt.claims', true), '') = '' then {DIRECT} else {CLOSED} end
      when {absent} then case
        when {h.valid(policies.identity.person)} then {direct} when {left} then {DIRECT} else {CLOSED} end
      else {CLOSED}
    end;"""


# --- which class, and does it live


def _by_id_alone(policies: PolicySet) -> bool:
    """Whether ids decide every class (and no id means a direct session): one look-up then names the class."""
    return policies.identity.direct.kind != "ids" and all(map(_ids_only, policies.classes.values()))


def _ids_only(c: ClientClass) -> bool:
    return bool(c.ids) and c.client_id_url_prefix is None and c.registry is None


def _holders(policies: PolicySet) -> dict[str, list[str]]:
    """For each client id the classes whose `ids` have it, in order of match; 'direct' alone for a direct session's."""
    holders: dict[str, list[str]] = {}
    for c in policies.classes.values():
        for client_id in c.ids:
            holders.setdefault(client_id, []).append(c.name)
    return holders | {client_id: ["direct"] for client_id in policies.identity.direct.ids}


def _listed(policies: PolicySet) -> str:
    """The classes whose `ids` have the client, joined by a comma, else NULL.

    Any role can read a function's text, so digests stand there and no id. A look-up in a table would add a third to
    the price of the whole function.
    """
    digests = {hashlib.sha256(i.encode()).hexdigest(): ",".join(names) for i, names in _holders(policies).items()}
    table = sql.literal(h.json_text(dict(sorted(digests.items()))))
    return f"{table}::jsonb ->> encode(sha256(convert_to(v_client, 'UTF8')), 'hex')"


def _class(decision: Decision) -> str:
    """`v_class` becomes the first class that matches, if it lives; runs of classes known by id share one test."""
    policies = decision.policies
    valid = h.valid(policies.identity.person)
    shared = any(len(names) > 1 for names in _holders(policies).values())
    if _by_id_alone(policies):
        first = f"split_part({_listed(policies)}, ',', 1)" if shared else _listed(policies)
        return f"    v_class := case when {valid} then {first} end;" if policies.classes else ""
    lines = [f"    v_listed := {_listed(policies)};", f"    if not coalesce({valid}, false) then v_class := null;"]
    if policies.identity.direct.kind == "ids":
        lines.append("    elsif v_listed = 'direct' then v_class := v_listed;")
    for alone, run in groupby(policies.classes.values(), _ids_only):
        if alone and not shared:
            names = ", ".join(sql.literal(c.name) for c in run)
            lines.append(f"    elsif v_listed in ({names}) then v_class := v_listed;")
        else:
            lines += [f"    elsif {_match(c, decision.catalog)} then {_alive(c, decision)}" for c in run]
    return "\n".join([*lines, "    end if;"])


def _match(c: ClientClass, catalog: Catalog | None) -> str:
    """Membership: whether the client is of the class."""
    tests = []
    if c.ids:
        tests.append(f"{sql.literal(c.name)} = any (string_to_array(v_listed, ','))")
    if c.client_id_url_prefix is not None:
        # a URL that starts right and then leaves its folder, or isn't one string of plain characters, is no match
        tests.append(
            f"starts_with(v_client, {sql.literal(c.client_id_url_prefix)}) and length(v_client) <= {MAX_CLIENT_ID}"
        )
        tests.append(f"v_client !~ {_ODD_URL}")
    if c.registry is not None:
        row = registered(c, catalog)
        tests.append(
            f"length(v_client) <= {MAX_CLIENT_ID} and exists (select from {sql.table(c.registry.table)} r where {row})"
        )
    return " and ".join(tests)


def _alive(c: ClientClass, decision: Decision) -> str:
    """Life: a disabled member stays one, and is closed; it never falls through to a later class."""
    if c.registry is None or c.name not in decision.where:
        return f"v_class := {sql.literal(c.name)};"
    row = f"{registered(c, decision.catalog)} and ({decision.where[c.name]})"
    exists = f"exists (select from {sql.table(c.registry.table)} r where {row})"
    return f"\n      v_class := case when {exists} then {sql.literal(c.name)} end;"


def registered(c: ClientClass, catalog: Catalog | None) -> str:
    """Whether row `r` of the class's registry is the client's."""
    assert c.registry is not None
    return same_text(f"r.{sql.ident(c.registry.id)}", _type(catalog, c.registry.table, c.registry.id), "ours.v_client")


def same_text(column: str, type_: str | None, value: str) -> str:
    """Whether a column of any type, as text, is `value` to the byte; for text and uuid so that an index serves."""
    exact = f'{column}::text collate "C" = {value}'
    if type_ in ("text", "character varying"):
        return f"{column} = {value} and {exact}"
    if type_ == "uuid":
        return f"{column} = case when {value} ~ '{h.UUID_LOWER}' then {value}::uuid end"
    return exact


def _type(catalog: Catalog | None, table: TableName, column: str) -> str | None:
    known = catalog.tables.get(table) if catalog else None
    found = known.column(column) if known else None
    return found.base_type or found.type if found else None


# --- what it holds


def _token_scopes(policies: PolicySet) -> str:
    """`v_asked` becomes the token's scopes; NULL, which holds nothing, for a claim of another shape."""
    path = policies.identity.scope
    if path is None:
        return ""
    value = h.value_of(path)
    return f"""    if jsonb_typeof({value}) = 'string' then
      v_asked := to_jsonb(string_to_array({h.text_of(path)}, ' '));
    else
      v_asked := case
        when not {h.present(path)} then '[]'
        when jsonb_typeof({value}) = 'array' then
          case when not jsonb_path_exists({value}, 'strict $[*] ? (@.type() != "string")') then {value} end
      end;
    end if;
{_closure(policies, "v_asked")}"""


def _closure(policies: PolicySet, variable: str) -> str:
    """The scopes that others in `variable` imply are added to it."""
    added = [
        f"case when {variable} ? {sql.literal(s.name)} then "
        f"{sql.literal(h.json_text(sorted(s.closure - {s.name})))} else '[]' end::jsonb"
        for s in policies.scopes.values()
        if s.closure != {s.name}
    ]
    return f"    {variable} := {variable}\n      || " + "\n      || ".join(added) + ";" if added else ""


def _needing_consent(policies: PolicySet) -> list[str]:
    return [name for name in policies.classes if policies.consent_required(name)]


def _consent(decision: Decision) -> str:
    """No live consent row ends the session's life; the words of all live rows are united in `v_consented`."""
    policies, catalog = decision.policies, decision.catalog
    consent, needing = policies.consent, _needing_consent(policies)
    if consent is None or not needing:
        return ""
    column = f"g.{sql.ident(consent.client)}"
    grantee = same_text(column, _type(catalog, consent.table, consent.client), "ours.v_client")
    live = f" and ({decision.where['consent']})" if "consent" in decision.where else ""
    row = f"from {sql.table(consent.table)} g"
    conditions = f"where {_same_person(policies, catalog)} and {grantee}{live}"
    if consent.scopes is None:
        read = f"select exists (select {row} {conditions}) into v_standing;"
    else:
        words = _words(f"g.{sql.ident(consent.scopes)}", _type(catalog, consent.table, consent.scopes))
        read = (
            "select count(*) > 0, coalesce(jsonb_agg(said.word) filter (where said.word is not null), '[]')\n"
            f"        into v_standing, v_consented {row} left join lateral {words} said(word) on true\n"
            f"        {conditions};"
        )
    names = ", ".join(map(sql.literal, needing))
    # a class that has no case here need not be asked
    head = f"    if v_class in ({names}) and rules ? v_class then"
    person = f"      v_person := {h.typed(policies.identity.person)};\n      {read}"
    close = "      if not v_standing then v_class := null; end if;"
    closure = _closure(policies, "v_consented") if consent.scopes is not None else ""
    return "\n".join(part for part in (head, person, close, closure, "    end if;") if part)


def _same_person(policies: PolicySet, catalog: Catalog | None) -> str:
    assert policies.consent is not None
    column = f"g.{sql.ident(policies.consent.person)}"
    known = _type(catalog, policies.consent.table, policies.consent.person)
    same_type = known is None or known == policies.identity.person.type
    return f"{column} = ours.v_person" if same_type else f"{column}::text = ours.v_person::text"


def _words(column: str, type_: str | None) -> str:
    if type_ is not None and type_.endswith("[]"):
        return f"unnest({column}::text[])"
    if type_ is not None:
        return f"unnest(string_to_array({column}::text, ' '))"
    # without a catalog: text and text[] alike, through jsonb
    words = f"to_jsonb(string_to_array({column}::text, ' '))"
    array = f"case jsonb_typeof(to_jsonb({column})) when 'array' then to_jsonb({column}) else {words} end"
    return f"jsonb_array_elements_text({array})"


def _choose(decision: Decision) -> str:
    """`v_case` becomes the first entry all of whose scopes are held; the most demanding stands first."""
    policies = decision.policies

    def held(entry: str) -> str:
        scopes = f"({entry} - 0)"
        tests = [f"v_asked @> {scopes}"] if policies.identity.scope is not None else []
        narrowing = _needing_consent(policies) if _narrows(policies) else []
        if narrowing and len(narrowing) == len(policies.classes):
            tests.append(f"v_consented @> {scopes}")
        elif narrowing:
            tests.append(f"(v_class not in ({', '.join(map(sql.literal, narrowing))}) or v_consented @> {scopes})")
        return " and ".join(tests) or f"jsonb_array_length({entry}) = 1"

    arms = [f"      when v_class = 'direct' then {DIRECT}"] if policies.identity.direct.kind == "ids" else []
    arms += [
        f"      when {held(entry)} then ({entry} ->> 0)::integer"
        for entry in (f"(rules -> v_class -> {position})" for position in range(decision.entries))
    ]
    return (
        "\n".join(["    v_case := case", *arms, f"      else {CLOSED}", "    end;"])
        if arms
        else f"    v_case := {CLOSED};"
    )


def _narrows(policies: PolicySet) -> bool:
    return policies.consent is not None and policies.consent.scopes is not None
