"""What probes found for a reader: what is open first, then limits by probe, then what held, and a line that counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from rich.text import Text

from mcp_rls.harness.probes.kit.verdict import Finding, ProbeRun, Verdict
from mcp_rls.report import Probed, console, counted, shown

_STYLES = {
    Verdict.LEAKS: "bold red",
    Verdict.UNDECIDED: "bold magenta",
    Verdict.OPEN: "bold yellow",
    Verdict.KNOWN_LIMIT: "yellow",
    Verdict.HOLDS: "green",
    Verdict.NOT_APPLICABLE: "dim",
}
_EACH = (Verdict.LEAKS, Verdict.UNDECIDED, Verdict.OPEN)  # told one by one; the others by probe
_WIDTH = 9
_NAMED = 4


def write(probed: Probed, out: TextIO) -> None:
    """A paragraph for each finding that matters, and one for each probe with others."""
    page, run = console(out), probed.run
    for verdict in _EACH:
        for finding in run.of(verdict):
            for line in _alone(run, finding):
                page.print(line, soft_wrap=True)
            page.print()
    for verdict in (Verdict.KNOWN_LIMIT, Verdict.HOLDS, Verdict.NOT_APPLICABLE):
        groups = [list(of) for of in _by_probe(run.of(verdict))]
        for group in groups:
            for line in _together(run, group):
                page.print(line, soft_wrap=True)
        if groups:
            page.print()
    for line in _summary(probed):
        page.print(line, soft_wrap=True)


def _by_probe(findings: Sequence[Finding]) -> Iterator[Iterable[Finding]]:
    for probe in dict.fromkeys(f.probe for f in findings):
        yield (f for f in findings if f.probe == probe)


def _alone(run: ProbeRun, finding: Finding) -> Iterator[Text]:
    head = f"{run.titles[finding.probe]}, {finding.object}: {finding.words}"
    yield Text.assemble((f"{str(finding.verdict).upper()}  ", _STYLES[finding.verdict]), shown(head))
    yield from _facts(finding)
    if finding.reason:
        yield _fact("accepted", finding.reason)


def _facts(finding: Finding) -> Iterator[Text]:
    if finding.tokens:
        yield _fact("as", _some(finding.tokens, 3))
    if finding.remedy and not finding.reason:
        yield _fact("remedy", finding.remedy)


def _together(run: ProbeRun, group: list[Finding]) -> Iterator[Text]:
    """A known limit with an example and its remedy; of what held and what there isn't one line."""
    first, title = group[0], run.titles[group[0].probe]
    limit = first.verdict is Verdict.KNOWN_LIMIT
    mark = Text.assemble((f"{first.verdict!s:<14}  ", "bold red" if run.failed(first) else _STYLES[first.verdict]))
    if first.verdict is Verdict.NOT_APPLICABLE:
        yield mark.append(shown(f"{title}: {first.words}"), "dim")
    elif limit:
        yield mark.append(shown(f"{title}: {_some([f.object for f in group], _NAMED)}"), "")
        yield _fact("example", first.words)
        yield from _facts(first)
    else:
        tokens = {token for finding in group for token in finding.tokens}
        such = f", such as {first.row}" if first.row else ""
        tried = f"{counted(len(group), 'object')} as {counted(len(tokens), 'token')}"
        yield mark.append(shown(f"{title}: {first.words} ({tried}{such})"), "")


def _fact(title: str, text: str) -> Text:
    return Text(f"  {title:<{_WIDTH}}{shown(text)}")


def _some(names: Sequence[str], most: int) -> str:
    """'a, b, c and 4 more'."""
    listed, more = list(dict.fromkeys(names)), len(set(names)) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def _summary(probed: Probed) -> tuple[Text, Text]:
    run = probed.run
    mark = ("✗ ", "bold red") if run.exit_code else ("✓ ", "bold green")
    words = {
        Verdict.LEAKS: "leak",
        Verdict.UNDECIDED: "undecided",
        Verdict.OPEN: "open by decision",
        Verdict.KNOWN_LIMIT: "known limit",
        Verdict.HOLDS: "held",
        Verdict.NOT_APPLICABLE: "not applicable",
    }
    plural = (Verdict.LEAKS, Verdict.KNOWN_LIMIT)
    told = [(len(run.of(v)), v, word) for v, word in words.items()]
    counts = [counted(n, word, "" if v in plural else word) for n, v, word in told if n or v is Verdict.LEAKS]
    how = f"{counted(run.attempts, 'statement')} as {counted(run.tokens, 'token')} in {run.seconds:.1f} s"
    first = Text.assemble(mark, f"{shown(run.path)}: {', '.join(counts)}")
    return first, Text(f"  {shown(f'{how}, {probed.database}')}", "dim")
