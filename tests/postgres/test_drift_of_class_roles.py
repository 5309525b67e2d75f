"""Drift of the roles of classes: what somebody gave them by hand, or took, and whom they were given to."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from mcp_rls.database import apply
from mcp_rls.database.drift import Drift, Finding, Kind, drift, roles
from mcp_rls.database.server import Server
from mcp_rls.effect import Effect
from tests.postgres.scratch import ANN, NOTES, Scratch, helper, make_roles, policies, scratch_on
from tests.postgres.test_class_roles import OWN, head

pytestmark = pytest.mark.postgres

ROLE, FRIEND, TAKER = "mcp_drifting", "drift_friend", "drift_taker"
SCHEMA = (
    NOTES
    + """
create table public.logs (id serial primary key, owner uuid); grant all on public.logs, public.logs_id_seq to authenticated;
create schema far; create sequence far.numbers; create sequence public.apart;
"""
)
FILE = (
    head("drifting", keys=f"{{taken_by: [{TAKER}]}}")
    + f"""tables:
  public.notes: {{people: [{OWN}], clients: [{{who: drifting, allow: select}}]}}
  public.logs: {{people: [{OWN}], clients: [{{who: drifting, allow: insert}}]}}
"""
)
OPENS, CLOSES = Effect.OPENS, Effect.CLOSES
REFUSES, NOTE = "`mcp-rls apply` refuses until that is undone$", "if that is meant, `mcp-rls apply` takes note of it$"

# What somebody does, how it is undone, what is said of it, and what it does.
CHANGES = [
    (f"alter role {ROLE} createrole", f"alter role {ROLE} nocreaterole", f"CREATEROLE; was: not CREATEROLE; tokens make roles.*{REFUSES}", OPENS),
    (f"alter role {ROLE} login", f"alter role {ROLE} nologin", f"LOGIN; was: not LOGIN; who logs in.*{REFUSES}", OPENS),
    (f"alter role {ROLE} superuser", f"alter role {ROLE} nosuperuser", f"SUPERUSER; was: not SUPERUSER.*{REFUSES}", OPENS),
    (f"alter role {ROLE} bypassrls", f"alter role {ROLE} nobypassrls", f"BYPASSRLS; was: not BYPASSRLS.*{REFUSES}", OPENS),
    (f"grant {FRIEND} to {ROLE}", f"revoke {FRIEND} from {ROLE}", f"a member of {FRIEND}; was: not a member.*{REFUSES}", OPENS),
    (f"grant {ROLE} to {FRIEND}", f"revoke {ROLE} from {FRIEND}", f"taken by {FRIEND}; was: not a member; who has it is a client of the class; revoke it, or name it under `taken_by`; {NOTE}", OPENS),
    (f"revoke {ROLE} from {TAKER}", f"grant {ROLE} to {TAKER}", f"no longer taken by {TAKER}; was: a member.*`mcp-rls apply` puts it back$", CLOSES),
    (f"grant {ROLE} to {TAKER} with admin option", f"revoke admin option for {ROLE} from {TAKER}", f"given to others by {TAKER}; was: no ADMIN OPTION.*{NOTE}", OPENS),
    (f"grant usage on schema far to {ROLE}", f"revoke usage on schema far from {ROLE}", "has USAGE on schema far; was: not granted; its clients may use it; `mcp-rls apply` revokes it$", OPENS),
    (f"grant create on schema far to {ROLE}", f"revoke create on schema far from {ROLE}", f"has CREATE on schema far; was: not granted.*{NOTE}", OPENS),
    (f"grant usage on public.apart to {ROLE}", f"revoke usage on public.apart from {ROLE}", "has USAGE on sequence public.apart; was: not granted.*`mcp-rls apply` revokes it$", OPENS),
    (f"grant update on public.logs_id_seq to {ROLE}", f"revoke update on public.logs_id_seq from {ROLE}", f"has UPDATE on sequence public.logs_id_seq; was: not granted.*{NOTE}", OPENS),
    (f"revoke usage on schema public from {ROLE}", f"grant usage on schema public to {ROLE}", "lost USAGE on schema public; was: granted; its clients may do less; `mcp-rls apply` puts it back", CLOSES),
    (f"revoke usage on public.logs_id_seq from {ROLE}", f"grant usage on public.logs_id_seq to {ROLE}", "lost USAGE on sequence public.logs_id_seq; was: granted.*`mcp-rls apply` puts it back", CLOSES),
]  # fmt: skip
MENDED = [change for change, _, words, _ in CHANGES if re.search("(puts it back|revokes it)", words)]


@pytest.fixture
def applied(server: Server) -> Iterator[Scratch]:
    """A database to which FILE was applied; its roles, which are the server's, go with it."""
    with scratch_on(server) as made:
        try:
            yield install(made)
        finally:
            dropped(made)


