"""Policy files to PolicySets: what comes out of a sound file, and what is said of the others."""

from __future__ import annotations

import ast
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mcp_rls
from mcp_rls.catalog import TableName
from mcp_rls.compiler.model import Claim, PolicySet, Rule
from mcp_rls.compiler.policy import json_schema, load_policies, read_policies
from mcp_rls.compiler.resolve import resolve
from mcp_rls.diagnostics import Severity
from mcp_rls.resources import codes, explanation

CASES = Path(__file__).parent / "cases"
EXAMPLE = (CASES / "long-example" / "policies.yaml").read_text(encoding="utf-8")
REWRITE = os.environ.get("MCP_RLS_REWRITE") == "1"  # write expected.txt anew, to be read in the diff

BASE = """\
mcp_rls: 1
platform: postgres
schemas: [public]
roles: [authenticated]
classes:
  assistant: {match: {ids: [help-desk-assistant]}}
scopes:
  "tickets:read": {text: Read your tickets}
tables:
  public.tickets:
    clients:
      - {who: assistant, allow: select, scope: "tickets:read"}
"""


def changed(fragment: str) -> str:
    """BASE with the top-level sections of `fragment` in place of its own."""
    own = set(re.findall(r"^(\w+):", fragment, re.MULTILINE))
    sections = re.split(r"(?m)^(?=\w+:)", BASE)
    return "".join(each for each in sections if each.partition(":")[0] not in own) + fragment


def sound(text: str) -> PolicySet:
    policies, diagnostics = read_policies("policies.yaml", text)
    assert policies is not None, "\n".join(map(str, diagnostics))
    return policies


def said(text: str) -> set[str]:
    return {d.code for d in read_policies("policies.yaml", text)[1]}


# --- golden files


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_diagnostics_of_a_file_are_as_written_down(folder: Path):
    """Each case says exactly what its expected.txt holds; one that is named silent says nothing."""
    text = (folder / "policies.yaml").read_text(encoding="utf-8")
    policies, diagnostics = read_policies("policies.yaml", text)
    found = "".join(f"{d}\n" for d in diagnostics)
    if REWRITE:
        (folder / "expected.txt").write_text(found, encoding="utf-8")
    assert found == (folder / "expected.txt").read_text(encoding="utf-8")
    assert (policies is None) == diagnostics.has_errors
    assert found == "" or not folder.name.endswith("-silent")


def test_ten_mistakes_come_out_in_one_run():
    """Each with line, column and the nearest right name or what to write instead."""
    _, diagnostics = load_policies(CASES / "ten-mistakes" / "policies.yaml")
    assert len(diagnostics.errors) == 10
    assert all(d.span.line and d.span.column for d in diagnostics.errors)
    assert all(d.hints for d in diagnostics.errors)
    hints = " ".join(hint for d in diagnostics.errors for hint in d.hints)
    for name in "postgres tickets:read assistant select public check https://partners.example/".split():
        assert name in hints


# --- pages

NEEDS_DATABASE = frozenset(
    """unknown-table unknown-schema unknown-column type-mismatch nullable-negation people-wider gain-by-absence door
    unbound-role as-before-open extension-type unknown-role class-role-people class-role-trigger
    class-role-unfit generated-column""".split()
)


