"""A layer's own table of contents is used as far as its digest leads to it, and refused where it is wrong."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.own_layers import Blob, estargz, sha256, zstd_chunked
from index.tars import make, member, scan

from layercache.errors import DigestMismatchError, FormatError, IntegrityError, LimitError
from layercache.index.entry import FileEntry
from layercache.index.own_table import read_own_table
from layercache.index.scanner import EMPTY
from layercache.index.toc import CHUNK_MAX, ENTRIES_MAX, decode_toc
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from index.own_layers import Entries

    from layercache.index.chunks import OwnTable

RANDOM = random.Random(5)
BIG = RANDOM.randbytes(2500)
ROOT: dict[str, Any] = {"uname": "root", "gname": "root"}
TAR = make(
    [
        (member("etc", tarfile.DIRTYPE, mode=0o755, **ROOT), b""),
        (member("etc/passwd", mtime=1_700_000_000, **ROOT), b"root:x:0:0\n"),
        (member("etc/empty", **ROOT), b""),
        (member("etc/big", mode=0o4755, pax_headers={"SCHILY.xattr.user.k": "v"}, **ROOT), BIG),
        (member("etc/holes", **ROOT), BIG[:1000] + bytes(2000) + BIG[:700]),
        (member("etc/link", tarfile.SYMTYPE, linkname="passwd", **ROOT), b""),
        (member("etc/hard", tarfile.LNKTYPE, linkname="etc/passwd", **ROOT), b""),
        (member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, **ROOT), b""),
        (member("usr/.wh.old", **ROOT), b""),
    ]
)
WRITERS: dict[str, Callable[..., Blob]] = {
    "estargz": estargz,
    "stargz": partial(estargz, legacy=True),
    "inner": partial(estargz, together=True),
    "containers": zstd_chunked,
    "stargz-zstd": partial(zstd_chunked, containers=False),
}
POSITION = "io.github.containers.zstd-chunked.manifest-position"


def own(blob: Blob) -> OwnTable:
    found = read_own_table(blob.read, len(blob.data), blob.annotations)
    assert found is not None
    return found


class Range(io.BytesIO):
    """A reader of a part of a blob, as tiers and sources give them."""

    size: int | None = None


def content(table: OwnTable, blob: Blob, path: str, start: int = 0, end: int | None = None) -> bytes:
    """The chunks with these bytes of a file, each read by its range."""
    found = b""
    for chunk in table.chunks(path, start, end):
        if chunk.sha256:
            found += table.inflate([chunk], Range(blob.read(chunk.start, chunk.end)))[0]
        else:
            found += bytes(chunk.size)
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_the_table_has_what_the_tar_has(writer: str) -> None:
    has_names = not writer.endswith(("containers", "zstd"))
    expected = [
        replace(each, offset=0) if has_names else replace(each, offset=0, user="", group="")
        for each in scan(TAR)
    ]
    assert list(own(WRITERS[writer](TAR)).files) == expected


@pytest.mark.parametrize("writer", WRITERS)
def test_files_are_read_by_chunks_that_are_verified(writer: str) -> None:
    blob = WRITERS[writer](TAR)
    table = own(blob)
    for entry in scan(TAR):
        if entry.type == "file":
            assert content(table, blob, entry.path) == TAR[entry.offset : entry.offset + entry.size]
    assert content(table, blob, "etc/big", 1000, 2000) == BIG[1000:2000]
    assert content(table, blob, "etc/big", 999, 1001) == BIG[:2000]
    assert table.chunks("etc/big", 2500) == table.chunks("etc/empty") == table.chunks("etc") == []


def test_zeros_are_not_read() -> None:
    blob = zstd_chunked(TAR)
    table = own(blob)
    blob.reads.clear()
    content(table, blob, "etc/holes")
    assert [each.sha256 == "" for each in table.chunks("etc/holes")] == [False, True, True, False]
    assert len(blob.reads) == 2


@pytest.mark.parametrize(("writer", "reads"), [("estargz", 1), ("containers", 1), ("stargz-zstd", 1)])
def test_a_table_takes_one_request(writer: str, reads: int) -> None:
    blob = WRITERS[writer](TAR)
    own(blob)
    assert len(blob.reads) == reads


def test_a_large_table_of_estargz_takes_two_requests() -> None:
    blob = estargz(make([(member(RANDOM.randbytes(40).hex()), RANDOM.randbytes(9)) for _ in range(900)]))
    own(blob)
    assert len(blob.reads) == 2


def test_a_layer_without_annotations_takes_no_request() -> None:
    blob = estargz(TAR)
    assert read_own_table(blob.read, len(blob.data), {"other": "x"}) is None
    assert blob.reads == []


def test_annotations_of_two_formats_are_refused() -> None:
    blob = zstd_chunked(TAR)
    both = blob.annotations | estargz(TAR).annotations
    with pytest.raises(FormatError, match="two formats"):
        read_own_table(blob.read, len(blob.data), both)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_table_that_is_not_the_annotations_is_refused(writer: str) -> None:
    blob = WRITERS[writer](TAR)
    for key in blob.annotations:
        if "position" not in key:
            wrong = blob.annotations | {key: sha256(b"another")}
            with pytest.raises(DigestMismatchError, match="its annotation states"):
                read_own_table(blob.read, len(blob.data), wrong)


@pytest.mark.parametrize("writer", WRITERS)
def test_bytes_that_are_not_the_chunks_are_refused(writer: str) -> None:
    blob = WRITERS[writer](TAR, change=_swap_digests)
    table = own(blob)
    with pytest.raises(DigestMismatchError):
        content(table, blob, "etc/passwd")
    good = WRITERS[writer](TAR)
    chunk = own(good).chunks("etc/passwd")[0]
    with pytest.raises(FormatError):
        own(good).inflate([chunk], Range(good.data[chunk.start : chunk.start + 9]))


def _swap_digests(entries: Entries) -> None:
    for each in entries:
        for key in ("digest", "chunkDigest"):
            if key in each:
                each[key] = sha256(b"another")


def _set(path: str, **fields: object) -> Callable[[Entries], None]:
    def change(entries: Entries) -> None:
        next(each for each in entries if each["name"] == path).update(fields)

    return change


def _link_in_a_circle(entries: Entries) -> None:
    entries += [
        {"name": "a", "type": "hardlink", "linkName": "b"},
        {"name": "b", "type": "hardlink", "linkName": "c"},
        {"name": "c", "type": "hardlink", "linkName": "./a"},
    ]


def _same_place(entries: Entries) -> None:
    place = next(each for each in entries if each["name"] == "etc/passwd")["offset"]
    _set("etc/big", offset=place)(entries)


def _begin_with_a_chunk(entries: Entries) -> None:
    entries.insert(0, {"name": "x", "type": "chunk", "chunkOffset": 0, "chunkSize": 1})


HOSTILE: dict[str, tuple[Callable[[Entries], None], str]] = {
    "beyond the end": (_set("etc/passwd", offset=1 << 40), "not in the blob"),
    "before the start": (_set("etc/passwd", offset=-1), "not in the blob"),
    "the same place": (_same_place, "overlap"),
    "a gap": (_set("etc/big", chunkSize=900), "overlap or leave a gap"),
    "less than the size": (_set("etc/big", size=1500), "overlap or leave a gap|have 2500 bytes of 1500"),
    "a negative size": (_set("etc/passwd", size=-1), "size -1"),
    "a size that no file can have": (_set("etc/passwd", size=1 << 63), f"size {1 << 63}"),
    "such a size of a link": (_set("etc/link", size=1 << 63), f"size {1 << 63}"),
    "a circle of links": (_link_in_a_circle, "circle"),
    "a chunk without a file": (_begin_with_a_chunk, "does not follow a file"),
    "an unknown type": (_set("etc/passwd", type="door"), "type 'door'"),
    "a lost name": (_set("etc/passwd", name="etc/\ufffd"), "not UTF-8"),
    "a NUL": (_set("etc/passwd", name="etc/\0"), "NUL"),
    "no digest": (_set("etc/passwd", digest="", chunkDigest=""), "no digest"),
    "a broken digest": (_set("etc/passwd", digest="sha256:0", chunkDigest="md5:0"), "digest"),
    "a NUL in the name of an attribute": (_set("etc/passwd", xattrs={"user.\0": ""}), "NUL"),
    "no time": (_set("etc/passwd", modtime="yesterday"), "RFC 3339"),
    "a word for a number": (_set("etc/passwd", mode="rw"), "mode"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("writer", ["estargz", "containers"])
def test_a_wrong_table_is_refused_though_its_digest_is_right(case: str, writer: str) -> None:
    change, message = HOSTILE[case]
    with pytest.raises(FormatError, match=message):
        own(WRITERS[writer](TAR, change=change))


def test_a_chunk_that_memory_should_not_hold_is_refused() -> None:
    with pytest.raises(LimitError, match="allowed are"):
        own(estargz(TAR, change=_set("etc/passwd", size=CHUNK_MAX + 1)))


def test_a_table_of_more_entries_than_memory_should_hold_is_refused_before_it_is_read() -> None:
    tracemalloc.start()
    with pytest.raises(LimitError, match=f"allowed are {ENTRIES_MAX}"):
        decode_toc(b'{"version":1,"entries":[' + b"{}," * (ENTRIES_MAX + 1), 100, "gzip")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_a_name_is_cleaned_and_a_user_known_by_its_number() -> None:
    def change(entries: Entries) -> None:
        entries += [
            {"name": "../../x//y", "type": "reg", "uid": 0, "mode": 0o100644},
            {"name": "./", "type": "reg"},
        ]

    table = own(estargz(TAR, change=change))
    assert table.files[-1] == FileEntry("x/y", user="root", group="root", sha256=EMPTY)


@pytest.mark.parametrize("position", ["", "1:2:3", "0:5:5:1", "9:999999999:5:1", "x:1:1:1", "9:5:5:2"])
def test_a_wrong_position_is_refused(position: str) -> None:
    blob = zstd_chunked(TAR)
    blob.annotations[POSITION] = position
    with pytest.raises(FormatError, match=r"position|not in its"):
        own(blob)


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    blob = zstd_chunked(TAR)
    for stated, error in (("1000000000", LimitError), ("99999", FormatError)):
        start, stored, _, _ = blob.annotations["io.github.containers.zstd-chunked.manifest-position"].split(
            ":"
        )
        changed = {"io.github.containers.zstd-chunked.manifest-position": f"{start}:{stored}:{stated}:1"}
        with pytest.raises(error):
            read_own_table(blob.read, len(blob.data), blob.annotations | changed)


VALUES: st.SearchStrategy[object] = st.integers(-2, 9000) | st.sampled_from(
    ["", "reg", "chunk", "zeros", "etc", "etc/hard", None, [], 1 << 63, -1 - (1 << 63), 1 << 64]
)


@given(st.data())
@settings(max_examples=60)
def test_whatever_is_changed_in_a_table_it_is_refused_or_its_files_are_right(data: st.DataObject) -> None:
    def change(entries: Entries) -> None:
        keys = sorted({key for each in entries for key in each})
        for _ in range(data.draw(st.integers(1, 3))):
            data.draw(st.sampled_from(entries))[data.draw(st.sampled_from(keys))] = data.draw(VALUES)

    blob = WRITERS[data.draw(st.sampled_from(["estargz", "containers"]))](TAR, change=change)
    try:
        table = own(blob)
    except IntegrityError:
        return
    files = {each.path: each for each in table.files if each.type == "file"}
    for path, entry in files.items():
        try:
            found = content(table, blob, path)
        except IntegrityError:
            continue
        assert len(found) == entry.size
