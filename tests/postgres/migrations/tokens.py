"""Migrations in what a token means: classes, scopes, consent, claims, sets, roles; and in rules for people."""

# ruff: noqa: E501 - SQL and policies read better unbroken

from __future__ import annotations

from tests.postgres.migrations.migration import (
    NOTES,
    OWN_POLICIES,
    Change,
    Migration,
    file,
    notes,
    people,
    rule,
)
from tests.postgres.scratch import ANN, BOB, ann, helper

ALL = ("1 2 3 4", "1 2 3 4")
NONE = ("", "")
WORKER = {"worker": (ann(client_id="worker", scope="n:r"), "authenticated")}
BOTH = "{helper: {match: {ids: [helper]}}, worker: {match: {ids: [worker]}}}"
APPS = """
create table public.apps (id text, ok boolean); insert into public.apps values ('helper', true), ('worker', false);
grant select on public.apps to authenticated;
"""
CONSENT = f"""
create table public.consents (person uuid, app text, words text, ended timestamptz);
insert into public.consents values ('{ANN}', 'helper', 'n:r', null), ('{ANN}', 'worker', 'n:r', now()), ('{BOB}', 'worker', 'n:r', null);
"""
CONSENTED = "{table: public.consents, columns: {person: person, client: app, scopes: words}, where: ended is null}"
SCOPES = '{"n:r": {text: t}, "n:w": {text: t}}'


def thirty(rows: str) -> str:
    """Thirty classes, each with a rule of its own."""
    classes = ", ".join(f"c{n}: {{match: {{ids: [c{n}]}}}}" for n in range(30))
    rules = [rule(f"rank {rows} {n} - 1", who=f"c{n}") for n in range(30)]
    return notes(*rules, rule("id = 1"), classes=f"{{helper: {{match: {{ids: [helper]}}}}, {classes}}}")


