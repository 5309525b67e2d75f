"""The policy file's own functions: who the token's person and client are, and which case of a policy is open to it.

`mcp_rls.gate(acting role, rules)` is the heart: -1 for a direct session, 0 for closed, else the number of the case that
the token's class and scopes open. `rules` is {"class": [[case, "scope", ...], ...]}, the most demanding entry first.
"""

from __future__ import annotations

from itertools import groupby

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler import expression as e
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.model import ClientClass, NamedSet, PolicySet
from mcp_rls.state import SCHEMA, Function

DIRECT = -1
CLOSED = 0


def token_value(policies: PolicySet, *, wrapped: bool = True) -> dict[str, str]:
    """SQL for each token.<name>. Wrapped in a sub-select it is evaluated once a statement, bare once a row."""
    values = {"person": f"{SCHEMA}.person()", "client": f"{SCHEMA}.client()"}
    for name, claim in policies.claims.items():
        values[name] = (
            f"{SCHEMA}.claim({h.path_literal(claim.path)}, {sql.literal(claim.type)})::{claim.type}"
        )
    return {name: f"(select {call})" if wrapped else call for name, call in values.items()}


def set_function_name(name: str) -> str:
    return f"set_{name}"


def set_value(policies: PolicySet, name: str, *, wrapped: bool = True) -> str:
    """SQL for a set's values as an array."""
    call = f"{SCHEMA}.{sql.ident(set_function_name(name))}()"
    # the cast tells PostgreSQL that ANY takes an array here, not a sub-select's rows
    return f"(select {call})::{policies.sets[name].type}[]" if wrapped else call


def renderer(policies: PolicySet, *, wrapped: bool = True) -> h.Renderer:
    """What `expression.render` needs to spell token values and sets."""
    values = token_value(policies, wrapped=wrapped)

    def spell(node: e.Token | e.SetValues) -> str:
        return (
            values[node.name]
            if isinstance(node, e.Token)
            else set_value(policies, node.name, wrapped=wrapped)
        )

    return spell


# --- person and client ------------------------------------------------------------------------------------------------


def person(policies: PolicySet) -> Function:
    claim = policies.identity.person
    body = f"\ndeclare\n  document constant jsonb := {SCHEMA}.claims();\nbegin\n  return {h.typed(claim)};\nend\n"
    return h.function("person", "", claim.type, body, arguments="", execute=policies.roles)


def client(policies: PolicySet) -> Function:
    body = f"""
declare
  document constant jsonb := {SCHEMA}.claims();
  named jsonb;
begin
{_find_client(policies)}
  return {_client_text("named")};
end
"""
    return h.function("client", "", "text", body, arguments="", execute=policies.roles)


def _find_client(policies: PolicySet) -> str:
    """`named` becomes the client claim in any form, or stays NULL when every path is absent."""
    lines = []
    for number, path in enumerate(policies.identity.client):
        word = "if" if number == 0 else "elsif"
        # coalesce: something is there that can't be looked into, which is present and malformed
        lines.append(f"  {word} {h.present(path)} then named := coalesce({h.value_of(path)}, 'null');")
    return "\n".join([*lines, "  end if;"])


def _client_text(variable: str) -> str:
    text = f"({variable} #>> '{{}}')"
    return (
        f"case when jsonb_typeof({variable}) = 'string' and length({text}) between 1 and 2048 then {text} end"
    )


# --- sets -------------------------------------------------------------------------------------------------------------


def named_set(
    policies: PolicySet, definition: NamedSet, parts: tuple[str | e.Expr, ...], place: str
) -> Function:
    """mcp_rls.set_<name>(): the set's values, NULLs dropped, read past row security by the function's owner."""
    spell = renderer(policies)
    query = "".join(part if isinstance(part, str) else e.render(part, spell) for part in parts)
    body = f"""
begin
  return array(select listed.member from ({query.strip()}) listed(member) where listed.member is not null);
end
"""
    name = set_function_name(definition.name)
    return h.function(
        name, "", f"{definition.type}[]", body, arguments="", execute=policies.roles, place=place
    )


# --- the gate ---------------------------------------------------------------------------------------------------------


def gate(policies: PolicySet, catalog: Catalog | None, where: dict[str, str]) -> Function:
    """mcp_rls.gate(); `where` gives the SQL of each registry's and the consent table's `where`, by class and 'consent'."""
    parts = [
        _declarations(policies),
        "begin",
        _nobody(policies),
        _find_client(policies),
        _direct(policies),
        _class(policies, catalog),
        "  v_entries := rules -> v_class;",
        f"  if v_entries is null then return {CLOSED}; end if;",
        _registry_life(policies, catalog, where),
        _token_scopes(policies),
        _consent(policies, catalog, where),
        _choose(policies),
        f"  return {CLOSED};",
        "end",
    ]
    body = "\n" + "\n".join(part for part in parts if part) + "\n"
    return h.function(
        "gate", "acting name, rules jsonb", "integer", body, arguments="name, jsonb", execute=policies.roles
    )