def examples(code: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", explanation(code) or "", re.DOTALL)


def all_said(fragment: str) -> set[str]:
    """Codes of the file and of its conditions, as far as they can be judged without a database."""
    policies, diagnostics = read_policies("policies.yaml", changed(fragment))
    if policies is not None:
        resolve(policies, None, diagnostics)
    return {d.code for d in diagnostics}


@pytest.mark.parametrize("code", [c for c in codes() if c not in NEEDS_DATABASE and examples(c)])
def test_examples_of_a_page_show_what_they_say(code: str):
    """The wrong example brings the code out; the fixed one, which differs little, is free of it and of errors."""
    wrong, fixed = examples(code)
    assert code in all_said(wrong)
    assert code not in all_said(fixed)
    policies, diagnostics = read_policies("policies.yaml", changed(fixed))
    assert policies is not None, "\n".join(map(str, diagnostics))


@pytest.mark.parametrize("code", sorted(NEEDS_DATABASE))
def test_examples_for_a_database_are_files_that_can_be_read(code: str):
    """What is wrong with them shows only in a database."""
    for example in examples(code):
        sound(changed(example))


def emitted_codes() -> dict[str, set[str]]:
    """Codes that stand in the source as the code of a diagnostic, with the files they stand in."""
    adders = {"error", "warning", "note", "key_error", "_error", "_refuse", "_Refused", "expected", "Diagnostic"}
    found: dict[str, set[str]] = {}
    for file in Path(mcp_rls.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for argument in node.args if name in adders else ():
                text = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(text, str) and re.fullmatch(r"[a-z]+(-[a-z]+)+", text):
                    found.setdefault(text, set()).add(file.name)
    return found


def test_every_code_has_a_page():
    """A code that the source emits can be asked for by `mcp-rls explain-code`."""
    emitted = emitted_codes()
    assert {"unknown-class", "yaml-syntax", "bad-value", "bad-condition"} <= set(emitted)
    assert {code: files for code, files in emitted.items() if explanation(code) is None} == {}


@pytest.mark.parametrize("code", sorted(p.stem for p in (Path(mcp_rls.__file__).parent / "explanations").glob("*.md")))
def test_a_page_has_its_four_parts(code: str):
    """A title, a first line with the severity, the reason, and an example in both forms."""
    page = explanation(code) or ""
    assert re.match(rf"# {code}\n\n\*\*(Error|Warning|Note)\.\*\* ", page)
    assert "\n## Wrong\n" in page
    assert "\n## Fixed\n" in page
    assert all(len(line) <= 130 for line in page.splitlines())


# --- what a sound file becomes


def test_the_example_of_the_design_is_sound():
    """With what isn't there yet left out, the one long example has no error."""
    policies = sound(EXAMPLE)
    assert policies.platform == "supabase"
    assert policies.roles == ("authenticated", "anon")
    assert policies.anonymous == ("anon",)
    assert policies.identity.scope is None
    assert policies.identity.direct.kind == "no_client"
    assert all(policies.consent_required(name) for name in policies.classes)
    assert policies.claims["tenant"].path == ("app_metadata", "tenant_id")
    assert policies.scopes["tickets:write"].closure == {"tickets:read", "tickets:write"}
    tickets = policies.tables[TableName("public", "tickets")]
    assert isinstance(tickets.clients, tuple)
    assert tickets.people == "existing"
    assert tickets.clients[1].commands == {"update"}
    assert policies.tables[TableName("public", "members")].clients == "read_as_person"
    assert policies.doors == {"public.ticket_stats": "counts only, no personal data"}


def test_platforms_fill_in_what_is_left_out():
    """postgres: sub, client_id and scope; no_client. Nobody is anonymous unless the file says so."""
    policies = sound(BASE)
    assert policies.identity.person == Claim(("sub",), "uuid")
    assert policies.identity.client == (("client_id",),)
    assert policies.identity.scope == ("scope",)
    assert policies.identity.direct.kind == "no_client"
    assert policies.anonymous == ()


@pytest.mark.parametrize(
    ("alias", "kind"), [("int", "integer"), ("int8", "bigint"), ("string", "text"), ("bool", "boolean")]
)
def test_claim_types_may_be_named_as_people_name_them(alias: str, kind: str):
    """Whatever the name, the model holds one of five."""
    assert sound(changed(f"claims: {{a: {{claim: a, type: {alias}}}}}\n")).claims["a"].type == kind


def test_a_list_of_commands_is_one_rule():
    """`allow` holds them all, and one value stands for a list of one."""
    text = BASE.replace("allow: select", "allow: [select, update]")
    (rule,) = sound(text).client_rules(TableName("public", "tickets"))
    assert rule.commands == {"select", "update"}
    assert rule.who == ("assistant",)
    assert rule.scopes == ("tickets:read",)


def test_sql_becomes_a_raw_condition():
    """It stands for `rows`, and nobody will parse it."""
    text = BASE.replace('scope: "tickets:read"}', 'scope: "tickets:read", sql: "f(x)"}')
    rules = sound(text).client_rules(TableName("public", "tickets"))
    assert [(rule.rows.text, rule.rows.raw) for rule in rules if rule.rows] == [("f(x)", True)]


def test_a_condition_knows_where_its_first_character_stands():
    """Past the quote, below the bar, so that the column of a mistake inside it can be counted out."""
    text = changed(
        """tables:
  public.tickets:
    people:
      - {allow: select, rows: "a = b"}
      - allow: delete
        rows: |
          c = d
      - {allow: insert, rows: e}
"""
    )
    people = sound(text).tables[TableName("public", "tickets")].people
    assert isinstance(people, tuple)
    lines = text.splitlines()
    for rule, first in zip(people, "ace", strict=True):
        assert rule.rows is not None
        assert lines[rule.rows.span.line - 1][rule.rows.span.column - 1] == first


def test_a_file_with_errors_gives_nothing_unless_asked():
    """With `partial`, its sound parts come out for reading, and no rule of them lets anybody update."""
    text = BASE.replace("allow: select", "allow: [select, update], nonsense: 1")
    assert read_policies("policies.yaml", text)[0] is None
    policies, diagnostics = read_policies("policies.yaml", text, partial=True)
    assert diagnostics.has_errors
    assert policies is not None
    assert policies.client_rules(TableName("public", "tickets"))[0].commands == {"select"}


def test_the_message_of_a_mix_says_what_would_get_through():
    """Both rules' conditions, crosswise."""
    text = changed(examples("update-rules-mix")[0])
    (error,) = read_policies("policies.yaml", text)[1].errors
    assert "a row with (status = 'open') could become a row with (status = 'closed')" in error.message


def test_unknown_names_are_cheap():
    """A large file full of slips is answered within seconds, though without a hint for each."""
    classes = "".join(f"  class{i}: {{match: {{ids: [i{i}]}}}}\n" for i in range(4000))
    rules = "".join(f"      - {{who: klass{i}, allow: select}}\n" for i in range(4000))
    text = changed(f"classes:\n{classes}tables:\n  public.tickets:\n    clients:\n{rules}")
    started = time.process_time()
    assert said(text) >= {"unknown-class"}
    assert time.process_time() - started < 20


@pytest.mark.slow
def test_a_file_of_a_megabyte_takes_seconds():
    """2500 tables with two rules each."""
    table = """  public.t{}:
    people: existing
    clients:
      - {{who: [assistant, other], allow: select, scope: "tickets:read", rows: "status in ('open', 'closed')"}}
      - who: assistant
        allow: update
        scope: "tickets:read"
        rows: "status in ('open', 'pending') and priority < 3 and not archived and owner_id = token.person"
        check: "status in ('open', 'pending', 'closed') and priority < 3 and owner_id = token.person"
"""
    text = changed(
        "classes:\n  assistant: {match: {ids: [a]}}\n  other: {match: {ids: [b]}}\ntables:\n"
        + "".join(table.format(number) for number in range(2200))
    )
    assert 900_000 < len(text) < 1_000_000
    started = time.process_time()
    assert len(sound(text).tables) == 2200
    assert time.process_time() - started < 20


# --- the JSON Schema


def parts(schema: Any) -> list[dict[str, Any]]:
    """Every mapping inside a schema."""
    if isinstance(schema, list):
        return [each for item in schema for each in parts(item)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(each for item in schema.values() for each in parts(item))]


def test_the_json_schema_helps_an_editor():
    """Draft 2020-12, closed to unknown keys, and a line of help for every key."""
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["$id"]
    objects = [part for part in parts(schema) if "properties" in part and part.get("type") == "object"]
    assert len(objects) >= 15
    for part in objects:
        assert part["additionalProperties"] is False
        assert part["description"]
        assert all(help_.get("description") for help_ in part["properties"].values())
        assert set(part.get("required", ())) <= set(part["properties"])


def test_the_json_schema_knows_no_nulls():
    """An optional key may be left out, and must not be empty: so says `check` too."""
    assert not [part for part in parts(json_schema()) if part.get("type") == "null"]


def test_the_json_schema_names_what_is_needed():
    """`needs` of the models are its required keys."""
    schema = json_schema()
    assert schema["required"] == ["mcp_rls", "platform", "schemas"]
    assert schema["$defs"]["ClientRule"]["required"] == ["who", "allow"]


# --- anything at all

KEYS = """mcp_rls platform schemas identity roles anonymous classes scopes sets tables doors consent claims match
ids who allow rows check scope implies text type query table columns person client claim registry people clients
a b public.t
"""
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=4),
    st.sampled_from([*KEYS.split(), "select", "update", "none", "read_as_person", "https://a/", "sub"]),
)  # fmt: skip
TREES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=6),
    max_leaves=40,
)


