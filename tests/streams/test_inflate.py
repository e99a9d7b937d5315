"""What is inside a gzip or zstd blob comes out whole, or ends in an error; never in a clean end."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.blobs import (
    ESTARGZ_FOOTER,
    FCOMMENT,
    FEXTRA,
    FHCRC,
    FNAME,
    SKIPPABLE,
    Trickle,
    estargz,
    gzip_member,
    gzip_member_with,
    inflate,
    inflated,
    zstd_chunked,
    zstd_frame,
    zstd_skippable,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.images import noise

from layercache.errors import BackendError, FormatError, LimitError
from layercache.oci.descriptor import GZIP, ZSTD
from layercache.streams.inflate import GZIP_HEADER_MAX, INFLATE_INPUT
from layercache.streams.limits import Limits
from layercache.streams.readers import CHUNK, WrappingReader, stream
from layercache_backends.memory import MemoryReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader

pytestmark = pytest.mark.timeout(60)

TEXT = b"".join(b"line %d of a file that compresses\n" % number for number in range(300))
MIXED = TEXT + noise(5000) + bytes(9000)
LARGE = noise(700_000) + bytes(3 << 20)
NUMBERS = [b"%d" % number for number in range(1000)]
FILES = {"etc/passwd": TEXT, "empty": b"", "usr/lib/big": noise(9000, 2), "zeros": bytes(20_000)}

few_examples = settings(max_examples=40)


@pytest.fixture(params=["isal", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """gzip is inflated by isal, or where that has no wheel by zlib."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    return str(request.param)


def fails(raw: Reader | bytes, compression: str, match: str = "stream", size: int = CHUNK) -> bytes:
    """What is given before it fails; and it fails at every read after that too."""
    reader = inflated(raw, compression)
    got: list[bytes] = []
    with pytest.raises(FormatError, match=match):
        got.extend(iter(lambda: reader.read(size), b""))
    for _ in range(3):
        with pytest.raises(FormatError, match=match):
            reader.read(size)
    return b"".join(got)


# gzip

STORED = gzip_member(MIXED, 0)
SEVERAL = gzip_member(TEXT) + gzip_member(b"") + gzip_member(noise(100)) + gzip_member(b"") * 3
GZIPS = {
    "one member": (gzip_member(MIXED), MIXED),
    "an empty member": (gzip_member(b""), b""),
    "several members, empty ones among them": (SEVERAL, TEXT + noise(100)),
    "an empty member first": (gzip_member(b"") + gzip_member(MIXED), MIXED),
    "stored blocks": (STORED, MIXED),
    "a large member": (gzip_member(LARGE), LARGE),
    "many small members": (b"".join(map(gzip_member, NUMBERS)), b"".join(NUMBERS)),
    "zeros at the end": (gzip_member(MIXED) + bytes(512), MIXED),
    "zeros after empty members": (gzip_member(b"") * 2 + bytes(512), b""),
    "zeros between members": (gzip_member(TEXT) + bytes(77) + gzip_member(TEXT), TEXT * 2),
    "more zeros than a buffer holds": (gzip_member(TEXT) + bytes(2 * CHUNK + 5), TEXT),
    "eStargz": estargz(FILES, 4096),
    "eStargz in small chunks": estargz(FILES, 300),
}


@pytest.mark.parametrize("name", GZIPS)
@pytest.mark.parametrize("size", [1 << 20, 777])
def test_a_gzip_comes_out_whole(engine: str, name: str, size: int) -> None:
    blob, inside = GZIPS[name]
    assert inflate(blob, GZIP, size) == inside


@pytest.mark.parametrize("name", [name for name, (blob, _) in GZIPS.items() if len(blob) < 30_000])
@pytest.mark.parametrize("step", [1, 2, 13])
def test_a_gzip_that_comes_in_small_parts_comes_out_whole(engine: str, name: str, step: int) -> None:
    blob, inside = GZIPS[name]
    assert inflate(Trickle(blob, step), GZIP) == inside


