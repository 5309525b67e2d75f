"""The two parsers of YAML: what the quick one is believed about, the other says too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_rls import libyaml
from mcp_rls.diagnostics import Diagnostics
from mcp_rls.document import _Builder, _Quick, parse_document
from mcp_rls.node import Node

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("policy_templates/*/*.yaml"), *ROOT.glob("tests/compiler/cases/*/policies.yaml")])

# One text for each thing that the two see differently, or that only one of them takes for YAML.
SEEN_DIFFERENTLY = {
    "a tab after a text": "a: b\t\n",
    "a line end of YAML 1.1": "a: b\x85c: d\n",
    "a line separator": "a: b\u2028c: d\n",
    "a byte order mark inside": "a: [\ufeffb]\n",
    "a comment that touches a bar": "a: |#c\n  b\n",
    "a value that isn't there": "a:  # here?\nb: 1\n",
    "a block without text": "|\n#b\n",
    "a block that begins with an empty line": "a: |\n  \n    b\n",
    "a document that ends twice": "a: b\n...\n...\n",
    "an anchor that touches a colon": "&a:b c\n",
    "an older YAML": "%YAML 1.1\n---\na: no\n",
}


@pytest.fixture(autouse=True, scope="module")
def also_short_texts():
    """Long or short makes no difference here."""
    assert libyaml.loader() is not None, "PyYAML with libyaml is missing: install the extra dev"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libyaml, "LEAST", 0)
        yield


def tree(node: Node) -> Any:
    """All that a node says."""
    children = {key: tree(child) for key, child in node.children.items()}
    return node.place, repr(node.data), node.plain, node.keys, node.size, node.height, children


def quick(text: str) -> Any:
    """The tree that the quick parser is believed; None where the other is asked."""
    diagnostics = Diagnostics()
    root = _Quick("f.yaml", diagnostics).build(text) if libyaml.serves(text) else None
    return tree(root) if root and not len(diagnostics) else None


def thorough(text: str) -> Any:
    """The tree that the other parser builds without an error; else what it says."""
    diagnostics = Diagnostics()
    root = _Builder("f.yaml", diagnostics).build(text)
    return tree(root) if root and not len(diagnostics) else list(diagnostics)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_file_is_the_same_to_both(file: Path):
    """To the last place; where the quick one is sure at all."""
    text = file.read_text(encoding="utf-8")
    assert quick(text) in (thorough(text), None)


def test_the_usual_file_is_read_quickly():
    """Or nothing would be gained: flow and block style, every kind of quotes, comments, a block of text."""
    text = """\
# policies
schemas: [public, "app"]
'sets': {mine: {type: uuid}}  # two
query: |
  select 1
    from t

folded: >-
  a: b
  c
rules:
  - {who: [a, b], rows: "é = 'x' and \\
      y", none: null, empty: ''}
  - who: http://a.b/c#d
"""
    assert quick(text) == thorough(text)


@pytest.mark.parametrize("text", SEEN_DIFFERENTLY.values(), ids=SEEN_DIFFERENTLY.keys())
def test_what_is_seen_differently_is_left_to_the_other(text: str):
    """Whatever it makes of it."""
    assert quick(text) is None


def test_a_text_that_libyaml_refuses_is_judged_by_the_other(monkeypatch: pytest.MonkeyPatch):
    """With its words and places."""
    text = "a: [1, 2\nb: 'c\n"
    with_libyaml, without = Diagnostics(), Diagnostics()
    assert parse_document("f.yaml", text, with_libyaml) is None
    monkeypatch.setattr(libyaml, "loader", lambda: None)
    assert parse_document("f.yaml", text, without) is None
    assert list(with_libyaml) == list(without)


def test_a_short_file_is_left_to_the_other():
    """PyYAML isn't even imported: that takes longer than to read it."""
    code = """if True:
        import sys
        from mcp_rls.diagnostics import Diagnostics
        from mcp_rls.document import parse_document
        for text in ("a: b\\n", "a: b # " + "c" * 60_000):
            assert parse_document("f.yaml", text, Diagnostics()).data == {"a": "b"}
            print("yaml" in sys.modules)"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


# What means something to YAML, so that random texts are about it and many of them are YAML.
PIECES = """- |a: |b:|"k": |x|é|日|😀|1|null|no|a b|{|}|[|]|, |,|: |? |'|''|"|\\"|\\|\\u00e9|\\/|#| # x|&a |*a"""
PIECES += "|!t |%|@|`|<<|-|--- |\n---\n|\n...\n|\n|\n\n|\n  |\n    |  |\t|\x85|\u2028|\ufeff|>|> |>+\n  |=|<|~"
TEXTS = st.lists(
    st.sampled_from([*PIECES.split("|"), "%YAML 1.2\n---\n", "%TAG ! a\n---\n", "|", "|-\n  ", "|2"]), max_size=24
).map("".join)


@settings(max_examples=800, deadline=None)
@given(TEXTS)
def test_any_text_is_the_same_to_both(text: str):
    """Where the quick parser builds a tree, the other builds the same, without an error."""
    found = quick(text)
    assert found is None or found == thorough(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_file_with_a_slip_is_the_same_to_both(data: st.DataObject):
    """A few pieces put into a piece of a real file."""
    lines = data.draw(st.sampled_from(FILES)).read_text(encoding="utf-8").split("\n")
    start = data.draw(st.integers(0, len(lines)))
    text = "\n".join(lines[start : start + data.draw(st.integers(1, 12))])
    for piece in data.draw(st.lists(st.sampled_from(PIECES.split("|")), max_size=3)):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + piece + text[place + data.draw(st.integers(0, 2)) :]
    found = quick(text)
    assert found is None or found == thorough(text)
