"""Class roles belong to a whole server: what is there before, other databases, who may make and take them."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from mcp_rls.compiler.lower import lower
from mcp_rls.compiler.policy import read_policies
from mcp_rls.compiler.resolve import resolve
from mcp_rls.database.apply import apply_plan
from mcp_rls.database.drift import Kind, drift
from mcp_rls.database.server import Server
from mcp_rls.database.waiting import Refused
from mcp_rls.diagnostics import Diagnostic, Diagnostics, Invalid
from mcp_rls.state import State
from mcp_rls.ways import script
from tests.postgres.scratch import NOTES, Scratch, ann, helper, make_roles, policies, scratch_on
from tests.postgres.test_class_roles import ROLE, head, notes

pytestmark = pytest.mark.postgres


def offline(scratch: Scratch, file: str) -> None:
    """Carries out what `compile` writes for this file without a database."""
    resolved = resolve(policies(file), None, Diagnostics())
    assert resolved is not None
    for statement in script(lower(resolved, State())):
        scratch.connection.execute(statement.encode())


def test_without_a_database_the_grant_asks_it(scratch: Scratch) -> None:
    """What `compile` writes grants a class role what people turn out to have, and `drift` sees nothing in that."""
    scratch.run(NOTES + "revoke update on public.notes from authenticated")
    file = head("offline") + notes("{who: offline, allow: [select, update]}")
    offline(scratch, file)
    assert scratch.sees(helper(), role="mcp_offline") == [1, 2]
    assert (
        scratch.ask(helper(), "update public.notes set status = 'x'", role="mcp_offline")
        == "42501 permission denied for table notes"
    )
    held = [o for o in scratch.left(file) if "gets" in o or "mcp_offline" in o]
    assert held == []
    assert [f for f in drift(scratch.connection, policies(file)).findings if "mcp_offline" in f.now] == []


def test_without_a_database_nothing_is_wider(scratch: Scratch) -> None:
    """A class role gets into no schema that people don't get into, and keeps nothing that it had before."""
    scratch.run(
        NOTES
        + """create role mcp_wide nologin; grant truncate, update (status) on public.notes to mcp_wide;
        create schema far; create table far.logs (id integer primary key); grant select on far.logs to authenticated"""
    )
    file = head("wide").replace("[public]", "[public, far]") + notes("{who: wide, allow: select}")
    file += "  far.logs: {people: [{allow: select}], clients: [{who: wide, allow: select}]}\n"
    offline(scratch, file)
    for claims, role in ((ann(), "authenticated"), (helper(), "mcp_wide")):
        assert scratch.sees(claims, role=role) == [1, 2]
        assert scratch.ask(claims, "select from far.logs", role=role) == "42501 permission denied for schema far"
    for refused_ in ("truncate public.notes", "update public.notes set status = 'x'"):
        denied = "42501 permission denied for table notes"
        assert scratch.ask(helper(), refused_, role="mcp_wide") == denied
    assert [o for o in scratch.left(file) if "mcp_wide" in o] == []
    scratch.run("drop owned by mcp_wide; drop role mcp_wide")


def test_a_plan_for_another_server_meets_an_unfit_role(scratch: Scratch) -> None:
    """What is written without looking stops where the role can do more than a class may; others are taken."""
    scratch.run(NOTES + "create role mcp_elsewhere nologin bypassrls")
    file = head("elsewhere") + notes("{who: elsewhere, allow: select}")
    with pytest.raises(psycopg.errors.RaiseException, match="mcp_elsewhere is there already"):
        offline(scratch, file)
    assert (
        scratch.ask(helper(), "select from public.notes", role="mcp_elsewhere")
        == "42501 permission denied for table notes"
    )
    scratch.run("alter role mcp_elsewhere nobypassrls")
    offline(scratch, file)
    assert scratch.sees(helper(), role="mcp_elsewhere") == [1, 2]
    scratch.run("drop owned by mcp_elsewhere; drop role mcp_elsewhere")


def test_roles_come_and_go_with_the_file(scratch: Scratch) -> None:
    """Made once, noted, planned no more; gone with the class, unless something depends on it."""
    scratch.run(NOTES)
    file = head("fleeting", ", staying: {match: {ids: [other]}}") + notes("{who: [fleeting, staying], allow: select}")
    scratch.install(file)
    assert scratch.run(ROLE + "'mcp_fleeting'") == [(False, False, False, False)]
    assert scratch.left(file) == []
    scratch.run("create schema far; create table far.apart (id integer); grant select on far.apart to mcp_staying")
    gone = file.replace("class_roles: true", "class_roles: false")
    assert {"drop the role mcp_fleeting, unless something depends on it"} <= set(scratch.left(gone))
    scratch.install(gone)
    assert scratch.run(ROLE + "'mcp_fleeting'") == []
    assert scratch.run(ROLE + "'mcp_staying'") != []
    assert scratch.left(gone) == []
    assert scratch.sees(helper()) == [1, 2]
    scratch.run("drop table far.apart; drop role mcp_staying")


