"""Writes a layer to stdout or a file: what ``layercache get`` does."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from layercache.cli.output import short
from layercache.cli.short_hashes import full_name
from layercache.cli.terminal import is_terminal, screen
from layercache.errors import ConfigError
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.streams.named_file import STDOUT, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cli.session import Session
    from layercache.streams.named_file import NamedFile

CHUNK = 512 << 10
PIPE_SIZE = 1 << 20
"""Bytes that Linux lets any user have in a pipe (pipe(7), /proc/sys/fs/pipe-max-size)."""

COPIED_AT_ONCE = 64 << 20
"""Bytes copied by one system call; an interrupt takes effect after it."""


def write_layer(session: Session, hash: str, output: str | None, form: str | None) -> None:
    """Write the layer that a hash, complete or shortened, names: to a file, ``-`` or None for stdout."""
    if output is None and is_terminal(sys.stdout):
        raise ConfigError(
            "refusing to write binary data to a terminal", hint="use -o FILE (or -o - to force it)"
        )
    with session.cache() as cache:
        name = full_name(cache, hash)
        layer = cache.get(name)
        # A name can be both digest and diff ID. Only the tar is then certain to have that hash.
        wanted = form or (UNCOMPRESSED if name == layer.names.diff_id else COMPRESSED)
        tar = wanted == UNCOMPRESSED
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
        target.reserve(os.fstat(source.fileno()).st_size)
        while size := os.copy_file_range(source.fileno(), target.fileno(), COPIED_AT_ONCE):
            advance(size)
    with suppress(OSError):  # the source is not a file: a tar that is being inflated or hashed
        while size := os.sendfile(target.fileno(), source.fileno(), None, COPIED_AT_ONCE):
            advance(size)
