"""A part out of a pass over the whole layer: none of it is given before the pass has verified everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from layercache import BackendError, DigestMismatchError
from layercache.files.verified_part import MEMORY, VerifiedPart
from layercache.streams.readers import BytesReader, WrappingReader

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Pass(WrappingReader):
    """Gives pieces, and then ends or fails, as a pass does."""

    def __init__(self, pieces: int, *, wrong: bool = False) -> None:
        super().__init__(BytesReader(), None)
        self._pieces = self._given(pieces, wrong)
        self.read_to = 0

    def _given(self, pieces: int, wrong: bool) -> Iterator[bytes]:
        for number in range(pieces):
            self.read_to += 1
            yield bytes([number]) * (1 << 20)
        if wrong:
            raise DigestMismatchError("it has another hash")

    def read(self, size: int = -1, /) -> bytes:
        return next(self._pieces, b"")


def test_nothing_is_given_of_a_layer_that_turns_out_to_be_wrong() -> None:
    part = VerifiedPart(_Pass(3, wrong=True))
    for _ in range(2):  # nor by another try
        with pytest.raises(DigestMismatchError):
            part.read(10)
    part.close()


def test_a_part_is_read_to_its_end_before_its_first_byte_is_given() -> None:
    pieces = (MEMORY >> 20) + 2  # more than is kept in memory
    raw = _Pass(pieces)
    part = VerifiedPart(raw)
    assert raw.read_to == 0
    assert part.read(1) == b"\0"
    assert raw.read_to == pieces
    assert len(part.read()) == (pieces << 20) - 1
    part.close()


@pytest.mark.parametrize("folder", ["/dev/null", "/proc/self"])
def test_where_no_temporary_file_can_be_made_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", folder)
    part = VerifiedPart(_Pass((MEMORY >> 20) + 1))
    for _ in range(2):
        with pytest.raises(BackendError, match=f"writing a temporary file in {folder}: ") as caught:
            part.read(1)
        assert "TMPDIR" in caught.value.hint
    part.close()
