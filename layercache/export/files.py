"""Files that appear whole or not at all, and bytes that are checked on their way into them."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import DigestMismatchError, NotFoundError, SourceError
from layercache.resolver.tier_writer import WrongEntryError
from layercache.streams.readers import CHUNK, check_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.layer import Layer
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form

WRONG_ENTRIES_MAX = 4
"""Wrong entries of one layer that an export meets until it fails."""


@contextmanager
def appearing(path: str, *, beside: str = "") -> Iterator[BinaryIO]:
    """A file that gets its name at the block's end, in place of what had it, or is gone if that fails.

    Until then it stands in the folder ``beside``, by default the file's own. Raises `SourceError`.
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
    """What ``go`` gives, which reads the layer; once more where an entry was wrong, and is put aside then."""
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
    assert wrong is not None, "it was tried"
    raise wrong


def copy_checked(
    source: BinaryIO,
    name: Hash,
    size: int | None,
    write: Callable[[bytes], object],
    seen: Callable[[int], object],
) -> int:
    """Pass a stream on, and hash it; how many bytes. Raises `DigestMismatchError` at its end."""
    hasher, count = name.hasher(), 0
    while chunk := source.read(CHUNK):
        hasher.update(chunk)
        write(chunk)
        count += len(chunk)
        seen(len(chunk))
    check_hash(name, size, name.from_hasher(hasher), count)
    return count
