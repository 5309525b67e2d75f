"""Commands for a first look: init and demo."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import click

from mcp_rls.cli.options import Problem, progress

_DEFAULT = "owner-rows"


@click.command(short_help="Writes a project that runs at once, from a template.")
@click.argument("directory", required=False, default=Path(), type=click.Path(path_type=Path))
@click.option("--template", "name", default=_DEFAULT, show_default=True, help="Which template; see --list.")
@click.option("--list", "list_", is_flag=True, help="List the templates and write nothing.")
def init(directory: Path, name: str, list_: bool) -> None:
    """Write policies, a schema, cases, an Alembic environment and a test into DIRECTORY (default: here).

    No file that is already there is touched: then nothing is written, exit 2.
    """
    from mcp_rls import scaffold
    from mcp_rls.diagnostics import nearest

    known = {template.name: template for template in scaffold.templates()}
    if list_:
        width = max(map(len, known), default=0)
        for template in known.values():
            click.echo(f"{template.name:<{width}}  {template.summary}")
        return
    if name not in known:
        hint = nearest(name, known) or f"there are: {', '.join(known)}"
        raise Problem(f'there is no template "{name}"\n{hint}')
    try:
        written = scaffold.make_project(known[name], directory)
    except (scaffold.Occupied, NotADirectoryError, FileExistsError) as error:
        raise Problem(str(error)) from error
    for path in written:
        click.echo(directory / path)
    click.echo(f"\nNext:\n\n{scaffold.next_steps(directory)}", err=True)


@click.command(short_help="All of it on a bundled example: nothing to install or start.")
@click.option("--container", metavar="IMAGE", help="In a container instead of the embedded server.")
@click.option("--database", metavar="URL", help="In a scratch database on this server instead.")
def demo(container: str | None, database: str | None) -> None:
    """Check, compile, migrate and prove the policies of a small help desk, and show what each token may do."""
    begun = time.perf_counter()
    if not all(map(find_spec, ("psycopg", "alembic"))):
        raise Problem('the demo needs more than a plain install: pip install "mcp-rls[alembic,embedded]"')
    from mcp_rls.demo import run_demo

    sys.exit(run_demo(sys.stdout, database=database, container=container, progress=progress, begun=begun))
