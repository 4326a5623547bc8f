"""The command line: one module per command, none of which imports more than click before it is called."""

from __future__ import annotations

import importlib

import click

import exportweb
from exportweb.errors import ExportwebError

COMMANDS = ("serve", "export", "predict", "evaluate", "inspect", "card", "versions", "rollback", "pin")


class _Commands(click.Group):
    """The commands by name, in the order in which one needs them; a mistake is answered in one line, no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"exportweb.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ExportwebError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(exportweb.__version__, prog_name="exportweb")
def main() -> None:
    """Your model is on the web while it trains."""
