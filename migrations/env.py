"""The Alembic environment: plain, one database, one transaction for the whole run.

The database is `-x url=...`, else MCP_RLS_DATABASE_URL, else sqlalchemy.url of alembic.ini.

With SQLAlchemy models, give context.configure their metadata, and policies come with --autogenerate and `alembic check`:
target_metadata=mcp_rls.alembic_plugin.with_policies(Base.metadata, "policies.yaml")
"""

import os

from alembic import context
from sqlalchemy import create_engine, pool


def database_url() -> str:
    url = (
        context.get_x_argument(as_dictionary=True).get("url")
        or os.environ.get("MCP_RLS_DATABASE_URL")
        or context.config.get_main_option("sqlalchemy.url")
        or ""
    )
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url or "postgresql+psycopg://"  # libpq's own defaults and PG* variables


def run() -> None:
    if context.is_offline_mode():
        # named: with the driver's own style every % in a statement would come out doubled
        context.configure(url=database_url(), literal_binds=True, dialect_opts={"paramstyle": "named"})
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = create_engine(database_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()


run()
