"""A table of contents keeps the entries of a tar, is stored small, and is refused when it is damaged."""

from __future__ import annotations

import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.tars import make, member, scan

from layercache.errors import FormatError
from layercache.index import columns
from layercache.index.entry import FileEntry
from layercache.index.table import FileTable, TableBuilder


def table(data: bytes) -> FileTable:
    builder = TableBuilder()
    builder.data(data)
    return builder.finish()


SAMPLE = make(
    [
        (member("usr/bin/", tarfile.DIRTYPE, mode=0o755, uname="root"), b""),
        (member("usr/bin/sh", tarfile.SYMTYPE, linkname="bash"), b""),
        (member("usr/bin/bash", mode=0o4755, pax_headers={"SCHILY.xattr.user.é": "\udcfe"}), b"bash"),
        (member("usr/bin/bash-x"), b""),
        (member("usr/bin/rbash", tarfile.LNKTYPE, linkname="usr/bin/bash"), b""),
        (member("usr/lib/x/\udcffé", mtime=1.25), b"twice"),
        (member("usr/lib/x/\udcffé", mtime=-2.5), b"again"),
        (member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
    ]
)


def test_a_stored_table_has_the_same_entries() -> None:
    made = table(SAMPLE)
    kept = FileTable.decode(made.encode())
    assert list(kept) == list(made) == scan(SAMPLE)
    assert kept.tar_size == made.tar_size == len(SAMPLE)
    assert kept.encode() == made.encode()
    assert kept[-1] == scan(SAMPLE)[-1]
    assert kept[1:3] == scan(SAMPLE)[1:3]


def test_entries_that_are_made_together_are_those_that_are_made_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = table(SAMPLE)
    for together in (1, 2, 3, 100):
        monkeypatch.setattr(columns, "AT_ONCE", together)
        assert list(made) == [made[at] for at in range(len(made))] == scan(SAMPLE)
    first, *_, last = made
    assert first.xattrs is not last.xattrs


def test_what_is_read_of_a_table_takes_little_more_memory_than_its_entries() -> None:
    count = 5000
    kept = columns.Columns()
    for number in range(count):
        kept.add(FileEntry(f"usr/share/{number}", size=1, offset=1024 * number + 512, mtime=1_600_000_000))
    payload = kept.encode(1024 * count)
    tracemalloc.start()
    try:
        made, _ = columns.Columns.decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 180 * count, peak / count  # the columns and the paths; 62 more if each column were copied
    assert len({id(entry.mtime) for entry in made}) < 5, "files of one time share it"


def test_an_empty_layer_has_an_empty_table() -> None:
    made = FileTable.decode(table(b"").encode())
    assert (len(made), made.tar_size, list(made)) == (0, 0, [])


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_table_is_refused(data: st.DataObject) -> None:
    good = table(SAMPLE).encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    cut = good[: data.draw(st.integers(0, len(good) - 1))]
    for each in (bytes(bad), cut, good + b"x"):
        with pytest.raises(FormatError):
            FileTable.decode(each)


def test_a_builder_keeps_its_error_for_the_end() -> None:
    builder = TableBuilder()
    builder.data(b"x" * 512)
    builder.data(SAMPLE)
    with pytest.raises(FormatError, match="broken at byte 0"):
        builder.finish()