CLASSES = (
    Migration(
        "a class is added",
        notes(rule("id = 1")),
        notes(rule("id = 1"), rule("id < 3", who="worker"), classes=BOTH),
        {"helper": ("1", "1"), "worker": ("", "1 2"), "ann": ALL},
        readers=WORKER,
        whole=True,
    ),
    Migration(
        "a class goes",
        notes(rule("id = 1"), rule("id < 3", who="worker"), classes=BOTH),
        notes(rule("id = 1")),
        {"helper": ("1", "1"), "worker": ("1 2", ""), "ann": ALL},
        readers=WORKER,
    ),
    Migration(
        "a class is renamed",
        notes(rule("id = 1")),
        notes(rule("id = 1", who="aide"), classes="{aide: {match: {ids: [helper]}}}"),
        {"helper": ("1", "1"), "ann": ALL},
        whole=True,
    ),
    Migration(
        "two classes swap their names",
        notes(rule("id = 1"), rule("id = 2", who="worker"), classes=BOTH),
        notes(rule("id = 1", who="worker"), rule("id = 2"), classes="{helper: {match: {ids: [worker]}}, worker: {match: {ids: [helper]}}}"),
        {"helper": ("1", "1"), "worker": ("2", "2"), "ann": ALL},
        readers=WORKER,
        between="a ceiling's old rules are read with the classes of the new gate",
        whole=True,
    ),
    Migration(
        "a class gets another id",
        notes(rule("id = 1")),
        notes(rule("id = 1"), classes="{helper: {match: {ids: [worker]}}}"),
        {"helper": ("1", ""), "worker": ("", "1"), "ann": ALL},
        readers=WORKER,
    ),
    Migration(
        "a class gets another id, and less",
        notes(rule()),
        notes(rule("id = 1"), classes="{helper: {match: {ids: [worker]}}}"),
        {"helper": ("1 2 3 4", ""), "worker": ("", "1"), "ann": ALL},
        readers=WORKER,
        between="a ceiling's old rules are read with the classes of the new gate",
        whole=True,
    ),
    Migration(
        "an id moves to another class",
        notes(rule("id = 1"), rule("id < 4", who="worker"), classes="{helper: {match: {ids: [helper]}}, worker: {match: {ids: [worker, mover]}}}"),
        notes(rule("id = 1"), rule("id < 4", who="worker"), classes="{helper: {match: {ids: [helper, mover]}}, worker: {match: {ids: [worker]}}}"),
        {"helper": ("1", "1"), "worker": ("1 2 3", "1 2 3"), "mover": ("1 2 3", "1"), "ann": ALL},
        readers={**WORKER, "mover": (ann(client_id="mover"), "authenticated")},
    ),
    Migration(
        "the first class that matches is another",
        notes(rule("id = 1"), rule("id = 2", who="url"), classes='{helper: {match: {ids: ["https://a.example/x"]}}, url: {match: {client_id_url_prefix: "https://a.example/"}}}'),
        notes(rule("id = 1"), rule("id = 2", who="url"), classes='{url: {match: {client_id_url_prefix: "https://a.example/"}}, helper: {match: {ids: ["https://a.example/x"]}}}'),
        {"helper": NONE, "url": ("1", "2"), "ann": ALL},
        readers={"url": (ann(client_id="https://a.example/x"), "authenticated")},
        whole=True,
    ),
    Migration(
        "ids become a prefix",
        notes(rule("id = 1"), classes='{helper: {match: {ids: ["https://a.example/x"]}}}'),
        notes(rule("id = 1"), classes='{helper: {match: {client_id_url_prefix: "https://a.example/"}}}'),
        {"helper": NONE, "x": ("1", "1"), "y": ("", "1"), "ann": ALL},
        readers={"x": (ann(client_id="https://a.example/x"), "authenticated"), "y": (ann(client_id="https://a.example/y"), "authenticated")},
    ),
    Migration(
        "a registry decides",
        notes(rule("id = 1"), classes="{helper: {match: {ids: [helper, worker]}}}"),
        notes(rule("id = 1"), classes="{helper: {match: {registry: {table: public.apps, id: id, where: ok}}}}"),
        {"helper": ("1", "1"), "worker": ("1", ""), "ann": ALL},
        schema=NOTES + APPS,
        readers=WORKER,
    ),
    Migration(
        "a registry's condition changes",
        notes(rule("id = 1"), classes="{helper: {match: {registry: {table: public.apps, id: id, where: ok}}}}"),
        notes(rule("id = 1"), classes="{helper: {match: {registry: {table: public.apps, id: id, where: not ok}}}}"),
        {"helper": ("1", ""), "worker": ("", "1"), "ann": ALL},
        schema=NOTES + APPS,
        readers=WORKER,
    ),
    Migration(
        "thirty classes at once",
        notes(rule("id = 1")),
        thirty("<"),
        {"helper": ("1", "1"), "c3": ("", "1"), "c29": ("", "1 2 3 4"), "ann": ALL},
        readers={name: (ann(client_id=name), "authenticated") for name in ("c3", "c29")},
        whole=True,
    ),
    Migration(
        "thirty classes change at once",
        thirty("<"),
        thirty(">"),
        {"helper": ("1", "1"), "c3": ("1", "3 4"), "c29": ("1 2 3 4", ""), "ann": ALL},
        readers={name: (ann(client_id=name), "authenticated") for name in ("c3", "c29")},
    ),
    Migration(
        "the app's own sessions are told by their id",
        notes(rule("id = 1")),
        notes(rule("id = 1"), identity="{direct: {ids: [web]}}"),
        {"helper": ("1", "1"), "ann": ("1 2 3 4", ""), "web": ("", "1 2 3 4")},
        readers={"web": (ann(client_id="web"), "authenticated")},
    ),
    Migration(
        "the client stands in another claim",
        notes(rule("id = 1")),
        notes(rule("id = 1"), identity="{client: {claim: azp}, direct: no_client}"),
        {"stranger": ("", "1 2 3 4"), "helper": ("1", "1 2 3 4"), "azp": ("1 2 3 4", "1"), "ann": ALL},
        readers={"azp": (ann(azp="helper"), "authenticated")},
    ),
)  # fmt: skip

