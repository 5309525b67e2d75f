"""YAML texts to plain data with places, and what is said of those that can't be read."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_rls import document as limits
from mcp_rls import libyaml
from mcp_rls.diagnostics import Diagnostics, Span
from mcp_rls.document import Document, parse_document, read_document

TEXT = """\
# a comment
name: plain
'quoted': "a \\u00e9 b"
list:
  - one
  - {two: 2, three: [a, b]}
block: |

    first
    second
anchored: &here "text"
alias: *here
"""


@pytest.fixture(autouse=True, scope="module", params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest):
    """Everything here holds with libyaml and without it."""
    assert libyaml.loader() is not None, "PyYAML with libyaml is missing: install the extra dev"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libyaml, "LEAST", 0)
        if request.param == "python":
            patch.setattr(libyaml, "loader", lambda: None)
        yield


def parsed(text: str) -> Document:
    diagnostics = Diagnostics()
    document = parse_document("f.yaml", text, diagnostics)
    assert document is not None, list(diagnostics)
    assert not len(diagnostics), list(diagnostics)
    return document


def refused(text: str) -> list[tuple[str, int, int]]:
    """Code and place of each error."""
    diagnostics = Diagnostics()
    parse_document("f.yaml", text, diagnostics)
    assert diagnostics.has_errors
    return [(d.code, d.span.line, d.span.column) for d in diagnostics]


def read(path: Path) -> tuple[Document | None, list[str]]:
    diagnostics = Diagnostics()
    document = read_document(path, diagnostics)
    assert (document is None) == bool(diagnostics.errors)
    return document, [f"{d.code}: {d.message}" for d in diagnostics]


# --- data


def test_data_is_plain():
    """Dicts, lists and scalars, with aliases written out."""
    assert parsed(TEXT).data == {
        "name": "plain",
        "quoted": "a é b",
        "list": ["one", {"two": 2, "three": ["a", "b"]}],
        "block": "\nfirst\nsecond\n",
        "anchored": "text",
        "alias": "text",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("true", True), ("False", False), ("TRUE", True), ("tRue", "tRue"), ('"true"', "true"),
        ("null", None), ("~", None), ("", None), ('""', ""), ("nil", "nil"),
        ("12", 12), ("-3", -3), ("+4", 4), ("0o17", 15), ("0x1F", 31), ("017", 17), ("1_000", "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", float("-inf")), ("1:30", "1:30"), ("1e999", "1e999"),
        ("2026-01-31", "2026-01-31"), ("9" * 5000, "9" * 5000), ("+", "+"), (".", "."), ("'12'", "12"),
        ("9a8b7c6d-5e4f-4a2b-9c0d-9e8f7a6b5c4d", "9a8b7c6d-5e4f-4a2b-9c0d-9e8f7a6b5c4d"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any):
    """Not that of YAML 1.1: no booleans but true and false, no dates, no base 60."""
    found = parsed(f"a: {text}\n").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_texts():
    """Whatever they would be as values."""
    assert parsed("{1: a, true: b, null: c, ~: d, 1.0: e}").data == {
        "1": "a", "true": "b", "null": "c", "~": "d", "1.0": "e"
    }  # fmt: skip


@pytest.mark.parametrize("text", ["\ufeffa: 1\n", "a: 1\r\n", "a: 1\r", "--- \na: 1\n...\n", "%YAML 1.2\n---\na: 1\n"])
def test_what_editors_add_makes_no_difference(text: str):
    """A byte order mark, other line ends, document marks."""
    document = parsed(text)
    assert document.data == {"a": 1}
    assert document.span("a").column == 4


# --- places


@pytest.mark.parametrize(
    ("keys", "line", "column"),
    [
        ((), 2, 1), (("name",), 2, 7), (("quoted",), 3, 11), (("list",), 5, 3), (("list", 1), 6, 5),
        (("list", 1, "three"), 6, 21), (("list", 1, "three", 1), 6, 25), (("block",), 7, 8), (("anchored",), 11, 11),
        (("alias",), 11, 11),
    ],
)  # fmt: skip
def test_a_value_knows_its_place(keys: tuple[str | int, ...], line: int, column: int):
    """An alias stands where its anchor does."""
    assert parsed(TEXT).span(*keys) == Span("f.yaml", line, column)


def test_a_key_knows_its_place():
    """A list's items have none, so they stand for themselves."""
    document = parsed(TEXT)
    assert document.key_span("quoted") == Span("f.yaml", 3, 1)
    assert document.key_span("list", 1, "three") == Span("f.yaml", 6, 14)
    assert document.key_span("list", 0) == document.span("list", 0)


def test_what_is_not_there_is_placed_at_the_nearest_above():
    """So that a missing key can be reported."""
    document = parsed(TEXT)
    assert document.span("list", 1, "four", 7) == document.span("list", 1)
    assert document.key_span("list", 1, "four") == document.span("list", 1)
    assert document.span("name", 0) == document.span("name")


