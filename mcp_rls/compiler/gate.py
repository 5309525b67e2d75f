"""mcp_rls.gate(acting, rules): which case of a ceiling is open to a session.

-1 for a direct session, 0 for closed, else the number of the case that the token's class and scopes open. `rules` is
{"class": [[case, "scope", ...], ...]}, the most demanding entry first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby

from mcp_rls import sql
from mcp_rls.catalog import Catalog, TableName
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.carried import held_name
from mcp_rls.compiler.claims import client_text
from mcp_rls.compiler.meaning import GATE, of_gate, of_value
from mcp_rls.compiler.model import Claim, ClientClass, PolicySet
from mcp_rls.compiler.shapes import CLOSED, DIRECT
from mcp_rls.state import Function

# Not printable ASCII, a backslash, a fragment, a dot segment, or one of these in percent-encoding.
_ODD_URL = sql.literal(r"[^!-~]|[\\#]|/[.][.]?(/|[?]|$)|%2[eEfF]|%5[cC]")
MAX_CLIENT_ID = 2048  # characters; a longer one is of no class


@dataclass(frozen=True)
class Decision:
    """What a file's `gate` decides by.

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
    return _deciding(decision, "gate", "integer", "v_case", of_gate(decision.policies, decision.where))


def held(decision: Decision, name: str, type_: str) -> Function:
    """mcp_rls.held_<name>(acting, rules): that value of the token where the gate is open, else NULL.

    It is the gate again and not a call of it, which would read the claims twice.
    """
    claim = decision.policies.claims.get(name)
    value = "v_value" if claim else f"v_{name}"
    function_name = held_name(f"claim_{name}" if claim else name)
    meaning = of_value(f"token.{name} of who is let in", GATE)
    returned = f"case when v_case <> {CLOSED} then {value} end"
    return _deciding(decision, function_name, type_, returned, meaning, claim)


def _deciding(
    decision: Decision, name: str, returns: str, returned: str, meaning: str, claim: Claim | None = None
) -> Function:
    """A function that decides which case is open, in `v_case`; with a claim, that is in `v_value`."""
    policies = decision.policies
    parts = [DECLARED, declarations(policies, claim), "begin", *recognised(decision, claim), choose(decision)]
    parts += ["  end if;", f"  return {returned};", "end\n"]
    return h.function(
        name,
        "acting name, rules jsonb",
        returns,
        "\n".join(parts),
        arguments="name, jsonb",
        execute=policies.acting,
        settings=h.AUTHOR_SETTINGS if decision.raw else "",
        meaning=meaning,
    )


def decides(function: Function) -> bool:
    """Whether it recognises who a session is: what one such function says of that, each says."""
    return "v_client := " in function.definition


# in a query a bare name is a column; what is ours is said with its block's name
DECLARED = "\n#variable_conflict use_column\n<<ours>>"


def recognised(decision: Decision, claim: Claim | None = None) -> list[str]:
    """Statements that set `v_case` for who names no client; and else, in a branch left open, what its token says.

    That is `v_class`, NULL for none that lives and has a case in `rules`, and the scopes: `v_asked`, `v_consented`.
    """
    policies = decision.policies
    parts = [
        _read(policies, claim),
        f"  v_client := {client_text(policies)};",
        _without_client(policies),
        "  else",
        _class(decision),
        _consent(decision),
        _token_scopes(policies),
    ]
    return [part for part in parts if part]


def declarations(policies: PolicySet, claim: Claim | None = None) -> str:
    """The variables of these statements."""
    lines = [
        "document jsonb;",
        "v_client text;",
        "v_case integer;",
        "v_class text;",
        *(["v_listed text;"] if not _by_id_alone(policies) else []),
        *(["v_asked jsonb;"] if policies.identity.scope is not None else []),
        f"v_person {policies.identity.person.type};",
        *([f"v_value {claim.type};"] if claim else []),
        *(["v_standing boolean;", "v_consented jsonb;"] if _needing_consent(policies) else []),
    ]
    return "\n  ".join(["declare", *lines])


def _read(policies: PolicySet, claim: Claim | None) -> str:
    """`document` becomes the claims, `v_person` the person in them, `v_value` the claim; NULL if absent or malformed.

    The person last: what is malformed leaves unread what follows it, and the value is to be NULL where it is by itself.
    """
    read = {"v_value": claim} if claim else {}
    read["v_person"] = policies.identity.person
    caught = "".join(f"\n      {name} := {h.raising(c)};" for name, c in read.items())
    return h.read_document(caught, "".join(f"\n    {name} := {h.typed(c)};" for name, c in read.items()))


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
        when v_person is not null then {direct} when {left} then {DIRECT} else {CLOSED} end
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
    shared = any(len(names) > 1 for names in _holders(policies).values())
    if _by_id_alone(policies):
        first = f"split_part({_listed(policies)}, ',', 1)" if shared else _listed(policies)
        return f"    v_class := case when v_person is not null then {first} end;" if policies.classes else ""
    lines = [f"    v_listed := {_listed(policies)};", "    if v_person is null then v_class := null;"]
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
    close = "      if not v_standing then v_class := null; end if;"
    closure = _closure(policies, "v_consented") if consent.scopes is not None else ""
    return "\n".join(part for part in (head, f"      {read}", close, closure, "    end if;") if part)


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


def choose(decision: Decision, entries: str = "rules -> v_class") -> str:
    """`v_case` becomes the first of these entries all of whose scopes are held; the most demanding stands first."""
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
        for entry in (f"({entries} -> {position})" for position in range(decision.entries))
    ]
    return (
        "\n".join(["    v_case := case", *arms, f"      else {CLOSED}", "    end;"])
        if arms
        else f"    v_case := {CLOSED};"
    )


def _narrows(policies: PolicySet) -> bool:
    return policies.consent is not None and policies.consent.scopes is not None