def _declarations(policies: PolicySet) -> str:
    return f"""declare
  document constant jsonb := {SCHEMA}.claims();
  v_person constant {policies.identity.person.type} := {h.typed(policies.identity.person)};
  named jsonb;
  v_client text;
  v_listed text;
  v_class text;
  v_entries jsonb;
  v_entry jsonb;
  v_asked jsonb := '[]';
  v_consented jsonb := '[]';
  v_standing boolean;"""


def _anonymous(policies: PolicySet) -> str:
    """-1 where nobody is left to the person policies, else 0."""
    if not policies.anonymous:
        return f"return {CLOSED};"
    names = ", ".join(map(sql.literal, policies.anonymous))
    return f"return case when acting in ({names}) then {DIRECT} else {CLOSED} end;"


def _nobody(policies: PolicySet) -> str:
    return f"""  if document is null then
    -- a setting that holds anything but an object may hide a client: closed for everybody
    if nullif(current_setting('request.jwt.claims', true), '') is not null then return {CLOSED}; end if;
    {_anonymous(policies)}
  end if;"""


def _direct(policies: PolicySet) -> str:
    head = f"""  v_client := {_client_text("named")};"""
    if policies.identity.direct.kind == "no_client":
        absent = f"if v_person is not null then return {DIRECT}; end if;\n    {_anonymous(policies)}"
    else:
        absent = f"if v_person is not null then return {CLOSED}; end if;\n    {_anonymous(policies)}"
    lookup = f"  select c.class into v_listed from {SCHEMA}.client_ids c where c.client_id = v_client;"
    lines = [
        head,
        f"  if named is null then\n    {absent}\n  end if;",
        f"  if v_client is null or v_person is null then return {CLOSED}; end if;",
    ]
    if policies.identity.direct.kind == "ids":
        lines += [lookup, f"  if v_listed = 'direct' then return {DIRECT}; end if;"]
    # a table closed to every client asks no further
    lines.append(f"  if rules = '{{}}' then return {CLOSED}; end if;")
    if policies.identity.direct.kind != "ids" and any(c.ids for c in policies.classes.values()):
        lines.append(lookup)
    return "\n".join(lines)


def _class(policies: PolicySet, catalog: Catalog | None) -> str:
    """`class` becomes the first class that matches; runs of classes known by id alone share one test."""
    if not policies.classes:
        return f"  return {CLOSED};"
    lines = []

    def by_id_alone(c: ClientClass) -> bool:
        return bool(c.ids) and c.client_id_url_prefix is None and c.registry is None

    for alone, run in groupby(policies.classes.values(), by_id_alone):
        if alone:
            names = ", ".join(sql.literal(c.name) for c in run)
            lines.append((f"v_listed in ({names})", "v_listed"))
        else:
            lines += [(_match(c, catalog), sql.literal(c.name)) for c in run]
    words = ["if", *["elsif"] * len(lines)]
    text = [
        f"  {word} {test} then v_class := {value};" for word, (test, value) in zip(words, lines, strict=False)
    ]
    return "\n".join([*text, f"  else return {CLOSED};", "  end if;"])


def _match(c: ClientClass, catalog: Catalog | None) -> str:
    tests = []
    if c.ids:
        tests.append(f"v_listed = {sql.literal(c.name)}")
    if c.client_id_url_prefix is not None:
        # a URL that starts right and then leaves its folder, or isn't one string of plain characters, is no match
        tests.append(f"starts_with(v_client, {sql.literal(c.client_id_url_prefix)})")
        tests.append(r"v_client !~ '[^!-~]|[\\#]|/\.\.?(/|\?|$)|%2[eEfF]|%5[cC]'")
    if c.registry is not None:
        row = registered(c, catalog)
        tests.append(f"exists (select from {sql.table(c.registry.table)} r where {row})")
    return " and ".join(tests)


def registered(c: ClientClass, catalog: Catalog | None) -> str:
    """Whether row `r` of the class's registry is the client's."""
    assert c.registry is not None
    return same_text(
        f"r.{sql.ident(c.registry.id)}", _type(catalog, c.registry.table, c.registry.id), "v_client"
    )


def same_text(column: str, type_: str | None, value: str) -> str:
    """Whether a column of any type, as text, is `value`; for text and uuid in a form that an index serves."""
    if type_ in ("text", "character varying"):
        return f"{column} = {value}"
    if type_ == "uuid":
        return f"{column} = case when {value} ~ '{h.UUID_LOWER}' then {value}::uuid end"
    return f"{column}::text = {value}"


def _type(catalog: Catalog | None, table: TableName, column: str) -> str | None:
    known = catalog.tables.get(table) if catalog else None
    found = known.column(column) if known else None
    return found.base_type or found.type if found else None