def test_a_text_knows_where_its_first_character_stands():
    """Past the quote, the anchor, or below the bar."""
    document = parsed(TEXT)
    assert document.text_span("name") == Span("f.yaml", 2, 7)
    assert document.text_span("quoted") == Span("f.yaml", 3, 12)
    assert document.text_span("anchored") == Span("f.yaml", 11, 18)
    assert document.text_span("block") == Span("f.yaml", 9, 5)


def test_columns_count_characters():
    """Not bytes."""
    assert parsed("{é: 'üü', 日本: x}").span("日本") == Span("f.yaml", 1, 15)


def test_booleans_of_yaml_1_1_are_found():
    """As keys and values, in any case, and only without quotes."""
    found = parsed("no: 'no'\na: [Yes, \"yes\", yesterday]\n'on': off\n").old_booleans()
    assert sorted((span.line, span.column, word) for word, span in found) == [
        (1, 1, "no"),
        (2, 5, "Yes"),
        (3, 7, "off"),
    ]


def test_a_pruned_document_keeps_its_places():
    """What follows a removed item moves up in the data, and stays where it stood in the text."""
    document = parsed("a: [x, y, z]\nb: {c: 1, d: 2}\n")
    less = document.without([("a", 0), ("b", "c")])
    assert less.data == {"a": ["y", "z"], "b": {"d": 2}}
    assert less.span("a", 1) == document.span("a", 2)
    assert less.removed("b", "c")
    assert less.removed("b")
    assert less.removed("a")
    assert not less.removed("b", "d")
    assert not document.removed()
    assert document.data["a"] == ["x", "y", "z"]


# --- refusals


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2", ("yaml-syntax", 1, 9)),
        ("a: 1\n\tb: 2\n", ("yaml-syntax", 2, 1)),
        ("a: b: c\n", ("yaml-syntax", 1, 5)),
        ("a: 'x\n", ("yaml-syntax", 2, 1)),
        ("a: @x\n", ("yaml-syntax", 1, 4)),
        ("a: \x07\n", ("yaml-syntax", 1, 4)),
        ("\n\nb: \x00\n", ("yaml-syntax", 3, 4)),
        ("a: 1\nb: 2\na: 3\n", ("duplicate-key", 3, 1)),
        ("{a: 1, 'a': 2}", ("duplicate-key", 1, 8)),
        ("a: *x\n", ("yaml-alias", 1, 4)),
        ("a: &x [*x]\n", ("yaml-alias", 1, 8)),
        ("a: &x 1\n*x : 2\n", ("yaml-unsupported", 2, 1)),
        ("a: &x {b: 1}\nc: {<<: *x}\n", ("yaml-unsupported", 2, 5)),
        ("a: 1\n---\nb: 2\n", ("yaml-unsupported", 2, 1)),
        ("a: !!python/object:os.system x\n", ("yaml-unsupported", 1, 4)),
        ("a: !include x\n", ("yaml-unsupported", 1, 4)),
        ("? [a]\n: b\n", ("yaml-unsupported", 1, 3)),
        ("%YAML 1.1\n---\na: no\n", ("yaml-unsupported", 2, 1)),
        ('a: "\\0"\n', ("bad-value", 1, 4)),
        ('a: "\\ud800"\n', ("bad-value", 1, 4)),
        ("", ("empty-file", 0, 0)),
        ("# nothing\n", ("empty-file", 0, 0)),
        ("---\n", ("empty-file", 0, 0)),
    ],
)  # fmt: skip
def test_an_error_has_its_place(text: str, expected: tuple[str, int, int]):
    """Line and column of what is wrong, each from 1."""
    assert refused(text) == [expected]


def test_both_places_of_a_repeated_key_are_named():
    """The first one counts; the file can still be judged."""
    diagnostics = Diagnostics()
    document = parse_document("f.yaml", "a: 1\nb: {a: 2,\n  a: 3}\na: 4\n", diagnostics)
    assert document is not None
    assert document.data == {"a": 1, "b": {"a": 2}}
    assert [str(d).splitlines()[0] for d in diagnostics] == [
        'f.yaml:3:3: error[duplicate-key] the key "a" is given twice: here, and on line 2, column 5',
        'f.yaml:4:1: error[duplicate-key] the key "a" is given twice: here, and on line 1, column 1',
    ]


def test_tags_are_ignored_after_an_error():
    """No tag makes an object, and what follows is still read."""
    diagnostics = Diagnostics()
    document = parse_document("f.yaml", "a: !!python/name:os.system\nb: !!str 2\n", diagnostics)
    assert document is not None
    assert document.data == {"a": None, "b": 2}
    assert [d.code for d in diagnostics] == ["yaml-unsupported"] * 2


# --- bombs


