"""``layercache cat``: writes files of an image or a layer to stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from layercache.cli import failures
from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.file_names import shown
from layercache.cli.file_options import platform_option
from layercache.cli.layer_output import CHUNK, copy
from layercache.cli.named_files import opened
from layercache.cli.registry_options import registry_options
from layercache.cli.terminal import is_terminal, screen
from layercache.errors import ConfigError, LayercacheError
from layercache.streams.named_file import STDOUT, writing

if TYPE_CHECKING:
    from layercache.cli.activity import Step
    from layercache.cli.session import Session
    from layercache.streams.named_file import NamedFile


@click.command(cls=Command)
@click.argument("name", metavar="IMAGE|HASH", shell_complete=complete_name)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@platform_option
@registry_options
@click.pass_obj
def cat(
    session: Session, /, name: str, paths: tuple[str, ...], platform: str | None, **registries: Any
) -> None:
    """Write files of an image or a layer to stdout.

    PATH is the path in the image, with or without the first /. Links are followed, and never lead
    out of the image. Of a layer, only the parts are fetched and inflated that hold the file, if it
    has an index.

    A PATH that fails does not stop the others; the exit code is that of the first failure.
    """
    code = 0
    with opened(session, name, platform, registries) as source, writing(STDOUT) as target:
        for path in paths:
            try:
                with session.activity.step(f"reading {shown(path)}") as step, source.open(path) as file:
                    _copy(file, target, step)
            except LayercacheError as error:
                target.flush()
                failures.show(error, trace=session.verbose)
                code = code or failures.exit_code(error)
    if code:
        click.get_current_context().exit(code)


def _copy(file: BinaryIO, target: NamedFile, step: Step) -> None:
    """Copy a file to stdout. Raises `ConfigError` for a binary one if stdout is a terminal."""
    first = file.read(CHUNK)  # before this, a layer may be fetched: progress is shown until data flows
    if is_terminal(sys.stdout) and b"\0" in first:
        raise ConfigError(
            "refusing to write binary data to a terminal", hint="send it to a file (> FILE) or a program"
        )
    screen.lend()
    step.advance(target.write(first))
    copy(file, target, step.advance)
