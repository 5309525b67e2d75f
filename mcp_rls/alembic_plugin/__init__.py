"""Plans as Alembic revisions: finished SQL both ways, that need nothing of ours at upgrade time."""

from __future__ import annotations

from alembic.util import CommandError

from mcp_rls.alembic_plugin.autogenerate import with_policies
from mcp_rls.alembic_plugin.revision import NotAtHead, sqlalchemy_url, there_and_back, way_back, write_revision
from mcp_rls.alembic_plugin.suspend import Suspend
from mcp_rls.alembic_plugin.text import body, preamble

__all__ = [
    "CommandError",
    "NotAtHead",
    "Suspend",
    "body",
    "preamble",
    "sqlalchemy_url",
    "there_and_back",
    "way_back",
    "with_policies",
    "write_revision",
]
