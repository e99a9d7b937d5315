"""The program: its commands, each imported when it is called, and its global options."""

from __future__ import annotations

import importlib
from typing import Any

import click

from layercache._version import __version__
from layercache.cli import failures
from layercache.cli.exit_codes import BROKEN_PIPE
from layercache.cli.session import Session, global_options

COMMANDS = (
    "pull", "get", "put", "info", "ls", "images", "rm", "export", "stats", "index", "adopt", "copy", "prune",
    "verify", "config", "doctor", "bench", "demo",
)  # fmt: skip
"""In the order of the help. Each is the function of that name in the module of that name."""

EPILOG = """\b
Exit codes:
  0    all went well
  1    something is not found
  2    the command or the configuration is wrong
  3    bytes are not what they should be: nothing of them was kept
  4    a cache's store or a source failed
  130  interrupted (143: terminated)

A cache is a folder or a URL; several are tiers, near to far. Without --cache it is
LAYERCACHE_URL, else what the configuration file says, else the user's cache folder.
"""


class Program(click.Group):
    """A group that knows its commands by name, and ends each as an exit code and a message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the face that click knows
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"layercache.cli.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        session = ctx.ensure_object(Session)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            ctx.exit(BROKEN_PIPE)
        except (Exception, KeyboardInterrupt) as error:  # whatever it is, the user gets words and a code
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