def test_a_role_that_others_made_stays(scratch: Scratch) -> None:
    """A role of that name is taken as it is, and left when the class goes; one that isn't fit is an error."""
    scratch.run(
        NOTES + "create role mcp_foreign nologin; create role mcp_unfit noinherit; grant authenticated to mcp_unfit"
    )
    file = head("foreign") + notes("{who: foreign, allow: select}")
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_foreign") == [1, 2]
    scratch.install(file.replace("class_roles: true", "class_roles: false"))
    assert scratch.run(ROLE + "'mcp_foreign'") != []
    with pytest.raises(Invalid) as refused:
        scratch.install(head("unfit") + notes("{who: unfit, allow: select}"))
    (error,) = [d for d in refused.value.diagnostics if d.severity.label == "error"]
    assert (error.code, error.span.line) == ("class-role-unfit", 8)
    assert error.message == 'the role "mcp_unfit" of class "unfit" is a member of authenticated'
    scratch.run("drop role mcp_unfit; drop role mcp_foreign")


@pytest.mark.parametrize("fault", ["has CREATEROLE", "owns schema apart"])
def test_a_role_that_can_do_more_is_unfit(scratch: Scratch, fault: str) -> None:
    """Who owns a schema may drop its tables, and who makes roles may become any."""
    more = {
        "has CREATEROLE": "alter role mcp_more createrole",
        "owns schema apart": "create schema apart authorization mcp_more",
    }
    less = {"has CREATEROLE": "alter role mcp_more nocreaterole", "owns schema apart": "drop schema apart"}
    scratch.run(NOTES + "create role mcp_more nologin;" + more[fault])
    file = head("more") + notes("{who: more, allow: select}")
    with pytest.raises(Invalid) as refused:
        scratch.install(file)
    assert f'the role "mcp_more" of class "more" {fault}' in [d.message for d in refused.value.diagnostics]
    scratch.run(less[fault])
    scratch.install(file)
    assert scratch.sees(helper(), role="mcp_more") == [1, 2]
    scratch.run("drop owned by mcp_more; drop role mcp_more")


def test_a_role_that_others_gave_something_is_left_with_what_it_needs(scratch: Scratch) -> None:
    """Grants on schemas, sequences and tables, also such as it may pass on: all that no rule needs goes at once."""
    scratch.run(
        NOTES
        + """create role mcp_given nologin; create schema far; create sequence far.numbers; grant usage on schema far to mcp_given;
        grant usage on far.numbers to mcp_given; grant all on public.notes to mcp_given with grant option"""
    )
    file = head("given") + notes("{who: given, allow: select}")
    scratch.install(file)
    assert scratch.left(file) == []
    assert scratch.sees(helper(), role="mcp_given") == [1, 2]
    assert (
        scratch.ask(helper(), "select nextval('far.numbers')", role="mcp_given")
        == "42501 permission denied for schema far"
    )
    assert scratch.value("select has_table_privilege('mcp_given', 'public.notes', 'select with grant option')") is False
    scratch.run("drop owned by mcp_given; drop role mcp_given")


def test_two_databases_share_a_role(server: Any) -> None:
    """The role is dropped with the last database that needs it."""
    file = head("shared") + notes("{who: shared, allow: select}")
    gone = file.replace("class_roles: true", "class_roles: false")
    with scratch_on(server) as one, scratch_on(server) as other:
        for scratch in (one, other):
            scratch.run(NOTES)
            scratch.install(file)
        one.install(gone)
        assert one.left(gone) == []
        assert other.left(file) == []
        assert other.sees(helper(), role="mcp_shared") == [1, 2]
        other.install(gone)
        assert other.run(ROLE + "'mcp_shared'") == []


LEFT = (
    NOTES
    + """alter table public.notes enable row level security; create policy own on public.notes using (true);
grant select on public.notes to public"""
)
TRUSTED = "trusted_roles: {left_gateway: arrives as what tokens say, left_group: reads reports}\n"


def left_behind(scratch: Scratch) -> None:
    make_roles(scratch.connection, "left_gateway", "left_group")
    scratch.run(LEFT + "; alter role left_gateway login noinherit")


def kept(name: str, keys: str = "true") -> str:
    """A file in which the app's own policies stay, and a login role is trusted with what it may become."""
    return head(name, keys=keys) + TRUSTED + notes(f'{{who: {name}, allow: select, rows: "id = 1"}}', "existing")