SCOPED = (
    Migration(
        "a rule needs a scope",
        notes(rule("id = 1")),
        notes(rule("id = 1", scope="n:w"), scopes=SCOPES),
        {"helper": ("1", ""), "writer": ("1", "1"), "ann": ALL},
        readers={"writer": (helper(scope="x n:w"), "authenticated")},
    ),
    Migration(
        "a scope is renamed",
        notes(rule("id = 1", scope="n:r"), scopes='{"n:r": {text: t}}'),
        notes(rule("id = 1", scope="notes:read"), scopes='{"notes:read": {text: t}}'),
        {"helper": ("1", ""), "renamed": ("", "1"), "ann": ALL},
        readers={"renamed": (helper(scope="notes:read"), "authenticated")},
    ),
    Migration(
        "a scope implies another",
        notes(rule("id = 1", scope="n:r"), rule("id = 2", scope="n:w"), scopes=SCOPES),
        notes(rule("id = 1", scope="n:r"), rule("id = 2", scope="n:w"), scopes='{"n:r": {text: t}, "n:w": {text: t, implies: ["n:r"]}}'),
        {"helper": ("1", "1"), "writer": ("2", "1 2"), "ann": ALL},
        readers={"writer": (helper(scope="n:w"), "authenticated")},
    ),
    Migration(
        "a scope implies another the other way round",
        notes(rule("id = 1", scope="n:r"), rule("id = 2", scope="n:w"), scopes='{"n:r": {text: t}, "n:w": {text: t, implies: ["n:r"]}}'),
        notes(rule("id = 1", scope="n:r"), rule("id = 2", scope="n:w"), scopes='{"n:r": {text: t, implies: ["n:w"]}, "n:w": {text: t}}'),
        {"helper": ("1", "1 2"), "writer": ("1 2", "2"), "ann": ALL},
        readers={"writer": (helper(scope="n:w"), "authenticated")},
    ),
    Migration(
        "consent is asked for",
        notes(rule("id = 1", scope="n:r"), rule("id = 2", who="worker", scope="n:r"), classes=BOTH, scopes='{"n:r": {text: t}}'),
        notes(
            rule("id = 1", scope="n:r"), rule("id = 2", who="worker", scope="n:r"), scopes='{"n:r": {text: t}}', consent=CONSENTED,
            classes="{helper: {match: {ids: [helper]}, consent: required}, worker: {match: {ids: [worker]}, consent: required}}",
        ),
        {"helper": ("1", "1"), "worker": ("2", ""), "ann": ALL},
        schema=NOTES + CONSENT,
        readers=WORKER,
    ),
    Migration(
        "consent isn't asked for any more",
        notes(
            rule("id = 1"), rule("id = 2", who="worker"), consent=CONSENTED,
            classes="{helper: {match: {ids: [helper]}, consent: required}, worker: {match: {ids: [worker]}, consent: required}}",
        ),
        notes(rule("id = 1"), rule("id = 2", who="worker"), classes=BOTH),
        {"helper": ("1", "1"), "worker": ("", "2"), "ann": ALL},
        schema=NOTES + CONSENT,
        readers=WORKER,
    ),
    Migration(
        "a consent's condition changes",
        notes(rule("id = 1"), consent=CONSENTED, classes="{helper: {match: {ids: [helper, worker]}, consent: required}}"),
        notes(rule("id = 1"), consent=CONSENTED.replace("ended is null", "ended is not null"), classes="{helper: {match: {ids: [helper, worker]}, consent: required}}"),
        {"helper": ("1", ""), "worker": ("", "1"), "ann": ALL},
        schema=NOTES + CONSENT,
        readers=WORKER,
    ),
    Migration(
        "scopes come from the consent",
        notes(rule("id = 1", scope="n:r"), rule("id = 2", scope="n:w"), scopes=SCOPES),
        notes(rule("id = 1", scope="n:r"), rule("id = 2", scope="n:w"), scopes=SCOPES, consent=CONSENTED, identity="{scopes: {consent: true}, direct: no_client}"),
        {"helper": ("1", "1"), "writer": ("2", "1"), "ann": ALL},
        schema=NOTES + CONSENT,
        readers={"writer": (helper(scope="n:w"), "authenticated")},
    ),
)  # fmt: skip