def install(scratch: Scratch) -> Scratch:
    make_roles(scratch.connection, FRIEND, TAKER)
    scratch.run(SCHEMA)
    scratch.install(FILE)
    return scratch


def dropped(scratch: Scratch) -> None:
    """Takes away the roles that `install` made."""
    for role in (ROLE, FRIEND, TAKER):
        scratch.run(f"drop owned by {role} cascade; drop role {role}")


def look(scratch: Scratch, text: str = FILE) -> Drift:
    return drift(scratch.connection, policies(text), lock_timeout="1min")


def only(found: Drift) -> Finding:
    (finding,) = found.of(Kind.DRIFT)
    assert not found.of(Kind.PENDING)
    return finding


@pytest.mark.parametrize(("change", "undo", "words", "effect"), CHANGES, ids=[c for c, *_ in CHANGES])
def test_each_change_is_told_until_it_is_undone(change, undo, words, effect, applied):
    """In one line, and nothing else; before and afterwards there is nothing to tell."""
    assert look(applied).findings == ()
    applied.run(change)
    finding = only(look(applied))
    assert finding.object == f"role {ROLE}"
    assert re.search(f"^role {ROLE}: {words}", finding.words), finding.words
    assert finding.effect is effect
    applied.run(undo)
    assert look(applied).findings == ()


@pytest.mark.parametrize("change", MENDED)
def test_apply_does_what_is_said_of_it(change, applied):
    """Where it is said to put something back or to revoke it, nothing is found afterwards, and clients do what they did."""
    written = f"insert into public.logs (owner) values ('{ANN}')"
    before = applied.sees(helper(), role=ROLE), applied.ask(helper(), written, role=ROLE)
    assert before == ([1, 2], 1)
    applied.run(change)
    assert look(applied).answer is Kind.DRIFT
    applied.install(FILE)
    assert look(applied).findings == ()
    assert (applied.sees(helper(), role=ROLE), applied.ask(helper(), written, role=ROLE)) == before


def test_all_that_was_given_on_something_goes_with_its_use(applied):
    """GRANT ALL is told privilege by privilege, and taken back whole."""
    applied.run(f"grant all on public.apart to {ROLE}; grant all on schema far to {ROLE}")
    told = look(applied).of(Kind.DRIFT)
    assert sorted(f.now for f in told) == [
        "has CREATE on schema far", "has SELECT on sequence public.apart", "has UPDATE on sequence public.apart",
        "has USAGE on schema far", "has USAGE on sequence public.apart",
    ]  # fmt: skip
    assert {f.remedy for f in told} == {"`mcp-rls apply` revokes it"}
    applied.install(FILE)
    assert look(applied).findings == ()
    assert applied.value(f"select has_sequence_privilege('{ROLE}', 'public.apart', 'select, update')") is False
    assert applied.value(f"select has_schema_privilege('{ROLE}', 'far', 'create')") is False


def test_who_may_take_it_by_a_newer_file_is_pending(applied):
    """The file moved on, the database didn't: no drift."""
    for keys, told in (
        (f"{{taken_by: [{TAKER}, {FRIEND}]}}", [f"role {ROLE}: `mcp-rls apply` would let {FRIEND} take it"]),
        ("true", [f"role {ROLE}: `mcp-rls apply` would no longer let {TAKER} take it"]),
        (f"{{taken_by: [{TAKER}]}}", []),
    ):
        found = look(applied, FILE.replace(f"{{taken_by: [{TAKER}]}}", keys))
        assert [f.words for f in found.of(Kind.PENDING)] == told
        assert not found.of(Kind.DRIFT)


def test_what_is_meant_is_declared_or_noted(applied):
    """A member that `taken_by` names by now is granted and no drift; what others gave is noted by an apply."""
    applied.run(f"grant {ROLE} to {FRIEND}")
    named = FILE.replace(f"[{TAKER}]", f"[{TAKER}, {FRIEND}]")
    applied.install(named)
    assert look(applied, named).findings == ()
    applied.install(FILE)
    assert applied.value(f"select pg_has_role('{FRIEND}', '{ROLE}', 'member')") is False
    assert look(applied).findings == ()
    applied.run(f"grant {ROLE} to {FRIEND}")
    apply.take_note(applied.connection, policies(FILE))
    assert look(applied).findings == ()


