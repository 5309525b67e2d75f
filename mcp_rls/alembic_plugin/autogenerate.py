"""`alembic revision --autogenerate` and `alembic check` see what a policy file changes, beside what models change."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import UpgradeOps
from alembic.util import CommandError, DispatchPriority, to_list
from sqlalchemy import MetaData

from mcp_rls.state import SCHEMA

if TYPE_CHECKING:
    from mcp_rls.compiler.model import PolicySet
    from mcp_rls.diagnostics import Diagnostics

_KEY = "mcp_rls"
_log = logging.getLogger(__name__)


def with_policies(metadata: MetaData, file: str | os.PathLike[str]) -> MetaData:
    """The metadata, of which Alembic now compares the policies in `file` too; a path from where alembic.ini stands."""
    metadata.info[_KEY] = os.fspath(file)
    return metadata


@comparators.dispatch_for("schema", qualifier="postgresql", priority=DispatchPriority.FIRST)
def _leave_ours_out(context: AutogenContext, _: UpgradeOps, schemas: set[str | None]) -> None:
    """Takes the schema mcp_rls from those that are compared: no model knows its tables, so they would be dropped."""
    if _policy_file(context):
        schemas.discard(SCHEMA)


@comparators.dispatch_for("schema", qualifier="postgresql", priority=DispatchPriority.LAST)
def _compare_policies(context: AutogenContext, upgrade_ops: UpgradeOps, _: set[str | None]) -> None:
    """Adds what the policy file changes, once it is known what else the revision does."""
    file = _policy_file(context)
    if file is not None:
        # not before: a machine that only upgrades has no need of psycopg
        from mcp_rls.alembic_plugin.arrange import arrange
        from mcp_rls.diagnostics import Invalid

        try:
            found, diagnostics = arrange(context, upgrade_ops.ops, _policies(file))
        except Invalid as invalid:
            raise CommandError(_refusal(invalid.diagnostics)) from invalid
        _warn(diagnostics)
        upgrade_ops.ops[:] = found


def _policy_file(context: AutogenContext) -> Path | None:
    named = {m.info[_KEY] for m in to_list(context.metadata) if _KEY in m.info}
    if len(named) > 1:
        raise CommandError(f"one database has one policy file, and here are several: {', '.join(sorted(named))}")
    return _beside_ini(context, named.pop()) if named else None


def _beside_ini(context: AutogenContext, file: str) -> Path:
    """The path, relative to where Alembic was started if it leads down from there."""
    config = context.migration_context.config
    ini = config and (config.config_file_name or config.toml_file_name)
    path = Path(ini).absolute().parent / file if ini else Path(file).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _policies(file: Path) -> PolicySet:
    from mcp_rls.compiler.policy import load_policies
    from mcp_rls.diagnostics import Invalid

    policies, diagnostics = load_policies(file)
    if policies is None:
        raise Invalid(diagnostics)
    return policies


def _refusal(diagnostics: Diagnostics) -> str:
    """What Alembic says when policies are in error: every finding but notes."""
    from mcp_rls.diagnostics import Severity

    return "\n".join(["the policies don't hold:", *(str(d) for d in diagnostics if d.severity > Severity.NOTE)])


def _warn(diagnostics: Diagnostics) -> None:
    from mcp_rls.diagnostics import Severity

    for diagnostic in diagnostics:
        if diagnostic.severity is Severity.WARNING:
            _log.warning("%s", diagnostic)
