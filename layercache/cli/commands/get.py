"""``layercache get``: the bytes of a layer, in either form."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

import click

from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 512 << 10
PIPE_SIZE = 1 << 20
"""Bytes: what Linux gives to anybody (pipe(7), /proc/sys/fs/pipe-max-size)."""

COPIED_AT_ONCE = 64 << 20
"""Bytes after which an interrupt is noticed."""

STDOUT = "-"


@click.command(cls=Command)
@click.argument("hash")
@click.option("-o", "--output", metavar="FILE", type=click.Path(), help="Write to a file; - is stdout.")
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed"]),
    help="The blob as it is distributed, or the tar. Default: what HASH is the hash of.",
)
@click.pass_obj
def get(session: Session, hash: str, output: str | None, form: str | None) -> None:
    """Write a layer to stdout or a file.

    A digest gives the compressed blob, a diff ID the tar. The form that is not there is made from the
    other. HASH may be cut short to its first digits. A file appears whole, or not at all; on stdout the
    exit code tells whether the bytes are right.
    """
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            "a layer is binary, and stdout is a terminal: name a file with -o FILE (or -o - to insist)"
        )
    from layercache.cli.short_hashes import full_name

    with session.cache() as cache:
        name = full_name(cache, hash)
        layer = cache.get(name)
        # Only the tar's bytes are sure to be those that hash to a name which is both.
        wanted = form or ("uncompressed" if name == layer.diff_id else "compressed")
        with (
            layer.uncompressed() if wanted == "uncompressed" else layer.compressed() as source,
            _stdout() if output is None or output == STDOUT else _whole_file(output) as target,
        ):
            copy(source, target, "stdout" if output is None or output == STDOUT else output)


def copy(source: BinaryIO, target: BinaryIO, name: str) -> None:
    """``name`` is what an error of the target names; one of the source is not about it."""
    if sys.platform == "linux":
        _copy_in_kernel(source, target)
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while size := source.readinto(buffer):  # type: ignore[attr-defined]  # typeshed's BinaryIO has none
        with _naming(name):
            target.write(view[:size])
    with _naming(name):
        target.flush()


def _copy_in_kernel(source: BinaryIO, target: BinaryIO) -> None:
    """What can go past this process goes; the rest is left, and so is to say why.

    From file to file, where the file system can, nothing is copied on the disk either. A pipe gets room for
    more than the usual 64 KiB: so many changes of process less take a fifth of the time.
    """
    with suppress(OSError):  # no pipe, or no more room for pipes
        fcntl.fcntl(target.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    with suppress(OSError):  # not two files
        while os.copy_file_range(source.fileno(), target.fileno(), COPIED_AT_ONCE):
            pass
    with suppress(OSError):  # no file to begin with: a tar that is being made, or is hashed on its way
        while os.sendfile(target.fileno(), source.fileno(), None, COPIED_AT_ONCE):
            pass


@contextmanager
def _stdout() -> Iterator[BinaryIO]:
    if sys.stdout is None:
        raise click.UsageError("stdout is closed: name a file with -o FILE")
    yield sys.stdout.buffer


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """What the operating system refuses inside is about this file, if it does not say so itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


@contextmanager
def _whole_file(path: str) -> Iterator[BinaryIO]:
    """A file that gets its name when all is written. A device or pipe of that name is written to as it is.

    Raises `click.UsageError` where no such file can be made.
    """
    target = os.path.realpath(path)
    unfinished = f"{target}.{os.getpid()}-{os.urandom(4).hex()}.part"
    try:
        in_place = os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode)
        file = open(target, "wb") if in_place else open(unfinished, "xb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    try:
        try:
            yield file
        except BaseException:
            with suppress(OSError):  # its last bytes are not wanted any more
                file.close()
            raise
        with _naming(path):
            file.close()
        if not in_place:
            os.replace(unfinished, target)
    finally:
        if not in_place:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
