"""A seek index may be wrong in any way: what comes out is the tar's bytes or an error, never other bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from files.test_tar_reader import big, part, table
from fixtures.layers import compressed, make_layer, noise
from fixtures.stores import Fetch, content, near, open_cache, write
from fixtures.zstd import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layercache.cache import Cache
from layercache.errors import FormatError, LayercacheError, LimitError
from layercache.files import seek_points
from layercache.files.span_reader import SpanReader
from layercache.index.envelope import seal, unseal
from layercache.index.spans import INDEX_MAX, MAGIC, SeekIndex
from layercache.index.table import TableBuilder
from layercache.oci.digest import DiffID, Digest
from layercache.streams.limits import Limits
from layercache.tiers.opening import open_tier
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from layercache.index.spans import Span

MIB = 1 << 20
DIGEST, DIFF_ID, COMPRESSION, SIZE, TAR_SIZE, AT, BITS, TAR_AT, WINDOWS, HASHES, BLOCKS = range(11)
KEY = f"derived/sha256/{big().digest.hex}/{seek_points.KIND}"


@cache
def good(folder: str) -> list[Any]:
    """The fields of the right index of `big`, made once."""
    with open_cache(near(LocalBackend(folder), keep="compressed")) as opened:
        table(opened, big(), Fetch(big().blob))
        part(opened, big(), 0, 1)
    fields = msgspec.msgpack.decode(unseal(MAGIC, content(LocalBackend(folder))[KEY], INDEX_MAX))
    assert isinstance(fields, list)
    return fields


def stored(fields: list[Any]) -> bytes:
    return seal(MAGIC, msgspec.msgpack.encode(fields), 1)


def changed(data: bytes, at: int) -> bytes:
    return data[: at % len(data)] + bytes([data[at % len(data)] ^ 1]) + data[at % len(data) + 1 :]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("near"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_wrong_in_an_index_a_part_is_right(folder: str, data: st.DataObject) -> None:
    fields = list(good(folder))
    field = data.draw(st.integers(SIZE, BLOCKS))
    at = data.draw(st.integers(0, 10_000))
    match fields[field]:
        case int() as number:
            fields[field] = data.draw(st.sampled_from([0, number - 1, number + 1, 1 << 50, -1]))
        case bytes() as found:
            fields[field] = data.draw(st.sampled_from([b"", found[:-1], found * 2, changed(found, at)]))
        case [*items] if field == WINDOWS:
            window = zstd.compress(noise(32 << 10, at))
            other = data.draw(st.sampled_from([b"", b"x", window, zstd.compress(bytes(1 << 24))]))
            fields[field] = [other if number else item for number, item in enumerate(items)]
        case [*items]:
            place, step = at % len(items), data.draw(st.sampled_from([-1, 1, 100, 1 << 40]))
            fields[field] = [item + step * (number == place) for number, item in enumerate(items)]
    backend = LocalBackend(folder)
    write(backend, KEY, stored(fields))
    start = data.draw(st.integers(0, len(big().tar)))
    end = start + data.draw(st.sampled_from([0, 1, 5000, 3 * MIB]))
    with open_cache(near(backend, keep="compressed")) as opened:
        try:
            found = part(opened, big(), start, end)
        except LayercacheError:
            found = part(opened, big(), start, end)  # it was put out of the way
    assert found == big().tar[start:end]


@pytest.mark.parametrize("step", [-512, -1, 1, 512])
def test_a_point_that_is_elsewhere_in_the_tar_gives_no_wrong_byte(folder: str, step: int) -> None:
    """Every span has the right hash, and inflates; but what comes out belongs elsewhere."""
    fields = list(good(folder))
    fields[TAR_AT] = [0, fields[TAR_AT][1] + step, *fields[TAR_AT][2:]]
    write(LocalBackend(folder), KEY, stored(fields))
    with open_cache(near(LocalBackend(folder), keep="compressed")) as opened:
        assert part(opened, big(), 5 * MIB, 6 * MIB) == big().tar[5 * MIB : 6 * MIB]
        assert opened.counters.failed == 1


def test_an_index_of_another_blob_is_not_used(folder: str) -> None:
    fields = list(good(folder))
    fields[DIGEST] = str(Digest.of(b"other"))
    write(LocalBackend(folder), KEY, stored(fields))
    with open_cache(near(LocalBackend(folder), keep="compressed")) as opened:
        assert part(opened, big(), MIB, 2 * MIB) == big().tar[MIB : 2 * MIB]


@pytest.mark.parametrize("payload", [b"", b"\x90", b"\xdd\xff\xff\xff\xff", bytes(1000)])
def test_what_is_no_index_is_refused(payload: bytes) -> None:
    with pytest.raises(FormatError):
        SeekIndex.decode(seal(MAGIC, payload))


# Any blob that inflates gives an index by which any part of it can be read

TEXT = b"".join(b"%d line %d\n" % (number * 7919 % 65521, number) for number in range(500_000))
NOISE = noise(5 * MIB)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


def members(data: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(data[at : at + size], 1) for at in range(0, len(data), size))


def flushed(data: bytes) -> bytes:
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = (data[at : at + MIB] for at in range(0, len(data), MIB))
    return (
        b"".join(deflate.compress(each) + deflate.flush(zlib.Z_FULL_FLUSH) for each in parts)
        + deflate.flush()
    )


def frames(data: bytes, size: int) -> bytes:
    parts = (compressed(data[at : at + size], "zstd") for at in range(0, len(data), size))
    return SKIPPABLE + SKIPPABLE.join(parts) + SKIPPABLE


EMPTY = gzip.compress(b"")
BLOBS: dict[str, tuple[Callable[[], bytes], bytes]] = {
    "text": (lambda: gzip.compress(TEXT, 6), TEXT),
    "stored blocks": (lambda: gzip.compress(NOISE + TEXT[:MIB] + NOISE, 0), NOISE + TEXT[:MIB] + NOISE),
    "mixed": (lambda: gzip.compress(NOISE + TEXT + bytes(9 * MIB), 1), NOISE + TEXT + bytes(9 * MIB)),
    "many members": (lambda: members(TEXT, 30_000), TEXT),
    "big members": (lambda: members(TEXT, 3 * MIB), TEXT),
    "empty members": (lambda: EMPTY + gzip.compress(TEXT, 1) + EMPTY * 3, TEXT),
    "flushed": (lambda: flushed(TEXT), TEXT),
    "frames": (lambda: frames(NOISE + TEXT, MIB), NOISE + TEXT),
    "small frames": (lambda: frames(TEXT, 50_000), TEXT),
    "plain": (lambda: NOISE * 2, NOISE * 2),
}


class Blob:
    """What `SpanReader` reads spans from."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        found = [self.data[span.start : span.end] for span in spans]
        assert [sha256(each).digest() for each in found] == [span.hash for span in spans]
        return found


