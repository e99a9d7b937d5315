"""``layercache get``: writes a layer, in either form."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import click

from layercache.cli.completing import complete_hash
from layercache.cli.option_types import Path
from layercache.cli.output import short
from layercache.cli.session import Command, Session
from layercache.cli.terminal import screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.streams.named_file import NamedFile

CHUNK = 512 << 10
PIPE_SIZE = 1 << 20
"""Bytes that Linux lets any user have in a pipe (pipe(7), /proc/sys/fs/pipe-max-size)."""

COPIED_AT_ONCE = 64 << 20
"""Bytes copied by one system call; an interrupt takes effect after it."""


@click.command(cls=Command)
@click.argument("hash", shell_complete=complete_hash)
@click.option("-o", "--output", metavar="FILE", type=Path(), help="Write to a file; - for stdout.")
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed"]),
    help="The blob or the tar. Default: the one that HASH names.",
)
@click.pass_obj
def get(session: Session, hash: str, output: str | None, form: str | None) -> None:
    """Write a layer to stdout or a file.

    A digest gives the compressed blob, a diff ID the tar. A missing tar is inflated from its blob. HASH may
    be shortened to its first digits. A file is written completely or not at all; on stdout, check the exit
    code to see whether the bytes are right.
    """
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            "refusing to write binary data to a terminal: use -o FILE (or -o - to force it)"
        )
    from layercache.cli.short_hashes import full_name
    from layercache.streams.named_file import STDOUT, writing

    with session.cache() as cache:
        name = full_name(cache, hash)
        layer = cache.get(name)
        # A name can be both digest and diff ID. Only the tar is then certain to have that hash.
        wanted = form or ("uncompressed" if name == layer.names.diff_id else "compressed")
        tar = wanted == "uncompressed"
        with (
            session.activity.step(
                f"reading {short(name)}", total=layer.uncompressed_size if tar else layer.size
            ) as step,
            layer.uncompressed() if tar else layer.compressed() as source,
            writing(STDOUT if output is None else output) as target,
        ):
            if output is None or output == STDOUT:
                screen.lend()
            copy(source, target, step.advance)


def copy(source: BinaryIO, target: NamedFile, advance: Callable[[int], object] = lambda _: None) -> None:
    """Copy all bytes, and call ``advance`` with the number of each part.

    An error of the target names it; an error of the source is passed on as it is.
    """
    if sys.platform == "linux":
        _copy_in_kernel(source, target, advance)
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while size := source.readinto(buffer):  # type: ignore[attr-defined]  # typeshed's BinaryIO has none
        target.write(view[:size])
        advance(size)


def _copy_in_kernel(source: BinaryIO, target: NamedFile, advance: Callable[[int], object]) -> None:
    """Let the kernel copy as much as it can; the caller copies the rest and reports errors.

    File to file, some file systems share the blocks and copy nothing on the disk. A pipe is enlarged from
    the usual 64 KiB, since fewer switches between the processes cut the time to a fifth.
    """
    import fcntl  # Windows has none

    with suppress(OSError):  # not a pipe, or the user's limit on pipes is reached
        fcntl.fcntl(target.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    with suppress(OSError):  # not both are files
        while size := os.copy_file_range(source.fileno(), target.fileno(), COPIED_AT_ONCE):
            advance(size)
    with suppress(OSError):  # the source is not a file: a tar that is being inflated or hashed
        while size := os.sendfile(target.fileno(), source.fileno(), None, COPIED_AT_ONCE):
            advance(size)
