"""What `drift` has to tell: one value for each thing that it found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mcp_rls.effect import Effect

_NOTED = "takes note of it"
PUTS_BACK = "`mcp-rls apply` puts it back"
TAKES_NOTE = f"if that is meant, `mcp-rls apply` {_NOTED}"
MAY_TAKE_NOTE = f"{PUTS_BACK} if the file asks for it, else {_NOTED}"


class Kind(Enum):
    DRIFT = "drift"  # the database isn't what was applied
    PENDING = "pending"  # the file isn't what was applied
    UNKNOWN = "unknown"  # it could not be judged
    NOTE = "note"  # worth knowing, and no change of meaning


@dataclass(frozen=True)
class Finding:
    """One object: what it is now, what it was, what that means for those who use the database, and what to do."""

    kind: Kind
    object: str  # as the manifest names it: 'policy ...', 'function ...', 'table ...', 'role ...'
    now: str
    was: str = ""
    means: str = ""
    remedy: str = ""
    effect: Effect = Effect.NEITHER
    place: str = ""  # in the policy file, where it is known: 'policies.yaml:14'

    @property
    def words(self) -> str:
        """All of it in one line, but for the kind and the effect."""
        said = "; ".join(filter(None, [self.change, self.remedy]))
        return said + (f" ({self.place})" if self.place else "")

    @property
    def change(self) -> str:
        """What it was, what it is, and what that means, in one line."""
        parts = [self.now, self.was and f"was: {self.was}", self.means]
        return f"{self.object}: {'; '.join(filter(None, parts))}"

    @property
    def stays(self) -> bool:
        """Whether it drifted, and `apply` does nothing about that but to take note of it."""
        return self.kind is Kind.DRIFT and _NOTED in self.remedy


def drifted(object_: str, effect: Effect, now: str, was: str, means: str, remedy: str = TAKES_NOTE) -> Finding:
    """What is so by hand, of an object that is nowhere in the policy file."""
    return Finding(Kind.DRIFT, object_, now, was, means, remedy, effect)


@dataclass(frozen=True)
class Drift:
    """All that was found, drift first."""

    findings: tuple[Finding, ...]

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.kind is kind)

    @property
    def answer(self) -> Kind | None:
        """The gravest kind found; None where the database holds what was applied, and the file asks for no more."""
        grave = (Kind.DRIFT, Kind.PENDING, Kind.UNKNOWN)
        return next((kind for kind in grave if self.of(kind)), None)