CLAIMS = (
    Migration(
        "a claim becomes a text",
        notes(rule("rank = token.level"), claims="{level: {claim: level, type: int}}"),
        notes(rule("status = token.level"), claims="{level: {claim: level, type: text}}"),
        {"helper": NONE, "number": ("2", ""), "text": ("", "2"), "ann": ALL},
        readers={"number": (helper(level=2), "authenticated"), "text": (helper(level="closed"), "authenticated")},
        whole=True,
    ),
    Migration(
        "sessions resolve what they claim",
        notes(rule("rank = token.level"), claims="{level: {claim: level, type: int}}"),
        notes(rule("rank = token.level"), claims="{level: {claim: level, type: int}}", resolved="true"),
        {"helper": NONE, "second": ("2", "2"), "ann": ALL},
        readers={"second": (helper(level=2), "authenticated")},
    ),
    Migration(
        "sessions resolve no more",
        notes(rule("rank = token.level"), claims="{level: {claim: level, type: int}}", resolved="true"),
        notes(rule("id = 1"), claims="{level: {claim: level, type: int}}"),
        {"helper": ("", "1"), "second": ("2", "1"), "ann": ALL},
        readers={"second": (helper(level=2), "authenticated")},
    ),
    Migration(
        "sessions resolve, and their rules change",
        notes(rule("rank = token.level"), rule("id < 3", who="worker"), claims="{level: {claim: level, type: int}}", classes=BOTH, resolved="true"),
        notes(rule("id = token.level"), rule("id = 1", who="worker"), claims="{level: {claim: level, type: int}}", classes=BOTH, resolved="true"),
        {"helper": NONE, "second": ("2", "2"), "worker": ("1 2", "1"), "ann": ALL},
        readers={"second": (helper(level=2), "authenticated"), **WORKER},
    ),
    Migration(
        "a claim is read from elsewhere",
        notes(rule("rank = token.level"), claims="{level: {claim: level, type: int}}"),
        notes(rule("rank = token.level"), claims="{level: {claim: app.level, type: int}}"),
        {"helper": NONE, "flat": ("2", ""), "nested": ("", "3"), "ann": ALL},
        readers={"flat": (helper(level=2), "authenticated"), "nested": (helper(app={"level": 3}), "authenticated")},
    ),
    Migration(
        "a claim's name holds what quotes",
        notes(rule("rank = token.level"), claims="{level: {claim: level, type: int}}"),
        notes(rule("rank = token.level"), claims="{level: {claim: [\"it's {a}:b\\\\%s\", 'x\"y'], type: int}}"),
        {"helper": NONE, "flat": ("2", ""), "nested": ("", "3"), "ann": ALL},
        readers={"flat": (helper(level=2), "authenticated"), "nested": (helper(**{"it's {a}:b\\%s": {'x"y': 3}}), "authenticated")},
    ),
    Migration(
        "the person becomes a text",
        notes(rule("owner = token.person")),
        notes(rule("status = token.person"), identity="{person: {claim: sub, type: text}, direct: no_client}"),
        {"helper": ("1 2 4", ""), "named": ("", "2"), "ann": ALL},
        readers={"named": ({"sub": "closed", "client_id": "helper"}, "authenticated")},
        whole=True,
    ),
)  # fmt: skip

