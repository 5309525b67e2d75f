"""One migration as data: a database before, the policy files of both ends, and what each reader sees there."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.postgres.scratch import ANN, BOB, Claims, ann, helper

Ids = frozenset[str]
Session = tuple[Claims, str]  # claims, and the role that they arrive as

NOTES = f"""
create table public.notes (id integer primary key, owner uuid, status text not null, rank integer);
insert into public.notes values (1, '{ANN}', 'open', 1), (2, '{ANN}', 'closed', 2), (3, '{BOB}', 'open', 3), (4, '{ANN}', 'OPEN', 4);
grant select, insert, update, delete on public.notes to authenticated, anon;
"""  # noqa: E501
OWN_POLICIES = f"""
alter table public.notes enable row level security;
create policy own on public.notes to authenticated using (owner = '{ANN}') with check (true);
"""

READERS: Mapping[str, Session] = {
    "stranger": (ann(client_id="stranger"), "authenticated"),
    "helper": (helper(scope="n:r"), "authenticated"),
    "ann": (ann(scope="n:r"), "authenticated"),
}


@dataclass(frozen=True)
class Change:
    """SQL of the app's own, there and back."""

    there: str = ""
    back: str = ""


@dataclass(frozen=True)
class Migration:
    """From `before` to `after`, and back.

    `sees`: for each reader the ids that it reads at both ends, all tables and views taken together. `first` is the
    app's change that the plan is made after (a new column), `last` the one that it makes possible (a column that
    goes). `unbound`: why the app's way back can't restore what it took (a table that is made anew is a bare one).
    `between`: why a session that reads between two statements, in autocommit, may see more than at both ends.
    `whole`: it can't be done table by table.
    """

    name: str
    before: str | None
    after: str | None
    sees: Mapping[str, tuple[str, str]]
    schema: str = NOTES
    first: Change = Change()
    last: Change = Change()
    tables: tuple[str, ...] = ("public.notes",)  # that readers read, and try to change
    views: tuple[str, ...] = ()  # that they read
    key: str = "id"
    readers: Mapping[str, Session] = field(default_factory=dict)
    accept: frozenset[str] = frozenset()
    does: tuple[str, ...] = ()  # what some statement of the plan contains, each
    never: tuple[str, ...] = ()  # what none does
    unbound: str = ""
    between: str = ""
    whole: bool = False

    def __str__(self) -> str:
        return self.name

    def chosen(self, one_in: int) -> bool:
        """Whether this is among the cases for what not all need: the same ones each time, also when others come."""
        return zlib.crc32(self.name.encode()) % one_in == 0

    @property
    def resolves(self) -> bool:
        """Whether sessions must resolve at one end: a reader that runs freely doesn't, and sees nothing there."""
        return any("resolved: true" in (text or "") for text in (self.before, self.after))

    @property
    def sessions(self) -> dict[str, Session]:
        return {**READERS, **self.readers}

    @property
    def reads(self) -> tuple[str, ...]:
        """What each reader asks."""
        return tuple(f"select {self.key} from {table}" for table in (*self.tables, *self.views))

    @property
    def writes(self) -> tuple[str, ...]:
        """What each reader tries: also what reads no column, and what no policy can narrow."""
        forms = (
            "delete from {0} returning {1}",
            "delete from {0}",
            "update {0} set {1} = {1} returning {1}",
            "truncate {0}",
        )
        return tuple(form.format(table, self.key) for table in self.tables for form in forms)

    def seen(self, reader: str) -> tuple[Ids, Ids]:
        """What `reader` sees before and after; a stranger nothing, where nothing else is said."""
        before, after = self.sees.get(reader, ("", "")) if reader == "stranger" else self.sees[reader]
        return frozenset(before.split()), frozenset(after.split())


def file(tables: str = "{}", **keys: str) -> str:
    """A policy file with these tables (YAML), and with `keys` in place of the usual ones or beside them."""
    usual = {
        "platform": "postgres",
        "schemas": "[public]",
        "roles": "[authenticated, anon]",
        "anonymous": "[anon]",
        "identity": "{direct: no_client}",
        "classes": "{helper: {match: {ids: [helper]}}}",
    }
    lines = [f"{key}: {value}" for key, value in {**usual, **keys, "tables": tables}.items() if value]
    return "\n".join(["mcp_rls: 1", *lines, ""])


def clients(*rules: str, people: str = "", force: bool = False) -> str:
    """The entry of a table with these rules for clients."""
    parts = [f"people: [{people}]" if people else "", "force: true" if force else ""]
    return "{" + ", ".join([*filter(None, parts), f"clients: [{', '.join(rules)}]"]) + "}"


def rule(rows: str = "", *, who: str = "helper", allow: str = "select", scope: str = "", check: str = "") -> str:
    """A rule for clients, in YAML."""
    told = {"rows": rows, "check": check, "scope": scope}
    more = "".join(f", {key}: {json.dumps(text, ensure_ascii=False)}" for key, text in told.items() if text)
    return f"{{who: {who}, allow: {allow}{more}}}"


def people(rows: str = "", allow: str = "select", check: str = "") -> str:
    """A rule for people, in YAML."""
    told = {"rows": rows, "check": check}
    more = "".join(f", {key}: {json.dumps(text)}" for key, text in told.items() if text)
    return f"{{allow: {allow}{more}}}"


def notes(*rules: str, people: str = "", force: bool = False, **keys: str) -> str:
    """A policy file with rules for the table of notes alone."""
    return file(f"{{public.notes: {clients(*rules, people=people, force=force)}}}", **keys)
