"""An Alembic project as `alembic init` makes it, with models, and with policies that its env.py names in one line."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from tests.postgres.scratch import Scratch

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
"""
NOTES_MODEL = MODELS + (
    'notes = sa.Table("notes", metadata, sa.Column("id", sa.Integer, primary_key=True),'
    ' sa.Column("owner", sa.Uuid), sa.Column("status", sa.Text))\n'
)
_ADOPTION = """
import runpy
from mcp_rls.alembic_plugin import with_policies

target_metadata = with_policies(runpy.run_path(MODELS)["metadata"], "policies.yaml")
"""


def _url(url: str, driver: str) -> str:
    """The URL for another driver; only libpq's own take its options, which pin nothing but a test's locale."""
    made = make_url(url).set(drivername=f"postgresql+{driver}")
    if driver in ("asyncpg", "pg8000"):
        made = made.difference_update_query(["options", "target_session_attrs", "hostaddr"])
    return made.render_as_string(hide_password=False)


class Elsewhere(PGDialect_psycopg):
    """psycopg under another name: for us, any driver but the one that we know."""

    driver = "elsewhere"
    supports_statement_cache = True


class Project:
    """Models, policies and revisions of one database."""

    def __init__(self, directory: Path, scratch: Scratch, template: str = "generic", driver: str = "psycopg") -> None:
        self.directory, self.scratch = directory, scratch
        self.ini = directory / "alembic.ini"
        quiet = Config(str(self.ini), cmd_opts=argparse.Namespace(quiet=True))
        command.init(quiet, str(directory / "migrations"), template=template)
        url = _url(scratch.url, driver).replace("%", "%%")
        self.ini.write_text(self.ini.read_text().replace("driver://user:pass@localhost/dbname", url))
        adoption = _ADOPTION.replace("MODELS", repr(str(directory / "models.py")))
        self.edit_env("target_metadata = None", adoption)
        self.edit_env("fileConfig(config.config_file_name)", "pass")  # logging is pytest's here

    def edit_env(self, old: str, new: str) -> None:
        env = self.directory / "migrations" / "env.py"
        text = env.read_text()
        assert old in text
        env.write_text(text.replace(old, new))

    def write(self, *, models: str | None = None, policies: str | None = None) -> None:
        if models is not None:
            (self.directory / "models.py").write_text(models)
        if policies is not None:
            (self.directory / "policies.yaml").write_text(policies)

    def config(self, *x: str, out: io.StringIO | None = None) -> Config:
        config = Config(str(self.ini), stdout=io.StringIO(), output_buffer=out)
        config.cmd_opts = argparse.Namespace(x=list(x), quiet=True)
        return config

    def revision(self, message: str = "next", **options: Any) -> str:
        """Writes a revision of what models and policies say; its text."""
        script = command.revision(self.config(), message, autogenerate=True, **options)
        assert script is not None
        assert not isinstance(script, list)
        return Path(script.path).read_text()

    def check(self) -> None:
        command.check(self.config())

    def ensure_version(self) -> None:
        command.ensure_version(self.config())

    def up(self, to: str = "head") -> None:
        command.upgrade(self.config(), to)

    def down(self, to: str = "-1", *x: str) -> None:
        command.downgrade(self.config(*x), to)

    def sql(self, direction: str, span: str, *x: str) -> str:
        """The script of `alembic upgrade --sql` or `downgrade --sql`."""
        out = io.StringIO()
        getattr(command, direction)(self.config(*x, out=out), span, sql=True)
        return out.getvalue()
