"""A tar made to harm costs neither memory nor time: it has its right entries, or a clear error."""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from itertools import repeat

import pytest
from index.tars import make, member, raw, record, scan

from layercache.errors import FormatError, LimitError
from layercache.index import columns
from layercache.index.scanner import HOLES_MAX, META_MAX, TarScanner
from layercache.index.table import TableBuilder

EIB = 1 << 60


def test_a_name_of_a_mebibyte_is_kept_and_a_longer_one_refused() -> None:
    name = "n" * (META_MAX - 1)
    assert [each.path for each in scan(make([(member(name), b"")], tarfile.GNU_FORMAT))] == [name]
    with pytest.raises(LimitError, match=f"at most {META_MAX} are allowed"):
        scan(make([(member(name + "nn"), b"")], tarfile.GNU_FORMAT))


def test_half_a_million_parts_of_a_name_are_cleaned_in_one_step() -> None:
    name = "a/../" * 200_000 + "b"
    assert [each.path for each in scan(make([(member(name), b"")], tarfile.GNU_FORMAT))] == ["b"]


@pytest.mark.parametrize("type", [b"0", b"x", b"L", b"S", b"Z"])
def test_a_negative_size_is_refused(type: bytes) -> None:
    with pytest.raises(FormatError, match=r"a size of -512 bytes|pieces of a file"):
        scan(raw(type, size=-512) + bytes(1024))


def test_a_negative_size_in_an_extended_header_is_refused() -> None:
    with pytest.raises(FormatError, match="a size of -1 bytes"):
        scan(raw(b"x", record("size", "-1")) + raw(b"0"))


def test_a_size_of_exbibytes_takes_what_is_there_and_no_more() -> None:
    with pytest.raises(FormatError, match="cut off at byte 1536"):
        scan(raw(b"0", size=7 * EIB) + bytes(1024))
    with pytest.raises(FormatError, match="cut off"):
        scan(raw(b"x", record("size", str(8 * EIB - 1))) + raw(b"0") + bytes(1024))
    with pytest.raises(FormatError, match="where a number should be"):
        scan(raw(b"x", record("size", str(8 * EIB))) + raw(b"0"))


def test_links_and_folders_have_no_bytes_whatever_they_state() -> None:
    found = scan(
        b"".join(raw(type, size=4 * EIB) for type in (b"1", b"2", b"3", b"4", b"5", b"6")) + raw(b"0")
    )
    assert [each.size for each in found] == [0] * 7


def test_headers_that_lead_to_headers_end() -> None:
    chain = b"".join(raw(b"x", record("path", f"name-{number}")) for number in range(3000))
    assert [each.path for each in scan(chain + raw(b"0"))] == ["name-2999"]
    assert scan(chain) == []


@pytest.mark.parametrize(
    "records",
    [
        b"no length",
        b"4 a=\n",
        b"0 a=b\n",
        b"999 a=b\n",
        b"7 =bcd\n",
        b"-6 a=b\n",
        b"6 a=b\0",
        b"99999999999999999999999 a=b\n",
        record("path", "a\0b"),
        record("a\0", "b"),
        record("mtime", "1e5"),
        record("uid", "1_0"),
        record("GNU.sparse.offset", "0") + record("GNU.sparse.offset", "0"),
    ],
)
def test_broken_extended_headers_are_refused(records: bytes) -> None:
    with pytest.raises(FormatError, match="extended header"):
        scan(raw(b"x", records) + raw(b"0"))


def test_a_header_for_all_is_not_applied_as_runtimes_do_not_apply_it() -> None:
    found = scan(make([(member("a"), b"x")], headers={"mtime": "5", "comment": "c", "size": "0"}))
    assert [(each.path, each.mtime, each.size) for each in found] == [("a", 0, 1)]
    with pytest.raises(FormatError, match="extended header"):
        scan(raw(b"g", b"junk"))


def test_holes_of_exbibytes_are_not_hashed() -> None:
    file = raw(b"x", record("GNU.sparse.size", str(4 * EIB)) + record("GNU.sparse.numblocks", "1"))
    file = file + raw(b"x", _version_0(4 * EIB, "5,3")) + raw(b"0", b"abc")
    (found,) = scan(file)
    assert (found.size, found.sparse, found.sha256) == (4 * EIB, ((5, 3),), "")


def test_the_holes_of_all_files_together_are_hashed_up_to_a_limit() -> None:
    half = HOLES_MAX // 2 + 1
    found = scan(
        (raw(b"x", _version_0(half, "0,0")) + raw(b"0")) * 3 + raw(b"x", _version_0(9, "0,0")) + raw(b"0")
    )
    zeros = hashlib.sha256(bytes(half)).hexdigest()
    assert [each.sha256 for each in found] == [zeros, "", "", hashlib.sha256(bytes(9)).hexdigest()]


def _version_0(size: int, pieces: str) -> bytes:
    count = record("GNU.sparse.numblocks", str(len(pieces.split(",")) // 2))
    return record("GNU.sparse.size", str(size)) + count + record("GNU.sparse.map", pieces)


VERSION_1 = (
    record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "99")
)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"2\n0\n5\n3\n9\n", "overlap"),
        (b"1\n90\n10\n", "end at byte 100 of 99"),
        (b"1\n0\n-1\n", "overlap"),
        (b"-1\n", "has -1 pieces"),
        (b"1\n0\n7\n", "are 7 bytes, and 8 are stored"),
        (b"999999999\n", "does not end"),
        (b"x\n", "where a number should be"),
        (b"1" * 504, "does not end"),
    ],
)
def test_a_broken_map_of_holes_is_refused(content: bytes, error: str) -> None:
    data = content.ljust(512, b"\0") + b"12345678"
    with pytest.raises(FormatError, match=error):
        scan(raw(b"x", VERSION_1) + raw(b"0", data))


def test_a_map_of_holes_beyond_the_limit_is_refused_before_it_is_gathered() -> None:
    scanner = TarScanner(lambda _: None)
    scanner.feed(raw(b"x", VERSION_1) + raw(b"0", size=EIB) + b"9999999999\n".ljust(512, b"0"))
    with pytest.raises(FormatError, match="does not end"):
        deque(map(scanner.feed, repeat(bytes(512), 3000)), maxlen=0)
    assert scanner.position < META_MAX + 4096


def test_a_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "COLUMNS_MAX", 100_000)
    builder = TableBuilder()
    for _ in range(10):
        builder.data(raw(b"0") * 500)
    with pytest.raises(LimitError, match="more than 100000 bytes"):
        builder.finish()


def test_numbers_are_read_as_the_kernel_takes_them() -> None:
    (found,) = scan(raw(b"3", uid=-2, device=(1 << 33) + 7) + bytes(1024))
    assert (found.uid, found.device) == (0xFFFFFFFE, (7, 0))
    (late,) = scan(raw(b"x", record("mtime", "9" * 30)) + raw(b"0"))
    assert late.mtime == (1 << 63) - 1