@pytest.mark.parametrize("kind", BLOBS)
def test_any_part_of_any_blob_comes_out_of_its_spans(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seek_points, "layer_compression", lambda head, _: _compression(head))
    make, tar = BLOBS[kind]
    blob = make()
    (tmp_path / "blob").write_bytes(blob)
    passed: list[bytes] = []
    made = seek_points.of_file(str(tmp_path / "blob"), Digest.of(blob), passed.append, Limits())
    assert b"".join(passed) == tar
    index = SeekIndex.decode(made.encode())
    assert index.has_points
    for start in (0, 1, len(tar) // 2, len(tar) - 10):
        for size in (1, 70_000, len(tar)):
            end = min(len(tar), start + size)
            with SpanReader(index, Blob(blob), start, end) as reader:
                assert reader.read() == tar[start:end]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("limits", [Limits(size=8 * MIB), Limits(ratio=20, ratio_from=MIB)])
def test_a_bomb_in_a_tier_without_tars_ends_at_the_limits(
    kind: str, limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seek_points, "WORTH_FROM", 0)
    zeros = bytes(64 * MIB)
    blob = gzip.compress(zeros, 1) if kind == "gzip" else zstd.compress(zeros)
    inflated = 0

    def count(_table: TableBuilder, piece: bytes) -> None:
        nonlocal inflated
        inflated += len(piece)

    monkeypatch.setattr(TableBuilder, "data", count)
    store = open_tier(f"file://{tmp_path}/cache?keep=compressed", nearest=True)
    with Cache([store], limits=limits) as cache:
        layer = cache.layer(Digest.of(blob), fetch=lambda _: io.BytesIO(blob))
        layer.fill("compressed")
        with pytest.raises(LimitError):
            list(layer.files())
    assert inflated <= 12 * MIB


@pytest.mark.parametrize("claim", [None, DiffID.of(b"another tar")])
def test_a_gzip_that_ends_behind_a_file_has_no_files_although_points_are_found_in_it(
    claim: DiffID | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seek_points, "WORTH_FROM", 0)
    deflate = zlib.compressobj(wbits=31)
    blob = deflate.compress(make_layer({"a": noise(100_000)}).tar[: 512 + 100_352])
    blob += deflate.flush(zlib.Z_FULL_FLUSH)  # an archive may end here, but a member does not
    with Cache([open_tier(f"file://{tmp_path}/cache?keep=compressed", nearest=True)]) as cache:
        layer = cache.layer(Digest.of(blob), diff_id=claim, fetch=lambda _: io.BytesIO(blob))
        layer.fill("compressed")
        with pytest.raises(FormatError, match="cut off"):
            list(layer.files())
        assert not layer.computed


def _compression(head: bytes) -> str:
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    return "zstd" if head[1:4] in (b"\xb5\x2f\xfd", b"\x2a\x4d\x18") else "none"