def as_yaml(value: Any) -> str:
    """Flow style, which quotes whatever needs it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value) + '"'
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS.split()), TREES, max_size=8))
def test_any_tree_is_judged(tree: dict[str, Any]):
    """Never an exception, always a place, and no policies beside an error."""
    policies, diagnostics = read_policies("policies.yaml", as_yaml(tree))
    assert (policies is None) == diagnostics.has_errors
    assert all(d.span.path == "policies.yaml" for d in diagnostics)
    assert all(d.message and explanation(d.code) for d in diagnostics)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 40), st.text(max_size=5)), min_size=1, max_size=4))
def test_a_damaged_file_is_judged(cuts: list[tuple[int, int, str]]):
    """A sound file with pieces replaced by other text never raises."""
    text = EXAMPLE
    for start, length, piece in cuts:
        place = start % (len(text) + 1)
        text = text[:place] + piece + text[place + length :]
    policies, diagnostics = read_policies("policies.yaml", text)
    assert (policies is None) == diagnostics.has_errors


def test_a_rule_has_no_condition_where_the_file_has_none():
    """None means every row. A key with nothing after it is an error, and must not come to mean that."""
    (rule,) = sound(BASE).client_rules(TableName("public", "tickets"))
    assert rule == Rule(frozenset({"select"}), ("assistant",), ("tickets:read",), None, None, rule.span)
    for empty in ("rows: ", 'rows: ""', "rows: ' '", "rows: null"):
        assert said(BASE.replace("allow: select", f"allow: select, {empty}")) & {"wrong-type", "bad-value"}


def test_warnings_stop_nothing():
    """A file with warnings only gives policies."""
    policies, diagnostics = read_policies("policies.yaml", changed(examples("unused-class")[0]))
    assert policies is not None
    assert [d.severity for d in diagnostics] == [Severity.WARNING]
