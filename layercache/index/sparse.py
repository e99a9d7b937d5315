"""Files with holes in a tar: GNU's old format, and its three in extended headers (0.0, 0.1, 1.0).

Faults are `ValueError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.index import pax
from layercache.index.tar_header import BLOCK, Header, more_sparse, old_sparse

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    Pieces = list[tuple[int, int]]

MAP_MAX = 1 << 20
"""Bytes of a map of holes at most, as in Go: some hundred thousand pieces."""


def read_pieces(
    header: Header, block: bytes, records: dict[bytes, bytes]
) -> Generator[int, bytes, tuple[tuple[int, int], ...]]:
    """Offset and length of each piece that has bytes, in order; ``header`` gets the file's name and size.

    Asks for blocks as `TarScanner`'s parser does. Raises `ValueError`, also if the pieces do not fit the
    bytes that are stored.
    """
    stored = header.size
    if header.type == b"S":
        pieces = yield from _old(header, block)
    else:
        header.name = records.get(b"GNU.sparse.name") or header.name
        if size := records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize"):
            header.size = pax.integer(size)
        if pax.sparse_version(records):
            pieces, taken = yield from _before_the_bytes(stored)
            stored -= taken
        else:
            pieces = pax.sparse_map(records)
    check_pieces(pieces, header.size)
    if (total := sum(length for _, length in pieces)) != stored:
        raise ValueError(f"the pieces of a file with holes are {total} bytes, and {stored} are stored")
    return tuple(piece for piece in pieces if piece[1])


def _old(header: Header, block: bytes) -> Generator[int, bytes, Pieces]:
    if not header.gnu:
        raise ValueError("a file with holes is not in GNU's format")
    pieces, header.size, more = old_sparse(block)
    taken = BLOCK
    while more:
        taken += BLOCK
        if taken > MAP_MAX:
            raise ValueError(f"the map of a file's holes has more than {MAP_MAX} bytes")
        found, more = more_sparse((yield BLOCK))
        pieces += found
    return pieces


def _before_the_bytes(stored: int) -> Generator[int, bytes, tuple[Pieces, int]]:
    """The map of version 1.0: lines of decimal numbers, their count first, in whole blocks."""
    lines, wanted, taken = 0, 1, 0
    gathered: list[bytes] = []
    while lines < wanted:
        taken += BLOCK
        if taken > min(stored, MAP_MAX):
            raise ValueError("the map of a file's holes does not end")
        gathered.append((yield BLOCK))
        lines += gathered[-1].count(b"\n")
        if wanted == 1 and lines:
            count = pax.integer(b"".join(gathered).partition(b"\n")[0])
            if count < 0:
                raise ValueError(f"the map of a file's holes has {count} pieces")
            wanted += 2 * count
    numbers = [pax.integer(each) for each in b"".join(gathered).split(b"\n")[1:wanted]]
    return list(zip(numbers[::2], numbers[1::2], strict=True)), taken


def check_pieces(pieces: Sequence[tuple[int, int]], size: int) -> None:
    """Raise `ValueError` unless the pieces are in order within a file of this size."""
    end = 0
    for offset, length in pieces:
        if length < 0 or offset < end:
            raise ValueError("the pieces of a file with holes overlap or are not in order")
        end = offset + length
    if end > size:
        raise ValueError(f"the pieces of a file with holes end at byte {end} of {size}")
