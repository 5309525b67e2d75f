"""What a probe came to: for the acting token, and for a whole suite once every token was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

ACTING = "acting"  # not a probe: what kept a token from being tried


class Verdict(Enum):
    """Only HOLDS, OPEN and NOT_APPLICABLE are a pass, and without `strict` KNOWN_LIMIT."""

    LEAKS = "leaks"  # shown on this server, acting as a client's token
    UNDECIDED = "undecided"  # it could not be tried: never a pass
    OPEN = "open by decision"  # shown or not: the policy file accepts it, with a reason
    KNOWN_LIMIT = "known limit"  # shown, and nothing that row security could prevent
    HOLDS = "holds"  # tried, and the same attempt was seen to tell where it is allowed to
    NOT_APPLICABLE = "not applicable"  # there is nothing of the kind in this schema

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Found:
    """What one token found out about one object."""

    object: str  # 'public.tickets', 'public.tickets_pkey', 'app.stats(uuid)'
    verdict: Verdict
    words: str  # what was learnt; of a HOLDS, what was tried; else why not
    row: str = ""  # 'row 3 of public.tickets'
    remedy: str = ""
    vain: bool = False  # of an UNDECIDED: this token had nothing to try, which another's HOLDS makes up for


@dataclass(frozen=True)
class Finding:
    """What all tokens together found out about one object."""

    probe: str
    object: str  # '' when the verdict is NOT_APPLICABLE for the whole schema
    verdict: Verdict
    words: str
    row: str = ""
    remedy: str = ""
    tokens: tuple[str, ...] = ()  # those that it is so for
    reason: str = ""  # why the policy file accepts it


@dataclass(frozen=True)
class ProbeRun:
    """All findings, by probe; `titles` says in words what each probe asks."""

    path: str
    findings: tuple[Finding, ...]
    titles: Mapping[str, str]
    tokens: int = 0
    attempts: int = 0  # statements that were run as a token
    seconds: float = 0.0
    strict: bool = False

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.verdict is verdict)

    def only(self, probe: str) -> ProbeRun:
        """The part of one probe, with whatever kept tokens from acting."""
        kept = tuple(f for f in self.findings if f.probe in (probe, ACTING))
        return replace(self, findings=kept)

    def failed(self, finding: Finding) -> bool:
        """Whether the finding is none to pass by."""
        grave = finding.verdict in (Verdict.LEAKS, Verdict.UNDECIDED)
        return grave or (self.strict and finding.verdict is Verdict.KNOWN_LIMIT)

    @property
    def exit_code(self) -> int:
        return int(any(map(self.failed, self.findings)))


_GRAVEST = (Verdict.LEAKS, Verdict.UNDECIDED, Verdict.KNOWN_LIMIT, Verdict.HOLDS)


def merged(probe: str, found: Iterable[tuple[str, Found]], doors: Mapping[str, str]) -> list[Finding]:
    """A finding for each object, of what the tokens found: the gravest, in the order in which objects came up."""
    objects: dict[str, list[tuple[str, Found]]] = {}
    for token, one in found:
        objects.setdefault(one.object, []).append((token, one))
    return [_accepted(_gravest(probe, each), doors) for each in objects.values()]


def _gravest(probe: str, each: Sequence[tuple[str, Found]]) -> Finding:
    kept = [pair for pair in each if not pair[1].vain]
    for verdict in _GRAVEST:
        mine = [pair for pair in kept if pair[1].verdict is verdict]
        if mine:
            return _finding(probe, mine)
    vain = [pair for pair in each if pair[1].vain]
    return _finding(probe, vain or list(each))


def _finding(probe: str, mine: Sequence[tuple[str, Found]]) -> Finding:
    first = mine[0][1]
    tokens = tuple(dict.fromkeys(token for token, _ in mine))
    return Finding(probe, first.object, first.verdict, first.words, first.row, first.remedy, tokens)


def _accepted(finding: Finding, doors: Mapping[str, str]) -> Finding:
    """The finding as OPEN where the policy file accepts the object, with or without its arguments."""
    reason = doors.get(finding.object) or doors.get(finding.object.partition("(")[0])
    passes = finding.verdict in (Verdict.HOLDS, Verdict.NOT_APPLICABLE)
    return finding if reason is None or passes else replace(finding, verdict=Verdict.OPEN, reason=reason)
