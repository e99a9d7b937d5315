"""The command group: imports each command when it is called, and holds the global options."""

from __future__ import annotations

import importlib
from functools import partial

import click

from layercache._version import __version__
from layercache.cli.command import global_options
from layercache.cli.loading import loading
from layercache.cli.session import Session
from layercache.cli.suggestions import Suggesting
from layercache.cli.terminal import ERROR, echo

GROUPS = {
    "Images": ("pull", "images", "info", "explain", "export", "tags", "manifest"),
    "Files": ("files", "cat", "extract", "diff", "find", "mount"),
    "Layers": ("ls", "get", "put", "compress", "rm"),
    "Mirror": ("serve",),
    "Upkeep": ("stats", "verify", "prune", "clean", "copy", "index", "adopt", "upgrade"),
    "Setup": ("config", "doctor", "login", "logout", "completion", "bench", "demo", "help"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)
"""In the order of the help. Each is the function ``NAME`` in the module ``commands/NAME.py``."""

EPILOG = """\b
Exit codes:
  0    success
  1    not found: a layer, an image, a file, or the cache itself;
       of diff: the images differ (there, 2 is not found, too)
  2    invalid command or configuration
  3    corrupt data; none of it was stored
  4    a store or a source failed
  5    refused: a cached image uses the layer
  70   internal error
  129  the terminal hung up
  130  interrupted
  141  stdout was closed by its reader
  143  terminated

A cache is a folder or a URL. Several are tiers, nearest first. Without --cache, layercache uses
LAYERCACHE_URL, else the configuration files, else the user's cache folder.
"""


class Program(Suggesting):
    """A group that finds its commands by name and turns their errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        with loading():
            module = importlib.import_module(f"layercache.cli.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in groups."""
        longest = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            limit = formatter.width - 6 - longest
            rows = [
                (name.ljust(longest), command.get_short_help_str(limit))
                for name, command in commands
                if command
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> None:
        session = ctx.ensure_object(Session)
        ctx.exit(session.run(partial(self._invoke, ctx)))

    def _invoke(self, ctx: click.Context) -> int:
        try:
            super().invoke(ctx)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.ClickException as error:
            _show_usage(error)
            return error.exit_code
        return 0


@click.group(
    cls=Program,
    params=global_options(),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="layercache", message="%(prog)s %(version)s")
def program() -> None:
    """A cache of container layers that knows both of their names: digest and diff ID."""


def _show_usage(error: click.ClickException) -> None:
    """Print what is wrong with the command line, as click does, but wrapped."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is not None:
        echo(f"{ctx.get_usage()}\nTry '{ctx.command_path} --help' for help.\n", err=True)
    echo(f"Error: {error.format_message()}", err=True, mark=("Error:", ERROR))
