"""The command `mcp-rls`: reads arguments, calls one function, prints, exits.

Exit 0: everything held. 1: it ran, and the answer is no. 2: it could not answer. Results are on stdout, progress and
problems on stderr. Heavy modules are imported by the command that needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import io
import sys
from typing import Any

import click

from mcp_rls.cli import databases, drift, files, lint, matrix, mutants, probe, projects, trials
from mcp_rls.cli.options import Problem, fail, problem_of
from mcp_rls.diagnostics import Invalid

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """The group of commands, in which every foreseen exception ends as a message and exit 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, Invalid):
                fail(error.diagnostics, "")
            problem = problem_of(error)
            if problem is None:  # a bug of ours, which should be seen whole
                raise
            raise Problem(problem) from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which a project meets them."""
        return list(self.commands)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from mcp_rls import __version__

        click.echo(f"mcp-rls {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings=SETTINGS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Row-level security in PostgreSQL for the clients of an MCP server.

    One policy file says what each client may do. It is checked, compiled to row security policies, migrated, and
    proven by tests that act as real tokens. FILE is policies.yaml in the current folder, unless it is named.

    Exit status: 0 everything held, 1 it ran and the answer is no, 2 it could not answer.
    """
    # what a command makes it needs to its end: looking for garbage as often as usual takes a quarter of a long compile
    gc.set_threshold(100_000)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a tick that the locale lacks is no reason to fail
            stream.reconfigure(errors="replace")


for command in (
    projects.init,
    files.check,
    files.schema,
    files.compile_,
    databases.plan,
    databases.apply,
    databases.revision,
    drift.drift,
    lint.lint,
    trials.test,
    matrix.matrix,
    probe.probe,
    mutants.mutants,
    projects.demo,
    files.explain_code,
):
    main.add_command(command)
