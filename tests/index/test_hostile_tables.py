"""A table whose hash is right may still be false: what no scanner makes is refused, however it is stored."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from fixtures.zstd import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from index.tars import make, member, scan
from index.test_table import SAMPLE, table

from layercache.errors import FormatError
from layercache.index.envelope import seal, unseal
from layercache.index.table import MAGIC, FileTable, TableBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ["tar_size", "paths", "types", "modes", "owners", "sizes", "mtimes", "gaps", "hashes"]
COLUMNS += ["all_owners", "links", "rare"]


def changed(**columns: Callable[[Any], object]) -> bytes:
    """The sample's table with some columns replaced, sealed as if it were right."""
    stored = msgspec.msgpack.decode(unseal(MAGIC, table(SAMPLE).encode(), 1 << 20))
    for name, change in columns.items():
        at = COLUMNS.index(name)
        stored[at] = change(stored[at])
    return seal(MAGIC, msgspec.msgpack.encode(stored))


def numbers(*changes: tuple[int, int], width: int = 8) -> Callable[[bytes], bytes]:
    """Replace numbers of a column: index and value of each."""

    def change(column: bytes) -> bytes:
        data = bytearray(column)
        for at, value in changes:
            data[width * at : width * (at + 1)] = value.to_bytes(width, "little", signed=value < 0)
        return bytes(data)

    return change


def _with_nul(rare: Any) -> Any:
    return [[(b"user.\0", b"")], *rare[1:]]


def path(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda paths: paths.replace(old, new)


HOSTILE: dict[str, dict[str, Callable[[Any], object]]] = {
    "a NUL in an attribute": {"rare": lambda rare: [(at, _with_nul(each)) for at, each in rare]},
    "a path out of the layer": {"paths": path(b"usr/bin/sh", b"../bin/sh")},
    "a path up at its end": {"paths": path(b"usr/bin/sh", b"usr/..")},
    "a path with an empty part": {"paths": path(b"usr/bin/sh", b"usr//sh")},
    "a path from the root": {"paths": path(b"usr/bin/sh", b"/usr/sh")},
    "a path that ends in a slash": {"paths": path(b"usr/bin/sh", b"usr/sh/")},
    "a path with a dot": {"paths": path(b"usr/bin/sh", b"./sh")},
    "a file in place of the root": {"paths": path(b"usr/bin/bash-x", b"")},
    "a path less": {"paths": path(b"usr/bin/sh\0", b"")},
    "a path without its end": {"paths": lambda paths: paths[:-1]},
    "an unknown type": {"types": numbers((0, 7), width=1)},
    "an unknown mode": {"modes": numbers((0, 0o10000), width=2)},
    "an unknown owner": {"owners": numbers((0, 9), width=4)},
    "a size of a folder": {"sizes": numbers((0, 1))},
    "a negative size": {"sizes": numbers((2, -1))},
    "a size beyond the tar": {"sizes": numbers((2, 1 << 40))},
    "a size that overflows": {"sizes": numbers((2, (1 << 63) - 1))},
    "bytes of another file": {"gaps": numbers((5, -512))},
    "bytes of a header": {"gaps": numbers((2, 0))},
    "bytes between blocks": {"gaps": numbers((2, 513))},
    "a smaller tar": {"tar_size": lambda _: 1024},
    "a negative tar": {"tar_size": lambda _: -1},
    "a hash less": {"hashes": lambda hashes: hashes[32:]},
    "a time less": {"mtimes": lambda times: times[8:]},
    "a target of a file": {"links": lambda links: [*links, [2, b"x"]]},
    "a target of nothing": {"links": lambda links: [*links, [99, b"x"]]},
    "a target with a NUL": {"links": lambda links: [[links[0][0], b"a\0b"], *links[1:]]},
    "a device of a file": {"rare": lambda rare: [*rare, [2, [[], [1, 3], None]]]},
    "holes of a folder": {"rare": lambda rare: [*rare, [0, [[], None, []]]]},
    "holes that overlap": {"rare": lambda rare: [*rare, [5, [[], None, [[0, 3], [1, 2]]]]]},
    "holes beyond the end": {"rare": lambda rare: [*rare, [5, [[], None, [[4, 2]]]]]},
    "a rare entry of nothing": {"rare": lambda rare: [*rare, [99, [[], None, None]]]},
    "a word for a number": {"tar_size": lambda _: "5"},
    "a column too many": {"rare": lambda rare: {"rare": rare}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_table_that_no_tar_has_is_refused(case: str) -> None:
    with pytest.raises(FormatError, match="a table of files is broken"):
        FileTable.decode(changed(**HOSTILE[case]))


def test_the_cases_are_changes_of_a_table_that_is_right() -> None:
    assert list(FileTable.decode(changed(tar_size=lambda size: size))) == scan(SAMPLE)


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_whatever_a_table_says_its_entries_are_within_the_tar(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(COLUMNS))

    def change(column: Any) -> object:
        if not isinstance(column, bytes):
            return data.draw(st.integers(-(1 << 63), (1 << 64) - 1) | st.just([]) | st.just(column))
        at = data.draw(st.integers(0, len(column) - 1))
        return column[:at] + data.draw(st.binary(min_size=1, max_size=3)) + column[at + 1 :]

    try:
        found = FileTable.decode(changed(**{name: change}))
    except FormatError:
        return
    for entry in found:
        assert not {"", ".", ".."} & set(entry.path.split("/")) or (entry.path, entry.type) == (
            "",
            "directory",
        )
        assert 0 <= entry.offset <= entry.offset + entry.size * (entry.sparse is None) <= found.tar_size


def test_a_bomb_is_refused() -> None:
    with pytest.raises(FormatError, match="more than"):
        unseal(MAGIC, seal(MAGIC, bytes(1 << 20)), (1 << 20) - 1)


def test_bytes_that_are_not_compressed_are_refused_though_their_hash_is_right() -> None:
    body = b"not zstd"
    with pytest.raises(FormatError, match="not compressed properly"):
        FileTable.decode(MAGIC + hashlib.sha256(body).digest() + body)
    two = zstd.compress(b"a") * 2
    with pytest.raises(FormatError, match="behind its end"):
        FileTable.decode(MAGIC + hashlib.sha256(two).digest() + two)


def test_a_table_is_small_in_memory_and_smaller_when_stored() -> None:
    count = 1500
    files = (
        (member(f"usr/lib/python3/dist-packages/package-{n // 40}/module_{n}.py"), b"%d" % n)
        for n in range(count)
    )
    data = make(files)
    tracemalloc.start()
    try:
        builder = TableBuilder()
        builder.data(data)
        made = builder.finish()
        size, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 250 * count
    assert most < 300 * count
    # Of which 32 are the hash, that cannot be compressed.
    assert len(made.encode()) < 48 * count
