"""``layercache help``: prints the help of a command."""

from __future__ import annotations

import click

from layercache.cli.command import Command
from layercache.cli.suggestions import no_such_command


@click.command(cls=Command)
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Print the help of a command, as COMMAND --help does.

    Without COMMAND, prints the help of the program. A command of a group has two words: help config show.
    """
    program = ctx.find_root()
    shown = click.Context(program.command, info_name=program.info_name, **program.command.context_settings)
    for name in names:
        group = shown.command
        command = group.get_command(shown, name) if isinstance(group, click.Group) else None
        if command is None:
            if isinstance(group, click.Group):
                raise no_such_command(group, shown, name)
            raise click.UsageError(f"{shown.command_path} has no commands: leave out {name!r}")
        shown = click.Context(command, parent=shown, info_name=name)
    click.echo(shown.get_help())