def test_a_gzip_may_be_read_byte_by_byte(engine: str) -> None:
    blob = gzip_member(TEXT[:500]) + gzip_member(bytes(500)) + bytes(9)
    assert inflate(Trickle(blob), GZIP, 1) == TEXT[:500] + bytes(500)


def test_a_gzip_is_read_whole_by_one_read_and_into_a_buffer(engine: str) -> None:
    with inflated(gzip_member(MIXED), GZIP) as reader:
        assert reader.read(0) == b""
        assert reader.read() == MIXED
        assert reader.read() == b""
    buffer = bytearray(1000)
    with inflated(gzip_member(MIXED), GZIP) as reader:
        assert b"".join(iter(lambda: bytes(buffer[: reader.readinto(buffer)]), b"")) == MIXED


@pytest.mark.parametrize("at", range(CHUNK - 40, CHUNK + 3))
def test_the_input_buffer_may_end_anywhere_in_a_header_and_a_trailer(engine: str, at: int) -> None:
    """isal forgets what it read of a header that is given in parts (isa-l's issue 224)."""
    flags = FEXTRA | FNAME | FCOMMENT | FHCRC
    first = gzip_member(noise(CHUNK - 500), 0)
    shortest = gzip_member_with(b"", FNAME, name=b"")
    second = gzip_member_with(b"", FNAME, name=b"x" * (at - len(first) - len(shortest)))
    assert len(first + second) == at
    blob = first + second + gzip_member_with(TEXT, flags)
    assert inflate(blob, GZIP) == noise(CHUNK - 500) + TEXT


@pytest.mark.parametrize("flags", range(0, 32, 2))
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_header_may_have_optional_fields_and_come_in_parts(engine: str, flags: int, step: int) -> None:
    blob = gzip_member_with(TEXT, flags) + gzip_member_with(b"", flags) + gzip_member_with(TEXT, flags)
    assert inflate(Trickle(blob, step), GZIP) == TEXT * 2


@pytest.mark.parametrize("length", [4000, 4096, 5000, 65_535])
def test_a_header_may_be_long(engine: str, length: int) -> None:
    fields = {"extra": bytes(length), "name": b"n" * length, "comment": b"c" * length}
    blob = gzip_member_with(TEXT, FEXTRA | FNAME | FCOMMENT | FHCRC, **fields)
    assert inflate(gzip_member(TEXT) + blob, GZIP) == TEXT * 2


def test_a_header_without_an_end_is_an_error(engine: str) -> None:
    blob = gzip_member_with(TEXT, FNAME, name=b"n" * (3 * GZIP_HEADER_MAX))
    fails(blob, GZIP, "header without an end")


def test_an_estargz_ends_in_its_footer() -> None:
    blob, _ = estargz(FILES, 4096)
    assert gzip.decompress(blob[-ESTARGZ_FOOTER:]) == b""
    assert blob[-ESTARGZ_FOOTER:][16:38].endswith(b"STARGZ")


@given(st.data())
@few_examples
def test_a_gzip_that_is_cut_anywhere_is_an_error(engine: str, data: st.DataObject) -> None:
    flags = data.draw(st.sampled_from([0, FEXTRA | FNAME, FHCRC | FCOMMENT]))
    level = data.draw(st.sampled_from([0, 1, 6]))
    members = [gzip_member(TEXT[:600], level), gzip_member(b""), gzip_member_with(noise(300), flags)]
    blob = b"".join(members)
    ends = {len(members[0]), len(members[0] + members[1]), len(blob)}
    cut = data.draw(st.integers(1, len(blob) - 1).filter(lambda at: at not in ends))
    got = fails(Trickle(blob[:cut], data.draw(st.sampled_from([1, 5, 1000]))), GZIP)
    assert (TEXT[:600] + noise(300)).startswith(got)


def test_a_small_gzip_that_is_cut_at_any_byte_is_an_error(engine: str) -> None:
    for blob in (gzip_member(TEXT[:99]), gzip_member_with(b"", FEXTRA | FNAME | FCOMMENT | FHCRC)):
        for cut in range(1, len(blob)):
            fails(blob[:cut], GZIP, "cut off")