def test_nested_aliases_do_not_explode():
    """Nine lines for a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    ((code, _, _),) = refused("\n".join(lines))
    assert code == "yaml-alias"


def test_an_alias_of_a_long_text_counts_for_its_length():
    """Ten thousand times a hundred kilobytes is a gigabyte for whoever reads the values."""
    ((code, _, _),) = refused("a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 10_000 + "]\n")
    assert code == "yaml-alias"


def test_a_few_aliases_are_welcome():
    """To say a condition once."""
    assert parsed("a: &a [1, {b: c}]\nd: [*a, *a]\n").data["d"] == [[1, {"b": "c"}]] * 2


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 200_000, "- " * 400_000, "? " * 400_000])
def test_depth_is_limited(text: str):
    """Refused at the limit, without reading on."""
    started = time.process_time()
    ((code, _, _),) = refused(text)
    assert code == "yaml-unsupported"
    assert time.process_time() - started < 5


def test_depth_within_the_limit_is_read():
    """Also through aliases, whose depth counts where they stand."""
    deep = "[" * limits.DEPTH_LIMIT + "]" * limits.DEPTH_LIMIT
    assert parsed(deep).data
    half = "[" * 30 + "]" * 30
    assert refused(f"a: &a {half}\nb: {'[' * 30}*a{']' * 30}\n")[0][0] == "yaml-alias"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "[" + "1," * 450_000 + "]", "- a\n" * 240_000, "{" + "a: b, " * 150_000 + "}", "- &a x\n" * 140_000,
        "a" * 950_000, '"' + "\\n" * 450_000 + '"', "#\n" * 450_000, "|\n" + " a\n" * 300_000, "a: 1\n" * 190_000,
        "%a\n" * 300_000, "- !x y\n" * 140_000, "a" * 900_000 + ": b",
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_no_text_within_the_limits_is_slow(text: str):
    """Seconds, whatever it holds."""
    started = time.process_time()
    parse_document("f.yaml", text, Diagnostics())
    assert time.process_time() - started < 20


# --- files


def test_a_file_is_read(tmp_path: Path):
    """And called what the user called it."""
    path = tmp_path / "é.yaml"
    path.write_bytes("\ufeffa: é\r\n".encode())
    document, found = read(path)
    assert document is not None
    assert document.data == {"a": "é"}
    assert document.path == str(path)
    assert found == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty-file: there is nothing in this file"),
        (b"a: \x00\x01", "file-unreadable: this is a binary file, not YAML"),
        ("a: b\n".encode("utf-16"), "file-unreadable: this is a binary file, not YAML"),
        (b"a: b\nc: \xe9\n", "file-unreadable: byte 9, on line 2, isn't UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, expected: str):
    """With the reason."""
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    assert read(path) == (None, [expected])


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path):
    """Missing, a folder, below a file, or impossible."""
    (tmp_path / "file").write_text("a: 1")
    assert read(tmp_path / "none.yaml")[1] == ["file-unreadable: the file can't be read: No such file or directory"]
    assert read(tmp_path)[1] == ["file-unreadable: the file can't be read: Is a directory"]
    assert read(tmp_path / "file" / "f.yaml")[1][0].startswith("file-unreadable: ")
    assert read(tmp_path / "a\0b")[1][0].startswith("file-unreadable: ")
    assert read(tmp_path / ("x" * 5000))[1][0].startswith("file-unreadable: ")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the system lets it happen: root may read everything, so there the refusal is made up."""
    path = tmp_path / "f.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    if os.access(path, os.R_OK):

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    assert read(path)[1] == ["file-unreadable: the file can't be read: Permission denied"]


def test_a_large_file_is_refused_at_once(tmp_path: Path):
    """Before a byte of it is parsed, and without reading it whole."""
    path = tmp_path / "f.yaml"
    path.write_bytes(b"- [" * 4_000_000)
    started = time.process_time()
    assert read(path)[1] == ["file-too-large: the file is larger than 2 MB"]
    assert time.process_time() - started < 1
    assert refused("a" * (limits.SIZE_LIMIT + 1))[0][0] == "file-too-large"


def test_a_device_without_end_is_refused():
    """It is read as far as the limit."""
    assert read(Path("/dev/zero"))[1] == ["file-too-large: the file is larger than 2 MB"]


# --- anything at all

YAML_LIKE = st.text(alphabet="ab:-? \n\t'\"[]{}&*!|>%@`#,~<=\\0xuU.\ufeff\x85\u2028é", max_size=60)


@settings(max_examples=600, deadline=None)
@given(st.one_of(YAML_LIKE, st.text(max_size=60)))
def test_any_text_is_judged(text: str):
    """Never an exception; where there is no document there is an error, each with a place inside the text."""
    diagnostics = Diagnostics()
    document = parse_document("f.yaml", text, diagnostics)
    assert document is not None or diagnostics.has_errors
    for diagnostic in diagnostics:
        assert diagnostic.span.path == "f.yaml"
        str(diagnostic).encode()
    if document is not None:
        assert_places(document, document.data)


def assert_places(document: Document, value: Any, *keys: str | int) -> None:
    """Every value and key has a line and a column."""
    lines = document.text.split("\n")
    for span in (document.span(*keys), document.key_span(*keys), document.text_span(*keys)):
        assert 1 <= span.line <= len(lines) + 1
        assert span.column >= 1
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        assert_places(document, value[key], *keys, key)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=80))
def test_any_bytes_are_judged(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    """A file of anything gives a document or an error."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    diagnostics = Diagnostics()
    assert read_document(path, diagnostics) is not None or diagnostics.has_errors