MINE = '{mine: {type: integer, query: "select id from public.notes where owner = token.person"}}'
SETS = (
    Migration(
        "a set comes",
        notes(rule("id = 1")),
        notes(rule("id in mine and rank > 1"), sets=MINE),
        {"helper": ("1", "2 4"), "ann": ALL},
    ),
    Migration(
        "a set's query changes",
        notes(rule("id in mine"), sets=MINE),
        notes(rule("id in mine"), sets=MINE.replace("owner = token.person", "owner <> token.person")),
        {"helper": ("1 2 4", "3"), "ann": ALL},
    ),
    Migration(
        "a set grows and its rule gets narrower",
        notes(rule("id in mine"), sets=MINE),
        notes(rule("id in mine and status = 'open'"), sets=MINE.replace("where owner = token.person", "where token.person is not null")),
        {"helper": ("1 2 4", "1 3"), "ann": ALL},
        between="a ceiling's old condition is read with the new set",
        whole=True,
    ),
    Migration(
        "a set of another type",
        notes(rule("id in mine"), sets=MINE),
        notes(rule("id in mine"), sets=MINE.replace("integer", "bigint").replace("select id", "select id::bigint")),
        {"helper": ("1 2 4", "1 2 4"), "ann": ALL},
        whole=True,
    ),
    Migration(
        "a set of another type under rules for people",
        notes(rule("id = 1"), people=people("id in mine"), sets=MINE),
        notes(rule("id = 1"), people=people("id::text in mine"), sets=MINE.replace("integer", "text").replace("select id", "select id::text")),
        {"helper": ("1", "1"), "ann": ("1 2 4", "1 2 4")},
        whole=True,
    ),
    Migration(
        "a set is renamed",
        notes(rule("id in mine"), sets=MINE),
        notes(rule("id in my_own"), sets=MINE.replace("mine", "my_own")),
        {"helper": ("1 2 4", "1 2 4"), "ann": ALL},
    ),
    Migration(
        "a set goes",
        notes(rule("id in mine"), sets=MINE),
        notes(rule("id < 3")),
        {"helper": ("1 2 4", "1 2"), "ann": ALL},
    ),
)  # fmt: skip