@pytest.mark.parametrize(
    "after", [b"garbage", b"g", b"\x1f\x8a", b"\0garbage", bytes(CHUNK) + b"x", noise(3000)]
)
def test_anything_but_members_and_zeros_after_a_gzip_is_an_error(engine: str, after: bytes) -> None:
    assert fails(gzip_member(TEXT) + after, GZIP, "no gzip header") == TEXT


@pytest.mark.parametrize("after", [b"\x1f", b"\x1f\x8b", b"\0\x1f\x8b\x08"])
def test_the_beginning_of_another_member_after_a_gzip_is_an_error(engine: str, after: bytes) -> None:
    assert fails(gzip_member(TEXT) + after, GZIP, "cut off") == TEXT


@pytest.mark.parametrize("at", [*range(-8, 0)])
def test_a_wrong_checksum_or_size_at_the_end_of_a_gzip_is_an_error(engine: str, at: int) -> None:
    blob = bytearray(gzip_member(TEXT) + gzip_member(b"more"))
    blob[at] ^= 1
    fails(bytes(blob), GZIP, "broken gzip stream")


@pytest.mark.parametrize(
    "head",
    [b"\x1f\x8b\x07\0", b"\x1f\x8b\x08\x20", b"\x1f\x8b\x08\x80", b"PK\3\4"],
    ids=["method", "reserved flag 5", "reserved flag 7", "magic"],
)
def test_a_header_that_is_none_is_an_error(engine: str, head: bytes) -> None:
    fails(head + gzip_member(TEXT)[4:], GZIP, "broken gzip stream")


def test_a_header_whose_own_checksum_is_wrong_is_an_error(engine: str) -> None:
    blob = bytearray(gzip_member_with(TEXT, FNAME | FHCRC))
    blob[12] ^= 1  # in the name
    fails(Trickle(bytes(blob)), GZIP, "broken gzip stream")


def test_a_bit_that_flips_anywhere_in_a_gzip_never_changes_what_comes_out(engine: str) -> None:
    sound = gzip_member(TEXT[:400])
    for at in range(10, len(sound)):  # what the first ten bytes say of time and system is not checked
        blob = bytearray(sound)
        blob[at] ^= 0x10
        with suppress(FormatError):
            assert inflate(bytes(blob), GZIP) == TEXT[:400], "a bit that only fills up a byte"


@given(st.data())
@few_examples
def test_members_of_any_kind_and_size_come_out_whole(engine: str, data: st.DataObject) -> None:
    pieces = st.sampled_from([b"", b"x", TEXT, TEXT[:700], bytes(3000), noise(2000)])
    blob, inside = b"", b""
    for piece in data.draw(st.lists(pieces, min_size=1, max_size=6)):
        compressor = zlib.compressobj(
            data.draw(st.integers(0, 9)), 8, 31, data.draw(st.integers(1, 9)), data.draw(st.integers(0, 4))
        )
        half = len(piece) // 2
        blob += compressor.compress(piece[:half]) + compressor.flush(zlib.Z_SYNC_FLUSH)
        blob += compressor.compress(piece[half:]) + compressor.flush()
        blob += bytes(data.draw(st.sampled_from([0, 0, 1, 600])))
        inside += piece
    step = data.draw(st.sampled_from([3, 64, 4096, len(blob)]))
    assert inflate(Trickle(blob, step), GZIP, data.draw(st.sampled_from([101, 1000, CHUNK]))) == inside


# zstd

