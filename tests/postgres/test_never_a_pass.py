"""What shows nothing is never a pass, through either door; and each has a twin that shows something, and passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from mcp_rls.cli import main
from mcp_rls.compiler.policy import load_policies
from mcp_rls.database.apply import install
from mcp_rls.database.server import open_server
from tests.postgres.doors import Doors, Seen, through_doors
from tests.postgres.scratch import ANN, BOB

pytestmark = pytest.mark.postgres


POLICIES = """\
mcp_rls: 1
platform: postgres
schemas: [public]
identity: {person: {claim: sub, type: uuid}, client: {claim: client_id}, scopes: {claim: scope}, direct: no_client}
roles: [doors_user]
classes:
  assistant: {match: {ids: [the-assistant]}}
scopes:
  "notes:read": {text: Read your notes}
tables:
  public.notes:
    clients:
      - {who: assistant, allow: select, scope: "notes:read", rows: "not secret"}
  public.plans:
    clients:
      - {who: assistant, allow: select, scope: "notes:read", rows: "id > 100"}
"""
SCHEMA = """\
create role doors_user nologin;
create table public.notes (id int primary key, owner uuid not null, secret boolean not null default false);
create table public.plans (id int primary key, step int not null check (step > 0));
alter table public.notes enable row level security;
alter table public.plans enable row level security;
create policy own on public.notes to doors_user
  using (owner = (current_setting('request.jwt.claims', true)::json ->> 'sub')::uuid);
create policy every on public.plans to doors_user using (step > 0);
grant select, insert, update, delete on public.notes, public.plans to doors_user;
"""
CASES = f"""\
fixtures:
  public.notes:
    - {{id: 1, owner: {ANN}}}
    - {{id: 2, owner: {ANN}, secret: true}}
    - {{id: 3, owner: {BOB}}}
  public.plans:
    - {{id: 7, step: 1}}
people: {{ann: {{sub: {ANN}}}}}
tokens:
  ann: {{person: ann}}
  ann-assistant: {{person: ann, class: assistant, scope: "notes:read"}}
cases:
  - {{as: ann, select: public.notes, sees: [1, 2]}}
  - {{as: ann-assistant, select: public.notes, sees: [1]}}
  - {{as: ann-assistant, select: public.plans, sees: []}}
  - {{as: ann-assistant, insert: {{public.notes: {{id: 9, owner: {ANN}}}}}, refused: policy}}
  - {{as: ann-assistant, update: {{public.notes: {{where: {{id: 1}}, set: {{secret: true}}}}}}, changes: []}}
"""
TEST = """\
def test_plans(rls):
    rls.token(person="ann", class_="assistant", scope="notes:read").sees_nothing("public.plans")
