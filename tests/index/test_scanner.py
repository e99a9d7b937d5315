"""The scanner finds in a tar what `tarfile` finds, however its bytes come, and refuses what is broken."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.tars import make, member, scan, truth

from layercache.errors import FormatError, LimitError
from layercache.index.entry import FileEntry
from layercache.index.scanner import META_MAX, clean_path

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("./ab"),
    min_size=1,
)
LONG = st.builds(lambda name, times: name * times, NAMES, st.integers(1, 120))
TYPE = st.sampled_from(
    [tarfile.REGTYPE] * 4
    + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    made = member(
        draw(NAMES | LONG),
        draw(TYPE),
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, (1 << 31) - 1)),
        gid=draw(st.integers(0, (1 << 31) - 1)),
        mtime=draw(st.integers(0, 1 << 33) | st.floats(1, 1 << 30)),
        linkname=draw(NAMES | LONG),
        uname=draw(st.text("abc", max_size=20)),
        devmajor=draw(st.integers(0, 0o777)),
        devminor=draw(st.integers(0, 0o777)),
        pax_headers={"SCHILY.xattr.user." + draw(st.text("xyz", min_size=1)): draw(st.text("é=\n\0"))},
    )
    content = draw(st.binary(max_size=40)) * draw(st.integers(0, 60)) if made.isreg() else b""
    return made, content


@given(
    st.lists(members(), max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 1500),
)
@settings(max_examples=60)
def test_a_tar_has_the_entries_that_tarfile_finds(
    made: list[tuple[tarfile.TarInfo, bytes]], format: int, step: int
) -> None:
    data = make(made, format)
    assert scan(data, step) == truth(data)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "a/b"),
        ("./a/b/", "a/b"),
        ("/a//b", "a/b"),
        ("../../a", "a"),
        ("a/../../b/./c", "b/c"),
        ("a/..", ""),
        ("./", ""),
        (".", ""),
        ("/", ""),
        ("...", "..."),
        (".a/..b", ".a/..b"),
    ],
)
def test_a_name_is_cleaned_as_if_the_tar_had_a_root_of_its_own(name: str, path: str) -> None:
    assert clean_path(name) == path


def test_an_attribute_that_no_file_system_can_name_is_left_out() -> None:
    headers = {"LIBARCHIVE.xattr.user%2E%00": "YQ==", "LIBARCHIVE.xattr.user%2Ea": "YQ=="}
    assert [each.xattrs for each in scan(make([(member("a", pax_headers=headers), b"")]))] == [
        {"user.a": b"a"}
    ]


def test_a_file_that_would_replace_the_root_is_left_out_and_the_others_stay() -> None:
    data = make([(member(".."), b"x"), (member("./", tarfile.DIRTYPE, mode=0o700), b""), (member("a"), b"")])
    found = scan(data)
    assert [(each.path, each.type, each.mode) for each in found] == [
        ("", "directory", 0o700),
        ("a", "file", 0o644),
    ]


@pytest.mark.parametrize("end", [0, 512, 1024])
def test_a_tar_may_end_without_the_blocks_of_zeros(end: int) -> None:
    data = make([(member("a"), b"x")])[:1024]
    assert [each.path for each in scan(data + bytes(end))] == ["a"]


def test_what_follows_the_end_does_not_matter() -> None:
    data = make([(member("a"), b"x")])
    assert scan(data + b"junk" + data) == scan(data)


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 1000])
def test_a_tar_that_is_cut_off_is_refused(cut: int) -> None:
    data = make([(member("a"), bytes(600))], tarfile.USTAR_FORMAT)
    with pytest.raises(FormatError, match=f"cut off at byte {cut}"):
        scan(data[:cut])


def test_a_broken_header_is_refused_and_the_error_says_where() -> None:
    data = bytearray(make([(member("a"), b"x"), (member("b"), b"")], tarfile.USTAR_FORMAT))
    data[1024] ^= 1
    with pytest.raises(FormatError, match="broken at byte 1024: a header's checksum is wrong"):
        scan(bytes(data))


def test_a_block_of_zeros_that_stands_alone_is_refused() -> None:
    data = make([(member("a"), b"")], tarfile.USTAR_FORMAT)
    with pytest.raises(FormatError, match="stands alone"):
        scan(data[:512] + bytes(512) + data[:512])


def test_a_long_name_beyond_the_limit_is_refused_before_it_is_gathered() -> None:
    data = make([(member("n" * (META_MAX + 10)), b"")], tarfile.GNU_FORMAT)
    with pytest.raises(LimitError, match="extended header of 10485"):
        scan(data[:512])


def test_marks_that_hide_files_are_entries() -> None:
    found = scan(make([(member("a/.wh.b"), b""), (member("a/.wh..wh..opq"), b"")]))
    assert [(each.hidden, each.is_opaque) for each in found] == [("a/b", False), (None, True)]
    assert all(isinstance(each, FileEntry) for each in found)
