"""What a plan does, in words for whoever reads its revision."""

from __future__ import annotations

from collections.abc import Iterable

from mcp_rls.effect import Effect
from mcp_rls.operation import Operation, Plan


def in_words(way: Plan) -> list[str]:
    """What the plan opens and closes, an entry each; where it does neither, what else it does."""
    return [_head(o.effect) + _in_one(o.words) for o in worth_telling(way)]


def worth_telling(way: Plan) -> tuple[Operation, ...]:
    return tuple(o for o in way.told if o.effect is not Effect.NEITHER) or way.operations


def in_short(operations: Iterable[Operation], *, brief: bool = False) -> list[str]:
    """The same, but changed policies that say who may now do what in one entry for their table.

    What changes in the same way for several commands is said once. `brief`: what was before isn't told, nor what
    follows from something else that is.
    """
    entries: dict[str, dict[tuple[str, str], list[str]]] = {}
    for operation in operations:
        head, command = _head(operation.effect), f" {operation.subject.rpartition(' ')[2]} "
        details = [f" {_shown(line.strip())} " for line in operation.words.splitlines()[1:]]
        if operation.subject.startswith("policy ") and details and all(command in detail for detail in details):
            said = entries.setdefault(f"{head}{operation.table}: ", {})
            for before, _, after in (detail.partition(command) for detail in details):
                said.setdefault((before.strip(), after.strip()), []).append(command.strip())
        else:
            entries[head + _in_one(operation.words)] = {}
    return [head + "; ".join(_sentences(said, brief=brief)) for head, said in entries.items()]


def _sentences(said: dict[tuple[str, str], list[str]], *, brief: bool) -> list[str]:
    if not brief:
        return list(map(_sentence, said.items()))
    main = {key: commands for key, commands in said.items() if not key[1].startswith("follows ")}
    return [_sentence(item).partition("; before: ")[0] for item in (main or said).items()]


def _head(effect: Effect) -> str:
    return f"{effect.word}: " if effect.word else ""


def _sentence(said: tuple[tuple[str, str], list[str]]) -> str:
    (before, after), commands = said
    return f"{before} {', '.join(commands)} {after}".strip()


def _in_one(words: str) -> str:
    """An operation's words and their details in one line."""
    first, *details = words.splitlines()
    return _shown(f"{first}: {', '.join(detail.strip() for detail in details)}" if details else first)


def _shown(line: str) -> str:
    """The line without what could steer an editor or a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