def _registry_life(policies: PolicySet, catalog: Catalog | None, where: dict[str, str]) -> str:
    lines = []
    for c in policies.classes.values():
        if c.registry is not None and c.name in where:
            row = f"{registered(c, catalog)} and ({where[c.name]})"
            exists = f"exists (select from {sql.table(c.registry.table)} r where {row})"
            lines.append(
                f"  if v_class = {sql.literal(c.name)} and not {exists} then return {CLOSED}; end if;"
            )
    return "\n".join(lines)


def _token_scopes(policies: PolicySet) -> str:
    """`asked` becomes the token's scopes, closed under `implies`; a claim of another shape ends the session's life."""
    path = policies.identity.scope
    if path is None:
        return ""
    value = h.value_of(path)
    return f"""  if {h.present(path)} then
    case jsonb_typeof({value})
      when 'string' then v_asked := to_jsonb(string_to_array({value} #>> '{{}}', ' '));
      when 'array' then v_asked := {value};
      else return {CLOSED};
    end case;
    if jsonb_path_exists(v_asked, 'strict $[*] ? (@.type() != "string")') then return {CLOSED}; end if;
{_closure(policies, "v_asked")}  end if;"""


def _closure(policies: PolicySet, variable: str) -> str:
    lines = [
        f"    if {variable} ? {sql.literal(s.name)} then {variable} := {variable} || "
        f"{sql.literal(h.json_text(sorted(s.closure - {s.name})))}; end if;\n"
        for s in policies.scopes.values()
        if s.closure != {s.name}
    ]
    return "".join(lines)


def _consent(policies: PolicySet, catalog: Catalog | None, where: dict[str, str]) -> str:
    """No live consent row ends the session's life; the words of all live rows are united in `consented`."""
    consent = policies.consent
    needing = [name for name in policies.classes if policies.consent_required(name)]
    if consent is None or not needing:
        return ""
    owner = _same_person(policies, catalog)
    grantee = same_text(
        f"g.{sql.ident(consent.client)}", _type(catalog, consent.table, consent.client), "v_client"
    )
    live = f" and ({where['consent']})" if "consent" in where else ""
    row = f"from {sql.table(consent.table)} g"
    if consent.scopes is None:
        read = f"    v_standing := exists (select {row} where {owner} and {grantee}{live});"
    else:
        words = _words(f"g.{sql.ident(consent.scopes)}", _type(catalog, consent.table, consent.scopes))
        read = (
            "    select count(*) > 0, coalesce(jsonb_agg(word) filter (where word is not null), '[]')\n"
            f"    into v_standing, v_consented {row} left join lateral {words} word on true\n"
            f"    where {owner} and {grantee}{live};"
        )
    closure = _closure(policies, "v_consented") if consent.scopes is not None else ""
    guard = f"  if v_class in ({', '.join(map(sql.literal, needing))}) then\n"
    return f"{guard}{read}\n    if not v_standing then return {CLOSED}; end if;\n{closure}  end if;"


def _same_person(policies: PolicySet, catalog: Catalog | None) -> str:
    assert policies.consent is not None
    column = f"g.{sql.ident(policies.consent.person)}"
    known = _type(catalog, policies.consent.table, policies.consent.person)
    if known is None or known == policies.identity.person.type:
        return f"{column} = v_person"
    return f"{column}::text = v_person::text"


def _words(column: str, type_: str | None) -> str:
    if type_ is not None and type_.endswith("[]"):
        return f"unnest({column}::text[])"
    if type_ is not None:
        return f"unnest(string_to_array({column}::text, ' '))"
    # without a catalog: text and text[] alike, through jsonb
    array = f"case jsonb_typeof(to_jsonb({column})) when 'array' then to_jsonb({column}) else to_jsonb(string_to_array({column}::text, ' ')) end"
    return f"jsonb_array_elements_text({array})"


def _choose(policies: PolicySet) -> str:
    """The first entry all of whose scopes are held; entries stand from the most demanding to the least."""
    from_claim = policies.identity.scope is not None
    narrowing = [n for n in policies.classes if policies.consent_required(n)] if _narrows(policies) else []
    tests = ["v_asked @> (v_entry - 0)"] if from_claim else []
    if narrowing:
        everyone = len(narrowing) == len(policies.classes)
        names = ", ".join(map(sql.literal, narrowing))
        tests.append(
            "v_consented @> (v_entry - 0)"
            if everyone
            else f"(v_class not in ({names}) or v_consented @> (v_entry - 0))"
        )
    held = " and ".join(tests) or "jsonb_array_length(v_entry) = 1"
    return f"""  for position in 0 .. jsonb_array_length(v_entries) - 1 loop
    v_entry := v_entries -> position;
    if {held} then return (v_entry ->> 0)::integer; end if;
  end loop;"""


def _narrows(policies: PolicySet) -> bool:
    return policies.consent is not None and policies.consent.scopes is not None