ZSTDS: dict[str, tuple[bytes, bytes]] = {
    "one frame": (zstd_frame(MIXED), MIXED),
    "no content size": (zstd_frame(MIXED, content_size=False), MIXED),
    "a checksum": (zstd_frame(MIXED, checksum=True), MIXED),
    "an empty frame": (zstd_frame(b""), b""),
    "many frames": (b"".join(map(zstd_frame, NUMBERS)), b"".join(NUMBERS)),
    "a large frame": (zstd_frame(LARGE), LARGE),
    "a skippable frame first": (zstd_skippable(noise(99)) + zstd_frame(MIXED), MIXED),
    "skippable frames first": (zstd_skippable(b"") * 3 + zstd_frame(MIXED), MIXED),
    "a skippable frame between": (zstd_frame(TEXT) + zstd_skippable(b"between") + zstd_frame(TEXT), TEXT * 2),
    "a skippable frame last": (zstd_frame(TEXT) + zstd_skippable(b"last"), TEXT),
    "only skippable frames": (zstd_skippable(b"") + zstd_skippable(b"x"), b""),
    "a large skippable frame": (zstd_skippable(noise(3 * INFLATE_INPUT)) + zstd_frame(TEXT), TEXT),
    "a window of 128 MiB": (zstd_frame(MIXED, content_size=False, window_log=27), MIXED),
    "zstd:chunked": zstd_chunked(FILES),
}


@pytest.mark.parametrize("name", ZSTDS)
@pytest.mark.parametrize("size", [1 << 20, 777])
def test_a_zstd_comes_out_whole(name: str, size: int) -> None:
    blob, inside = ZSTDS[name]
    assert inflate(blob, ZSTD, size) == inside


@pytest.mark.parametrize("name", [name for name in ZSTDS if "large" not in name and "window" not in name])
@pytest.mark.parametrize("step", [1, 13])
def test_a_zstd_that_comes_in_small_parts_comes_out_whole(name: str, step: int) -> None:
    blob, inside = ZSTDS[name]
    assert inflate(Trickle(blob, step), ZSTD) == inside


@pytest.mark.parametrize("magic", SKIPPABLE)
def test_each_skippable_frame_is_passed_over(magic: int) -> None:
    blob = zstd_skippable(b"table", magic) + zstd_frame(TEXT) + zstd_skippable(b"", magic)
    assert inflate(Trickle(blob, 5), ZSTD) == TEXT


@pytest.mark.parametrize("window_log", [28, 29, 30, 31])
def test_a_window_of_more_than_128_mib_is_refused_and_the_error_says_so(window_log: int) -> None:
    # The frame's header with such a window (RFC 8878, 3.1.1.1.2): making a real one takes that much memory.
    blob = bytearray(zstd_frame(TEXT, content_size=False, window_log=27))
    assert blob[4] & 0x20 == 0, "a frame with a window"
    assert blob[5] == (27 - 10) << 3
    blob[5] = (window_log - 10) << 3
    fails(bytes(blob), ZSTD, "memory")


def test_a_zstd_that_is_cut_at_any_byte_is_an_error() -> None:
    skippable = zstd_skippable(b"table")
    blob = zstd_frame(TEXT, checksum=True) + skippable
    ends = {len(blob) - len(skippable)}
    for cut in range(1, len(blob)):
        if cut not in ends:
            fails(blob[:cut], ZSTD, "cut off")


@pytest.mark.parametrize("after", [b"garbage", b"\0", bytes(600), b"\x28\xb5", noise(3000)])
def test_anything_but_frames_after_a_zstd_is_an_error(after: bytes) -> None:
    assert fails(zstd_frame(TEXT) + after, ZSTD) == TEXT


def test_a_wrong_checksum_of_a_zstd_is_an_error() -> None:
    blob = bytearray(zstd_frame(TEXT, checksum=True))
    blob[-1] ^= 1
    fails(bytes(blob), ZSTD, "broken zstd stream")


@given(st.data())
@settings(max_examples=60)
def test_a_broken_zstd_never_ends_well(data: st.DataObject) -> None:
    sound = zstd_frame(TEXT[:500], checksum=True)
    blob = bytearray(sound)
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with suppress(FormatError):
        assert inflate(bytes(blob), ZSTD) in (TEXT[:500], b"")


# Both


@pytest.mark.parametrize("compression", [GZIP, ZSTD])
def test_an_empty_stream_is_neither_gzip_nor_zstd(compression: str) -> None:
    fails(b"", compression, "empty")


