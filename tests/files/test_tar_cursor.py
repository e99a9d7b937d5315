"""The cursor gives the bytes of each file, wherever reads of the tar begin and end."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING, cast

import pytest
from servers.images import noise

from layercache.errors import FormatError
from layercache.files import tar_cursor
from layercache.files.tar_cursor import TarCursor

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader

TAR = noise(20_000)
CHUNK = 700


class Short(io.BytesIO):
    """Gives some bytes at a time, seldom as many as it is asked for."""

    def __init__(self, data: bytes, seed: int) -> None:
        super().__init__(data)
        self.dice = random.Random(seed)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer).cast("B") as view:
            return super().readinto(view[: self.dice.randint(1, len(view))])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_cursor, "CHUNK", CHUNK)


def cursor(start: int, end: int, seed: int = 0) -> TarCursor:
    return TarCursor(cast("Reader", Short(TAR[start:end], seed)), start, "a layer")


@pytest.mark.parametrize("seed", range(30))
def test_each_file_has_its_bytes_whatever_lies_between_and_however_few_a_read_gives(
    seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    start = at = dice.randrange(1000)
    with cursor(start, len(TAR), seed) as tar, (tmp_path / "file").open("wb") as file:
        while at < len(TAR) - 4 * CHUNK:
            size = dice.choice([dice.randrange(50), dice.randrange(CHUNK + 1), dice.randrange(3 * CHUNK)])
            wanted = TAR[at : at + size]
            if size <= CHUNK and dice.randrange(2):
                assert tar.take(at, size) == wanted
            elif dice.randrange(2):
                assert b"".join(map(bytes, tar.pieces(at, size))) == wanted
            else:
                assert sum(tar.copy(at, size, file.fileno(), 10)) == size
                assert (tmp_path / "file").read_bytes()[10 : 10 + size] == wanted
            at += size + dice.choice([0, dice.randrange(100), dice.randrange(2 * CHUNK)])


def test_a_place_behind_the_cursor_is_an_overlap_even_if_its_bytes_are_at_hand() -> None:
    with cursor(0, 5000) as tar:
        tar.take(100, 50)
        with pytest.raises(FormatError, match="files overlap at byte 149 of the tar a layer"):
            tar.take(149, 1)
        assert tar.take(150, 1) == TAR[150:151]


def test_a_tar_that_ends_inside_a_file_is_an_error_that_says_where() -> None:
    with cursor(0, 5000) as tar:
        assert tar.take(4900, 100) == TAR[4900:5000]
    for size in (10, CHUNK, 3 * CHUNK):
        with cursor(0, 5000) as tar, pytest.raises(FormatError, match="a layer ends at byte 5000, inside"):
            list(tar.pieces(4995, size))