"""
PROJECT = {"policies.yaml": POLICIES, "schema.sql": SCHEMA, "cases.yaml": CASES, "test_plans.py": TEST}
NO_PLANS = ("cases.yaml", "  public.plans:\n    - {id: 7, step: 1}\n", "")
Edit = tuple[str, str, str]  # a file, what stands in it, and what is to stand there


def edited(folder: Path, *edits: Edit) -> Path:
    """The project in `folder`, with some of its text another."""
    for name, text in PROJECT.items():
        for file, before, after in edits:
            if file == name:
                assert before in text
                text = text.replace(before, after, 1)  # noqa: PLW2901 - edits follow each other
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def fallen(seen: Seen) -> set[str]:
    """The items of pytest that didn't pass, less the name of the file."""
    return {name.rpartition("::")[2] for name, outcome in seen.items.items() if outcome != "passed"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    return through_doors(edited(tmp_path_factory.mktemp("sound")))


def test_the_sound_project_passes(sound: Doors) -> None:
    """Everything that follows is one edit of it."""
    assert (sound.command.code, sound.pytest.code) == (0, 0), sound.command.text
    assert {check["verdict"] for check in sound.command.checks} == {"passed"}
    assert set(sound.pytest.items.values()) == {"passed"}
    assert not any(check["by_grant"] for check in sound.command.checks)
    assert "want of a grant" not in sound.printed


@dataclass(frozen=True)
class Hollow:
    """An edit that takes the proof away, what both doors say of it, and where."""

    name: str
    edits: tuple[Edit, ...]
    says: str
    code: int = 1
    items: tuple[str, ...] = ()  # of pytest, that fall; (): all of them


HOLLOW = [
    Hollow(
        "a table with no rows",
        (NO_PLANS,),
        "VACUOUS: public.plans has no rows, so nobody could see any",
        items=("ann-assistant select public.plans: sees []", "test_plans"),
    ),
    Hollow(
        "a table with no rows, and none that could be made up",
        (
            NO_PLANS,
            ("schema.sql", "check (step > 0)", "check (step > 0 and step * step < 0)"),
            ("cases.yaml", "  - {as: ann-assistant, select: public.plans, sees: []}\n", ""),
        ),
        "UNDECIDED: public.plans has no rows to try",
        2,
        ("ann-assistant public.plans: nothing else", "test_plans"),
    ),
    Hollow(
        "a missing grant to insert",
        (("schema.sql", "grant select, insert, update,", "grant select, update,"),),
        "WRONG REASON: the insert by ann-assistant wasn't refused by policy; it was refused by a missing grant",
        items=(f"ann-assistant insert public.notes id=9 owner={ANN}: refused: policy",),
    ),
    Hollow(
        "a missing grant to update",
        (("schema.sql", "insert, update, delete", "insert, delete"),),
        "WRONG REASON: the update by ann-assistant was refused by a missing grant",
        items=("ann-assistant update public.notes where id=1 set secret=true: changes []",),
    ),
    Hollow(
        "a missing grant to select",
        (
            (
                "schema.sql",
                "on public.notes, public.plans to",
                "on public.notes to doors_user; grant insert on public.plans to",
            ),
        ),
        "WRONG REASON: ann-assistant sees nothing for want of a grant: no policy was asked",
        items=("ann-assistant select public.plans: sees []", "test_plans"),
    ),
    Hollow(
        "a try that ends in an error",
        (
            ("policies.yaml", "id > 100", "id > 0"),
            ("schema.sql", "using (step > 0)", "using (step / (id - id) > 0)"),
            ("cases.yaml", "  - {as: ann-assistant, select: public.plans, sees: []}\n", ""),
        ),
        "UNDECIDED: the select by ann-assistant on public.plans ended in ",
        2,
        ("ann-assistant public.plans: nothing else", "test_plans"),
    ),
    Hollow(
        "a client that can't be made up",
        (
            ("policies.yaml", "ids: [the-assistant]", "registry: {table: public.apps, id: id}"),
            ("schema.sql", "alter", "create table public.apps (id text primary key check (false));\nalter"),
        ),
        'no client of the class "assistant" could be made up',
        2,
        (
            "ann-assistant select public.notes: sees [1]",
            "ann-assistant select public.plans: sees []",
            f"ann-assistant insert public.notes id=9 owner={ANN}: refused: policy",
            "ann-assistant update public.notes where id=1 set secret=true: changes []",
            "ann-assistant public.notes: nothing else",
            "ann-assistant public.plans: nothing else",
            "ann-assistant other tables: nothing",
            "test_plans",
        ),
    ),
    Hollow(
        "a superuser",
        (("schema.sql", "doors_user nologin", "doors_user nologin superuser"),),
        'error[unbound-role] token role "doors_user" has BYPASSRLS or is a superuser',
    ),
    Hollow(
        "a role that bypasses row security",
        (("schema.sql", "doors_user nologin", "doors_user nologin bypassrls"),),
        'error[unbound-role] token role "doors_user" has BYPASSRLS',
    ),
    Hollow(
        "an empty cases file",
        (("cases.yaml", CASES, ""), ("test_plans.py", TEST, "")),
        "[empty-file]",
        items=("cases.yaml",),
    ),
    Hollow(
        "a cases file without a case",
        (("cases.yaml", CASES[CASES.index("cases:") :], "cases: []\n"), ("test_plans.py", TEST, "")),
        "[no-cases] there is no case in this file",
        items=("cases.yaml",),
    ),
]


@pytest.mark.parametrize("hollow", HOLLOW, ids=[hollow.name for hollow in HOLLOW])
def test_through_both_doors(sound: Doors, tmp_path: Path, hollow: Hollow) -> None:
    """Both say the same of it, and what still shows something passes."""
    seen = through_doors(edited(tmp_path, *hollow.edits))
    assert seen.command.code == hollow.code
    assert hollow.says in seen.command.text.replace("\n", " ") or any(
        hollow.says in check["headline"] for check in seen.command.checks
    )
    assert hollow.says in seen.pytest.text
    assert seen.pytest.code != 0
    assert fallen(seen.pytest) == set(hollow.items or fallen_names(sound))


def fallen_names(doors: Doors) -> set[str]:
    return {name.rpartition("::")[2] for name in doors.pytest.items}


def test_a_role_that_became_a_superuser(sound: Doors, tmp_path: Path) -> None:
    """In a database that holds the policies already: it passes, and then it doesn't."""
    folder = edited(tmp_path)
    policies, _ = load_policies(folder / "policies.yaml")
    assert policies is not None
    with open_server() as server, server.scratch_database() as url:
        command, items = ["--database", url], [f"--rls-database={url}"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
            install(connection, policies)
            before = through_doors(folder, command=command, items=items)
            connection.execute("alter role doors_user superuser")
            after = through_doors(folder, command=command, items=items)
    assert (before.command.code, before.pytest.code) == (0, 0)
    assert (after.command.code, after.pytest.code) == (1, 1)
    assert fallen(after.pytest) == fallen_names(sound)


def test_what_only_a_missing_grant_denies_is_counted(sound: Doors, tmp_path: Path) -> None:
    """Cells that no case lists are denied, and no policy of theirs was asked: both doors say how many those are."""
    folder = edited(tmp_path, ("schema.sql", "update, delete on", "update on"))
    seen = through_doors(folder)
    assert (seen.command.code, seen.pytest.code) == (0, 0)
    by_grant = {(c["table"], c["command"]) for c in seen.command.checks if c["by_grant"]}
    assert by_grant == {("public.notes", "delete"), ("public.plans", "delete")}
    assert "rls: 2 unlisted cells were denied for want of a grant: no policy was asked" in seen.printed
    text = CliRunner().invoke(main, ["test", str(folder / "policies.yaml")]).stdout
    assert "unlisted cells denied (2 for want of a grant: no policy was asked)" in text


def test_a_side_channel_that_could_not_be_tried(tmp_path: Path) -> None:
    """A view in which nothing hidden could be seen proves nothing of views; one that shows the token's rows does."""
    views = {
        "notes": "select * from public.notes where not secret",
        "nothing": "select * from public.notes where false",
    }
    codes = {}
    for name, query in views.items():
        (tmp_path / name).mkdir()
        made = f"create view public.shown with (security_invoker) as {query};\n"
        made += "grant select on public.shown to doors_user;"
        folder = edited(tmp_path / name, ("schema.sql", "grant", f"{made}\ngrant"))
        options = ["probe", str(folder / "policies.yaml"), "--only", "views"]
        items = through_doors(folder, items=["--rls-probes=views", "-k", "probe"]).pytest
        codes[name] = (CliRunner().invoke(main, options).exit_code, items.items)
    assert codes == {
        "notes": (0, {"cases.yaml::probe views": "passed"}),
        "nothing": (1, {"cases.yaml::probe views": "failed"}),
    }