def unbound(scratch: Scratch, file: str) -> list[str]:
    """What `check` says of roles without a ceiling, which `drift` says too."""
    said = [(d.message, *d.hints) for d in refusals(scratch, file) if d.code == "unbound-role"]
    pending = [f.now for f in drift(scratch.connection, policies(file)).of(Kind.PENDING)]
    assert [now for now in pending if "unbound-role" in now] == [
        f"error[unbound-role] {message}" for message, _ in said
    ]
    return ["; ".join(parts) for parts in said]


def refusals(scratch: Scratch, file: str) -> list[Diagnostic]:
    try:
        return list(scratch.prepare(file).diagnostics)
    except Invalid as refused:
        return list(refused.diagnostics)


def test_a_role_that_stays_without_its_class_is_told(server: Server) -> None:
    """Another database needs it, tokens still arrive as it, and what PUBLIC has is open to it: no ceiling is left."""
    file = kept("outliving", "{taken_by: [left_gateway]}")
    gone = file.replace("class_roles: {taken_by: [left_gateway]}", "class_roles: false")
    with scratch_on(server) as one, scratch_on(server) as other:
        for scratch in (one, other):
            left_behind(scratch)
            scratch.install(file)
        assert unbound(one, file) == []
        assert one.sees(helper(), role="mcp_outliving") == [1]
        one.install(gone)
        assert unbound(one, gone) == []  # nobody may take it now
        other.install(file)
        assert other.sees(helper(), role="mcp_outliving") == [1]
        assert one.sees(helper(), role="mcp_outliving") == [1, 2, 3]
        (told,) = unbound(one, gone)
        assert told.startswith('role "mcp_outliving" reaches table "public.notes", and no ceiling binds it; ')
        assert told.endswith("revoke mcp_outliving from left_gateway, or its grants and those of PUBLIC there")
        assert unbound(other, file) == []
        one.run("revoke select on public.notes from public")
        assert unbound(one, gone) == []
        assert one.sees(helper(), role="mcp_outliving") == "42501 permission denied for table notes"
        one.run("grant select on public.notes to public")
        assert len(unbound(one, gone)) == 1
        one.install(file)
        assert unbound(one, file) == []
        assert one.sees(helper(), role="mcp_outliving") == [1]
        for scratch in (one, other):
            scratch.install(gone)
        assert one.run(ROLE + "'mcp_outliving'") == []
        assert unbound(one, gone) == []
        one.run("drop role left_gateway, left_group")


def test_a_role_that_others_made_and_that_stays_is_told(each_server: Server) -> None:
    """It was there before its class, and who may take it is no business of ours; what becomes of it is."""
    file = kept("lasting")
    gone = file.replace("class_roles: true", "class_roles: false")
    with scratch_on(each_server) as scratch:
        left_behind(scratch)
        scratch.run(
            "create role mcp_lasting nologin; create role left_reader nologin;"
            "grant mcp_lasting to left_group; grant left_reader, pg_read_all_stats to left_gateway"
        )
        scratch.install(file)
        scratch.install(gone)
        assert unbound(scratch, gone) == []
        scratch.run("grant left_group to left_gateway")
        assert [found[:18] for found in unbound(scratch, gone)] == ['role "mcp_lasting"']
        assert unbound(scratch, gone.replace("left_group: reads", "mcp_lasting: reads")) == []
        scratch.run("alter role left_gateway bypassrls")
        assert unbound(scratch, gone) == []
        scratch.run("drop role mcp_lasting, left_gateway, left_group, left_reader")


def test_who_may_take_a_role(scratch: Scratch) -> None:
    """`taken_by` may become each class role, and has none of its privileges before; what others gave is left alone."""
    scratch.run(NOTES + "create role taker login noinherit; create role friend nologin")
    file = head("taken", keys="{taken_by: [taker]}") + notes("{who: taken, allow: select}")
    scratch.install(file)
    scratch.run("grant mcp_taken to friend")
    with scratch.connection.transaction(force_rollback=True):
        scratch.run("set session authorization taker")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), scratch.connection.transaction():
            scratch.run("select from public.notes")
        scratch.run("set local role mcp_taken")
        assert scratch.value("select current_user") == "mcp_taken"
    assert scratch.left(file) == []
    nobody = file.replace("{taken_by: [taker]}", "true")
    assert scratch.left(nobody) == ["taker may no longer become mcp_taken", "note in the manifest what changed"]
    scratch.install(nobody)
    members = "select member::regrole::text from pg_auth_members where roleid = 'mcp_taken'::regrole and member <> 10"
    assert scratch.run(members) == [("friend",)]
    scratch.install(file.replace("class_roles: {taken_by: [taker]}", "class_roles: false"))
    scratch.run("drop role taker; drop role friend")