def test_a_rename_is_no_drift_of_a_role(applied):
    """It uses what it used; what is granted to it on another object beside is told."""
    applied.run("alter sequence public.logs_id_seq rename to numbers_of_logs")
    assert not look(applied).of(Kind.DRIFT)
    applied.run("alter schema public rename to main; alter schema far rename to near")
    assert not look(applied).of(Kind.DRIFT)
    applied.run(f"grant usage on schema near to {ROLE}")
    (finding,) = look(applied).of(Kind.DRIFT)
    assert "has USAGE on schema near" in finding.words


def test_what_went_with_its_table_is_not_missed(applied):
    """The table is told, and not its sequence; a sequence that is there is."""
    applied.run(f"drop table public.logs; revoke usage on schema public from {ROLE}")
    assert [f.object for f in look(applied).of(Kind.DRIFT) if "serial" in f.words or "sequence" in f.words] == []
    assert {f.object for f in look(applied).of(Kind.DRIFT)} == {"table public.logs", f"role {ROLE}"}


def test_shared_roles_are_told_of_by_what_they_are_alone(applied):
    """CREATEROLE of a token role is drift; who is a member of it, and which schemas it enters, is the app's own matter."""
    applied.run(f"grant authenticated to {FRIEND}; grant usage on schema far to authenticated")
    assert look(applied).findings == ()
    applied.run("alter role authenticated createrole")
    finding = only(look(applied))
    applied.run(f"alter role authenticated nocreaterole; revoke authenticated from {FRIEND}")
    assert (finding.object, finding.effect) == ("role authenticated", OPENS)
    assert re.search(NOTE, finding.words)


def test_what_an_earlier_release_did_not_note_is_not_compared(applied):
    """Nothing is guessed from it; what it noted is compared as ever, and an apply notes the rest."""
    applied.run(
        f"update mcp_rls.manifest set facts = facts - array['createrole', 'login', 'members', 'givers', 'uses'] where object = 'role {ROLE}'"
    )
    applied.run(f"alter role {ROLE} createrole; grant usage on schema far to {ROLE}; grant {ROLE} to {FRIEND}")
    assert not look(applied).of(Kind.DRIFT)
    applied.run(f"alter role {ROLE} nocreaterole bypassrls")
    assert "BYPASSRLS" in only(look(applied)).words
    applied.run(f"alter role {ROLE} nobypassrls")
    applied.install(FILE)
    assert look(applied).findings == ()
    applied.run(f"alter role {ROLE} createrole")
    assert "CREATEROLE" in only(look(applied)).words


def test_each_major_version_tells_the_same(each_server: Server) -> None:
    """Memberships say more from 16 on, and mean the same to us."""
    with scratch_on(each_server) as scratch:
        install(scratch)
        assert look(scratch).findings == ()
        scratch.run(f"grant {ROLE} to {FRIEND} with admin option; revoke {ROLE} from {TAKER}; alter role {ROLE} login")
        told = sorted(f.now for f in look(scratch).of(Kind.DRIFT))
        dropped(scratch)
    assert told == ["LOGIN", f"given to others by {FRIEND}", f"no longer taken by {TAKER}", f"taken by {FRIEND}"]


def test_two_databases_tell_what_one_of_them_did(server: Server) -> None:
    """Roles are the server's: a second database with the same file changes nothing in the first; one that takes the
    role from who takes it does.
    """
    with scratch_on(server) as one, scratch_on(server) as other:
        install(one)
        install(other)
        assert look(one).findings == look(other).findings == ()
        other.install(FILE.replace(f"{{taken_by: [{TAKER}]}}", "false"))
        assert only(look(one)).now == f"no longer taken by {TAKER}"
        one.install(FILE)
        assert look(one).findings == ()
        dropped(one)


def test_nothing_waits_and_nothing_can_be_written(applied, monkeypatch):
    """While another session drops what a role was given, all is told as ever; asked in the very transaction."""
    applied.run(f"grant usage on schema far to {ROLE}; grant usage on public.apart to {ROLE}")
    written: list[str] = []
    told = roles.told

    def watched(conn, found):
        written.append(conn.execute("show transaction_read_only").fetchone()[0])
        return told(conn, found)

    monkeypatch.setattr(roles, "told", watched)
    with psycopg.connect(applied.url) as other:
        other.execute("drop sequence public.apart; drop schema far cascade; lock table public.logs")
        words = [f.now for f in look(applied).of(Kind.DRIFT)]
        other.rollback()
    assert words == [f.now for f in look(applied).of(Kind.DRIFT)]
    assert words == ["has USAGE on schema far", "has USAGE on sequence public.apart"]
    assert written == ["on", "on"]
