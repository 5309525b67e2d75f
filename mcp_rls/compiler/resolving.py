"""mcp_rls.resolve(acting): what a session's claims say becomes settings of its transaction; and what policies read.

A role's name says as whom the session will act, which counts for who is nobody: in another role that may see something
else. A name that the file doesn't have is refused: a slip of the pen would show as missing rows at most. Of the cases
that `mcp_rls.gate` knows only those are set that are open to the token's class; a session that passes every ceiling has
one setting for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcp_rls import sql
from mcp_rls.compiler import gate as g
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.carried import CLAIMS, Gate, held_name, setting, value
from mcp_rls.compiler.meaning import of_call, of_value
from mcp_rls.compiler.model import PolicySet
from mcp_rls.compiler.shapes import CLOSED, DIRECT
from mcp_rls.state import SCHEMA, Function


def entries(asked: Gate) -> Function:
    """mcp_rls.entries(): what opens which case for each class, by setting; apart, for it changes with every rule."""
    lines = [f"{h.json_text(name)}:{h.json_text(found)}" for name, found in _by_class(asked).items()]
    listed = sql.literal("{" + ",\n  ".join(lines) + "}")
    body = f"\nbegin\n  return {listed}::jsonb;\nend\n"
    meaning = of_value("what opens which case for each class", "the rules")
    return h.function("entries", "", "jsonb", body, arguments="", meaning=meaning)


def resolve(decision: g.Decision, values: dict[str, str]) -> Function:
    """The function. `values`: all that the token says, by setting, and the call that gives it.

    Whoever calls it learns what its own claims say, and changes no more than it could by SET: anybody may.
    """
    texts = {"open": "''", "nobody": "''", "claims": CLAIMS}
    texts |= {name: f"{call}::text" for name, call in values.items()}
    settings = ",\n    ".join(_set(sql.literal(f"{SCHEMA}.{name}"), text) for name, text in texts.items())
    body = f"""{g.DECLARED}
{g.declarations(decision.policies)}
  rules constant jsonb := {SCHEMA}.entries();
  v_opened text := '';
  v_done text[];
  v_name text;
  v_entries jsonb;
begin
{_known(decision.policies)}
  -- what was resolved before in this transaction
  foreach v_name in array string_to_array(coalesce(current_setting('{SCHEMA}.opened', true), ''), ' ') loop
    v_done := array[{_set(f"'{SCHEMA}.' || v_name", "''")}];
  end loop;
  -- before a `where` is asked, which may read a set, and that reads these
  v_done := array[
    {settings}
  ];
{chr(10).join(g.recognised(decision))}
    if rules ? v_class then
      for v_name, v_entries in select listed.key, listed.value from jsonb_each(rules -> v_class) listed loop
    {g.choose(decision, "v_entries").replace(chr(10), chr(10) + "    ")}
        if v_case > 0 then
          v_opened := concat_ws(' ', nullif(v_opened, ''), v_name);
          v_done := array[{_set(f"'{SCHEMA}.' || v_name", "v_case::text")}];
        end if;
      end loop;
    end if;
    v_case := case when v_class = 'direct' then {DIRECT} else {CLOSED} end;
  end if;
  v_done := array[
    {_set(f"'{SCHEMA}.opened'", "v_opened")},
    {_set(f"'{SCHEMA}.open'", f"case when v_case = {DIRECT} and v_person is not null then v_case::text end")},
    {_set(f"'{SCHEMA}.nobody'", f"case when v_case = {DIRECT} and v_person is null then acting::text end")}
  ];
end
"""
    return h.function(
        "resolve",
        "acting name",
        "void",
        body,
        arguments="name",
        volatility="volatile",
        parallel="unsafe",
        execute=("public",),
        settings=h.AUTHOR_SETTINGS if decision.raw else "",
        meaning=of_call("the settings that policies read"),
    )


def _known(policies: PolicySet) -> str:
    """Statements that refuse a role which the file doesn't name; a trusted one may meet the call of all requests."""
    names = dict.fromkeys([*policies.acting, *policies.trusted_roles])
    listed = sql.literal(f"one of: {', '.join(names)}")
    message = f"format('{SCHEMA}.resolve: the policy file has no role %s', coalesce(quote_ident(acting), 'null'))"
    return f"""  if (acting in ({", ".join(map(sql.literal, names))})) is not true then
    raise invalid_parameter_value using message = {message},
      hint = {listed};
  end if;"""


def opened(policies: PolicySet) -> Function:
    """mcp_rls.opened(setting, direct): the case that is open by what was resolved, as its text, else NULL.

    `setting` holds it for a client, if not NULL; `direct` asks for who passes every ceiling.
    """
    arms = [("current_setting(setting, true) <> ''", "current_setting(setting, true)")]
    arms.append((f"direct and {setting('open')} <> ''", setting("open")))
    if policies.anonymous:
        arms.append((f"direct and {setting('nobody')} = current_user", f"'{DIRECT}'"))
    # who may be nobody has no claims, then and now; to who hasn't resolved nothing is open
    body = _while_the_same(f"coalesce({CLAIMS}, '')" if policies.anonymous else CLAIMS, _first(arms))
    meaning = of_value("the case that is open by what was resolved")
    return _reader("opened", "setting text, direct boolean", "text", body, "text, boolean", policies, meaning)


def held(policies: PolicySet, name: str, type_: str) -> Function:
    """mcp_rls.held_<name>(setting): the token's value while what was resolved counts, and where a case is open by that
    setting or the session passes every ceiling; else NULL.
    """
    found = value(name, type_)
    tests = ["current_setting(setting, true) <> ''", f"{setting('open')} <> ''"]
    tests += [f"{setting('nobody')} = current_user"] * bool(policies.anonymous)
    body = _while_the_same(CLAIMS, _first((test, found) for test in tests))
    meaning = of_value(f"{name} as it was resolved")
    return _reader(held_name(name), "setting text", type_, body, "text", policies, meaning)


def _first(arms: Iterable[tuple[str, str]]) -> str:
    """A statement that returns what belongs to the first test that holds; one that isn't come to is never set up."""
    return "if " + "\n    elsif ".join(f"{test} then return {found};" for test, found in arms) + "\n    end if;"


def _while_the_same(claims: str, statement: str) -> str:
    """A body that does this while the claims are those that were resolved, and returns NULL else."""
    return f"\nbegin\n  if {setting('claims')} = {claims} then\n    {statement}\n  end if;\n  return null;\nend\n"


def _reader(
    name: str, parameters: str, returns: str, body: str, arguments: str, policies: PolicySet, meaning: str
) -> Function:
    """A function that reads settings: those of the caller, as the caller."""
    execute = policies.acting
    return h.function(
        name, parameters, returns, body, arguments=arguments, definer=False, execute=execute, meaning=meaning
    )


def _set(name: str, text: str) -> str:
    return f"set_config({name}, coalesce({text}, ''), true)"


def _by_class(asked: Gate) -> dict[str, dict[str, list[list[object]]]]:
    """Each class's entries in all the rules that policies ask about, by setting."""
    found: dict[str, dict[str, list[list[object]]]] = {}
    for name, rules in sorted(asked.asked.items()):
        for class_name, entries in rules.items():
            found.setdefault(class_name, {})[name] = entries
    return dict(sorted(found.items()))
