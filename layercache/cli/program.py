"""The command group: imports each command when it is called, and holds the global options."""

from __future__ import annotations

import importlib
from typing import Any

import click

from layercache._version import __version__
from layercache.cli import failures
from layercache.cli.exit_codes import BROKEN_PIPE, TERMINATED
from layercache.cli.session import Session, global_options
from layercache.cli.suggestions import Suggesting

GROUPS = {
    "Images": ("pull", "images", "info", "explain", "export", "tags", "manifest"),
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
  1    not found: a layer, an image, or the cache itself
  2    invalid command or configuration
  3    corrupt data; none of it was stored
  4    a store or a source failed
  5    refused: a cached image uses the layer
  70   internal error
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

    def invoke(self, ctx: click.Context) -> Any:
        session = ctx.ensure_object(Session)
        with session.display():
            return self._invoke(ctx, session)

    def _invoke(self, ctx: click.Context, session: Session) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            failures.show_usage(error)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            ctx.exit(BROKEN_PIPE)
        except BaseException as error:  # report every error; show no bare traceback
            if isinstance(error, SystemExit) and error.code == TERMINATED:
                raise
            failures.show(error, trace=session.verbose)
            ctx.exit(failures.exit_code(error))


@click.group(
    cls=Program,
    params=global_options(),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="layercache", message="%(prog)s %(version)s")
def program() -> None:
    """A cache of container layers that knows both of their names: digest and diff ID."""
