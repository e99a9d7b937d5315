"""Writes files atomically, and checks the bytes that go into them."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import DigestMismatchError, NotFoundError, SourceError
from layercache.resolver.tier_writer import WrongEntryError
from layercache.streams.hashing import chunks, hash_chunks
from layercache.streams.readers import check_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.layer import Layer
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form

WRONG_ENTRIES_MAX = 4
"""Wrong entries of one layer after which an export fails."""


@contextmanager
def appearing(path: str, *, beside: str = "") -> Iterator[BinaryIO]:
    """A file that replaces ``path`` at the end of the block, or is removed if the block fails.

    Until then it is in the folder ``beside``, by default that of ``path``. Raises `SourceError`.
    """
    folder = beside or os.path.dirname(os.path.abspath(path))
    unfinished = os.path.join(
        folder, f".{os.path.basename(path)[:100]}.{os.getpid()}-{os.urandom(4).hex()}.part"
    )
    try:
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            os.unlink(unfinished)


def until_right(layer: Layer, form: Form, go: Callable[[], int]) -> int:
    """Call ``go``, which reads the layer; again if it met a wrong entry, which is in quarantine by then."""
    wrong: DigestMismatchError | None = None
    for _ in range(WRONG_ENTRIES_MAX):
        try:
            return go()
        except DigestMismatchError as error:
            wrong = error
            if not isinstance(error, WrongEntryError) and not layer.doubt(form):
                break
        except NotFoundError as error:
            raise (wrong or error) from error
    assert wrong is not None
    raise wrong


def copy_checked(
    source: BinaryIO,
    name: Hash,
    size: int | None,
    write: Callable[[bytes], object],
    seen: Callable[[int], object],
) -> int:
    """Copy a stream and hash it; return its size in bytes. Raises `DigestMismatchError` at its end."""

    def each(chunk: bytes) -> None:
        write(chunk)
        seen(len(chunk))

    found, count = hash_chunks(chunks(source), name.algorithm, each)
    check_hash(name, size, found, count)
    return count
