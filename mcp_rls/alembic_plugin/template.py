"""Whether the template of a project's revisions has a place for what ours need at their head."""

from __future__ import annotations

import re
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util import CommandError

_PLACE = re.compile(r"\$\{[^}]*\bimports\b")
_LINE = '${imports if imports else ""}'


def require_imports(scripts: ScriptDirectory) -> None:
    """Refuses a template without `${imports}`: its revisions would fail when they run, on a name that isn't there."""
    template = Path(scripts.dir, "script.py.mako")
    if template.is_file() and not _PLACE.search(template.read_text(encoding="utf-8")):
        raise CommandError(
            f"{template}: a revision of policies needs a place for its imports\n"
            f"add this line below `from alembic import op`: {_LINE}"
        )