@pytest.mark.parametrize(("compression", "compress"), [(GZIP, gzip_member), (ZSTD, zstd_frame)])
@pytest.mark.parametrize("limit", [len(MIXED) - 1, len(MIXED), len(MIXED) + 1])
def test_a_tar_may_have_the_size_of_the_limit_and_not_a_byte_more(
    compression: str, compress: Callable[[bytes], bytes], limit: int
) -> None:
    with inflated(compress(MIXED), compression, Limits(size=limit)) as reader:
        if limit >= len(MIXED):
            assert reader.read() == MIXED
            return
        for _ in range(3):
            with pytest.raises(LimitError, match=r"(?s)more than.*raise max_inflated_size"):
                reader.read()


@pytest.mark.parametrize(("compression", "compress"), [(GZIP, gzip_member), (ZSTD, zstd_frame)])
def test_a_small_tar_may_be_all_zeros_and_a_large_one_is_a_bomb(
    compression: str, compress: Callable[[bytes], bytes]
) -> None:
    limits = Limits(ratio=100, ratio_from=1 << 20)
    with inflated(compress(bytes(1 << 20)), compression, limits) as reader:
        assert reader.read() == bytes(1 << 20)
    with inflated(compress(bytes(8 << 20)), compression, limits) as reader:
        given: list[bytes] = []
        with pytest.raises(LimitError, match=r"(?s)more than 100 times.*raise max_ratio"):
            given.extend(iter(lambda: reader.read(CHUNK), b""))
        assert sum(map(len, given)) <= limits.ratio_from
        with pytest.raises(LimitError):
            reader.read(1)


@pytest.mark.parametrize(("compression", "compress"), [(GZIP, gzip_member), (ZSTD, zstd_frame)])
def test_a_bomb_is_read_no_farther_than_it_takes_to_see_it(
    compression: str, compress: Callable[[bytes], bytes]
) -> None:
    raw = Trickle(compress(bytes(16 << 20)) * 40, 1000)
    with inflated(raw, compression, Limits(size=1 << 20)) as reader, pytest.raises(LimitError):
        reader.read()
    assert raw.taken <= CHUNK


def test_a_tar_that_compresses_by_less_than_the_ratio_is_no_bomb() -> None:
    inside = b"".join(noise(1000, seed) + bytes(9000) for seed in range(500))
    with inflated(gzip_member(inside), GZIP, Limits(ratio=20, ratio_from=1 << 20)) as reader:
        assert reader.read() == inside


class Failing(WrappingReader):
    """A reader that fails once, and would go on after that."""

    def __init__(self, data: bytes, after: int) -> None:
        super().__init__(MemoryReader(data))
        self._left = after

    def read(self, size: int = -1, /) -> bytes:
        if self._left == 0:
            self._left = -1
            raise BackendError("the disk is gone")
        part = self._raw.read(min(size, self._left) if self._left > 0 else size)
        self._left -= len(part) if self._left > 0 else 0
        return part


@pytest.mark.parametrize(("compression", "compress"), [(GZIP, gzip_member), (ZSTD, zstd_frame)])
def test_where_what_is_read_from_fails_every_later_read_fails(
    compression: str, compress: Callable[[bytes], bytes]
) -> None:
    blob = compress(noise(10_000))
    reader = stream(inflated(Failing(blob, 5000), compression))
    for _ in range(3):
        with pytest.raises(BackendError, match="the disk is gone"):
            reader.read()
    reader.close()


def test_an_interrupted_read_is_not_followed_by_a_clean_end() -> None:
    class Interrupted(Failing):
        def read(self, size: int = -1, /) -> bytes:
            try:
                return super().read(size)
            except BackendError:
                raise KeyboardInterrupt from None

    reader = inflated(Interrupted(gzip_member(noise(10_000)), 5000), GZIP)
    with pytest.raises(KeyboardInterrupt):
        reader.read()
    with pytest.raises(Exception, match="interrupted"):
        reader.read()


def test_a_closed_reader_has_closed_what_it_reads_from_and_gives_nothing() -> None:
    raw = MemoryReader(gzip_member(TEXT))
    reader = inflated(raw, GZIP)
    assert reader.read(1) == TEXT[:1]
    reader.close()
    assert raw.closed
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