ROLES = (
    Migration(
        "a token role is added",
        notes(rule("id = 1"), trusted_roles="{agent: a job}"),
        notes(rule("id = 1"), roles="[authenticated, anon, agent]"),
        {"helper": ("1", "1"), "agent": ("1 2 3 4", "1"), "ann": ALL},
        schema=NOTES + "grant select on public.notes to agent;",
        readers={"agent": (helper(), "agent")},
        does=("alter policy",),
    ),
    Migration(
        "a token role goes",
        notes(rule("id = 1"), roles="[authenticated, anon, agent]"),
        notes(rule("id = 1"), trusted_roles="{agent: a job}"),
        {"helper": ("1", "1"), "agent": ("1", "1 2 3 4"), "ann": ALL},
        schema=NOTES + "grant select, truncate on public.notes to agent;",
        readers={"agent": (helper(), "agent")},
    ),
    Migration(
        "a role is anonymous no more",
        notes(rule("id = 1")),
        notes(rule("id = 1"), anonymous="[]"),
        {"helper": ("1", "1"), "ann": ALL, "nobody": ("1 2 3 4", "")},
        readers={"nobody": (None, "anon")},
    ),
    Migration(
        "another role under rules for people",
        notes(rule("id = 1"), people=people("owner = token.person"), trusted_roles="{agent: a job}"),
        notes(rule("id = 1"), people=people("owner = token.person"), roles="[authenticated, anon, agent]"),
        {"helper": ("1", "1"), "agent": ("", "1"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES + "grant select on public.notes to agent;",
        readers={"agent": (helper(), "agent")},
        between="the rule for people admits the role before the ceiling binds it",
    ),
)  # fmt: skip

PEOPLE = (
    Migration(
        "rules for people in place of none",
        notes(rule("id < 4")),
        notes(rule("id < 4"), people=people("owner = token.person")),
        {"helper": ("1 2 3", "1 2"), "ann": ("1 2 3 4", "1 2 4")},
        does=("create policy", "drop policy", "revoke"),
    ),
    Migration(
        "the app's own policies in place of rules for people",
        notes(rule("id < 4"), people=people("owner = token.person")),
        notes(rule("id < 4")),
        {"helper": ("1 2 3", "1 3"), "ann": ("1 2 3 4", "1 3")},
        first=Change(
            "create policy app on public.notes to authenticated using (status = 'open')",
            "drop policy app on public.notes",
        ),
    ),
    Migration(
        "rules for people allow another command",
        notes(rule("id < 4"), people=people("owner = token.person")),
        notes(rule("id < 4"), people=people("owner = token.person", "[select, update, delete]")),
        {"helper": ("1 2", "1 2"), "ann": ("1 2 4", "1 2 4")},
        does=("grant DELETE, UPDATE", "for delete"),
    ),
    Migration(
        "rules for people allow one command less",
        notes(rule("id < 4"), people=people("owner = token.person", "[select, update, delete]")),
        notes(rule("id < 4"), people=people("owner = token.person", "[select, delete]")),
        {"helper": ("1 2", "1 2"), "ann": ("1 2 4", "1 2 4")},
        does=("revoke UPDATE on", "drop policy"),
    ),
    Migration(
        "rules for people read no more",
        notes(rule("id < 4"), people=people("owner = token.person", "[select, insert]")),
        notes(rule("id < 4"), people=people("owner = token.person", "insert")),
        {"helper": ("1 2", ""), "ann": ("1 2 4", "")},
    ),
    Migration(
        "a rule for people changes",
        notes(rule("id < 4"), people=people("owner = token.person")),
        notes(rule("id < 4"), people=people("status = 'open'")),
        {"helper": ("1 2", "1 3"), "ann": ("1 2 4", "1 3")},
        never=("drop policy",),
    ),
    Migration(
        "a rule for people changes, and that for clients",
        notes(rule("id < 3"), people=people("owner = token.person")),
        notes(rule(), people=people("status = 'open'")),
        {"helper": ("1 2", "1 3"), "ann": ("1 2 4", "1 3")},
        between="the ceiling is changed before the rule for people, or after it: each order is right for one way",
    ),
    Migration(
        "a check is taken away",
        notes(rule(), people=people("owner = token.person") + ", " + people("owner = token.person", "update", check="status <> 'OPEN'")),
        notes(rule(), people=people("owner = token.person", "[select, update]")),
        {"helper": ("1 2 4", "1 2 4"), "ann": ("1 2 4", "1 2 4")},
    ),
)  # fmt: skip

COMMANDS = (
    Migration(
        "a rule allows more commands",
        notes(rule("id < 3")),
        notes(rule("id < 3", allow="[select, update, delete]")),
        {"helper": ("1 2", "1 2"), "ann": ALL},
        never=("create policy", "drop policy"),
    ),
    Migration(
        "a rule allows other commands",
        notes(rule("id < 3"), rule("id = 2", allow="update")),
        notes(rule("id < 3"), rule("id = 1", allow="delete")),
        {"helper": ("1 2", "1 2"), "ann": ALL},
    ),
    Migration(
        "clients may read nothing any more",
        notes(rule("id < 3", allow="[select, delete]")),
        file("{public.notes: {clients: none}}"),
        {"helper": ("1 2", ""), "ann": ALL},
        does=("for all",),
    ),
    Migration(
        "clients may read what their person reads",
        file("{public.notes: {clients: none}}"),
        file("{public.notes: {clients: read_as_person}}"),
        {"helper": ("", "1 2 4"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES + OWN_POLICIES,
    ),
    Migration(
        "rules in place of read_as_person",
        file("{public.notes: {clients: read_as_person}}"),
        notes(rule("status = 'open'")),
        {"helper": ("1 2 4", "1"), "ann": ("1 2 4", "1 2 4")},
        schema=NOTES + OWN_POLICIES,
    ),
    Migration(
        "a condition that isn't checked",
        notes(rule("id < 3")),
        notes("{who: helper, allow: select, sql: \"exists (select from pg_catalog.pg_class where oid = 'public.notes'::regclass) and status = 'OPEN'\"}"),
        {"helper": ("1 2", "4"), "ann": ALL},
    ),
)  # fmt: skip

CASES = (*CLASSES, *SCOPED, *CLAIMS, *SETS, *ROLES, *PEOPLE, *COMMANDS)