def test_a_class_role_takes_no_other(scratch: Scratch) -> None:
    """It is a member of nothing, whatever the file says."""
    _, diagnostics = read_policies(
        "policies.yaml", head("ring", keys="{taken_by: [mcp_ring]}") + notes("{who: ring, allow: select}")
    )
    (error,) = [d for d in diagnostics if d.severity.label == "error"]
    assert (error.code, error.message) == (
        "bad-value",
        '"mcp_ring" is a class\'s own role, which is a member of no other',
    )
    assert policies(head("ring", keys="{taken_by: [mcp_rings]}") + notes("{who: ring, allow: select}")).taken_by == (
        "mcp_rings",
    )


@contextmanager
def as_user(scratch: Scratch, name: str, attributes: str) -> Iterator[None]:
    """The connection as a role that is no superuser, with a schema `app` of its own in which the notes are."""
    scratch.run(f"create role {name} nologin {attributes}; create schema app authorization {name}")
    scratch.run(f"do $$ begin execute format('grant create on database %I to {name}', current_database()); end $$")
    scratch.run(f"set session authorization {name}")
    try:
        scratch.run(NOTES.replace("public.", "app.") + "grant usage on schema app to authenticated")
        yield
    finally:
        scratch.run(f"reset session authorization; drop owned by {name} cascade; drop role {name}")


def in_app(file: str) -> str:
    return file.replace("[public]", "[app]").replace("public.", "app.")


def test_whoever_makes_roles_makes_these(each_server: Server) -> None:
    """CREATEROLE is enough; without it and without the roles nothing is done, and roles made beforehand will do."""
    with scratch_on(each_server) as scratch:
        scratch.run("create role sluice nologin noinherit")
        file = in_app(head("humble", keys="{taken_by: [sluice]}") + notes("{who: humble, allow: select}"))
        with as_user(scratch, "maker", "createrole"):
            scratch.install(file)
            assert scratch.left(file) == []
            gone = file.replace("{taken_by: [sluice]}", "false")
            scratch.install(gone)
            assert scratch.run(ROLE + "'mcp_humble'") == []
        with as_user(scratch, "taker_of_roles", ""):
            with pytest.raises(Refused, match="permission denied to create role"):
                scratch.install(file)
            assert scratch.run("select from pg_policy") == []
            scratch.run(
                "reset session authorization; create role mcp_humble nologin; set session authorization taker_of_roles"
            )
            with pytest.raises(Refused, match='role "mcp_humble"'):
                scratch.install(file)
            scratch.run(
                "reset session authorization; grant mcp_humble to sluice; set session authorization taker_of_roles"
            )
            scratch.install(file)
            assert scratch.left(file) == []
        scratch.run("drop role mcp_humble; drop role sluice")


def test_a_role_that_somebody_else_made_stays(server: Server) -> None:
    """Whoever may not drop it gets on without: it has nothing left here."""
    file = head("lent") + notes("{who: lent, allow: select}")
    with scratch_on(server) as one, scratch_on(server) as other:
        one.run(NOTES)
        one.install(file)
        with as_user(other, "borrower", "createrole"):
            other.install(in_app(file))
            one.install(file.replace("class_roles: true", "class_roles: false"))
            gone = in_app(file).replace("class_roles: true", "class_roles: false")
            other.install(gone)
            assert other.left(gone) == []
        assert one.run(ROLE + "'mcp_lent'") != []
        assert one.run("select from pg_shdepend where refobjid = 'mcp_lent'::regrole") == []
        one.run("drop role mcp_lent")


def test_a_role_that_another_database_drops_at_that_moment(scratch: Scratch) -> None:
    """To try again makes it."""
    scratch.run(NOTES + "create role mcp_passing nologin")
    file = head("passing") + notes("{who: passing, allow: select}")
    expected = scratch.prepare(file).plan
    told: list[str] = []
    waiting = "select count(*) from pg_locks where locktype = 'object' and not granted"
    with psycopg.connect(scratch.url) as other, psycopg.connect(scratch.url, autocommit=True) as looking:
        other.execute("drop role mcp_passing")
        arguments = {"lock_timeout": "20s", "waiting": told.append}
        applying = threading.Thread(
            target=apply_plan, args=(scratch.connection, policies(file), expected), kwargs=arguments
        )
        applying.start()
        while applying.is_alive() and looking.execute(waiting).fetchone() == (0,):
            time.sleep(0.01)
        other.commit()
        applying.join()
    assert len(told) == 1
    assert "concurrently dropped" in told[0]
    assert scratch.sees(helper(), role="mcp_passing") == [1, 2]
