"""Files out of layers and images: their bytes, and how their streams behave."""

from __future__ import annotations

import io
import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from files.made import hardlink, image_of, info, make_tar, symlink
from files.stacks import Listed
from servers.images import noise

from layercache.errors import DigestMismatchError, FormatError, NotAFileError, NotFoundError
from layercache.files.content import open_file
from layercache.index.entry import FileEntry

if TYPE_CHECKING:
    from pathlib import Path

    import layercache

DATA = noise(300_000)

SPARSE = FileEntry("sparse", size=500_000, offset=100, sparse=((1000, 2000), (50_000, 100_000), (499_999, 1)))


def sparse_bytes() -> bytes:
    data, at = bytearray(SPARSE.size), SPARSE.offset
    for start, length in SPARSE.sparse or ():
        data[start : start + length] = DATA[at : at + length]
        at += length
    return bytes(data)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_file_of_an_image_is_read_through_links_of_both_kinds(
    cache: layercache.Cache, tmp_path: Path, compression: str
) -> None:
    low = make_tar("usr/", "usr/lib/", ("usr/lib/data", DATA), symlink("lib", "usr/lib"))
    high = make_tar(hardlink("again", "lib/data"), symlink("link", "/lib/data"))
    image = image_of(cache, tmp_path, low, high, compression=compression)
    for path in ("usr/lib/data", "/lib/data", "again", "link"):
        with image.open(path) as file:
            assert file.read() == DATA
    assert [(each.path, each.layer) for each in image.files()] == [
        ("again", 1),
        ("lib", 0),
        ("link", 1),
        ("usr", 0),
        ("usr/lib", 0),
        ("usr/lib/data", 0),
    ]


def test_a_layer_lists_all_its_entries_and_opens_its_own_files(cache: layercache.Cache) -> None:
    tar = make_tar("etc/", ("etc/a", b"1"), ("etc/a", b"2"), ".wh.gone", hardlink("b", "etc/a"))
    layer = cache.put(io.BytesIO(tar))
    assert [each.path for each in layer.files()] == ["etc", "etc/a", "etc/a", ".wh.gone", "b"]
    assert layer.open("b").read() == layer.open("/etc/a").read() == b"2"
    with pytest.raises(NotFoundError):
        layer.open(".wh.gone")
    with pytest.raises(NotAFileError):
        layer.open("etc")


def test_a_link_to_a_layer_below_is_opened_through_the_image_alone(cache: layercache.Cache) -> None:
    layer = cache.put(io.BytesIO(make_tar(hardlink("b", "a"))))
    with pytest.raises(NotFoundError) as caught:
        layer.open("b")
    assert "open it through its image" in caught.value.hint


@pytest.mark.parametrize("entry", [FileEntry("f", size=len(DATA), offset=0), SPARSE], ids=["whole", "sparse"])
def test_any_seek_and_read_gives_what_a_file_on_disk_gives(entry: FileEntry) -> None:
    expected = io.BytesIO(sparse_bytes() if entry.sparse else DATA)
    chosen = random.Random(1)
    with open_file(Listed([], DATA), entry) as file:
        for _ in range(300):
            whence = chosen.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
            offset = chosen.randrange(0, entry.size) if whence == io.SEEK_SET else chosen.randrange(5000)
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            size = chosen.choice([0, 1, 100, 10_000, 200_000])
            assert file.read(size) == expected.read(size)
            assert file.tell() == expected.tell()
        assert file.seek(0) == 0
        assert file.read() == expected.getvalue()


def test_a_stream_is_as_a_file_of_python(cache: layercache.Cache) -> None:
    layer = cache.put(io.BytesIO(make_tar(("a", b"one\ntwo\n"))))
    with layer.open("a") as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert list(file) == [b"one\n", b"two\n"]
        assert io.TextIOWrapper(layer.open("a")).readline() == "one\n"
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_the_tar_is_opened_once_for_a_read_in_order_and_never_for_an_empty_file() -> None:
    tar = Listed([], DATA)
    with open_file(tar, FileEntry("f", size=len(DATA))) as file:
        while file.read(1000):
            pass
    assert tar.opened == [(0, len(DATA))]
    with open_file(tar, FileEntry("empty")) as file:
        assert file.read() == b""
    assert len(tar.opened) == 1


def test_wrong_bytes_are_an_error_before_the_last_of_them_is_given() -> None:
    entry = FileEntry("f", size=len(DATA), sha256=sha256(DATA).hexdigest())
    wrong = bytearray(DATA)
    wrong[5] ^= 1
    got: list[bytes] = []
    with open_file(Listed([], bytes(wrong)), entry) as file:
        with pytest.raises(DigestMismatchError, match="f in"):
            got.extend(iter(lambda: file.read1(10_000), b""))
        assert sum(map(len, got)) < len(DATA)
    with (
        open_file(Listed([], DATA[:1000]), entry) as file,
        pytest.raises(FormatError, match="inside the file"),
    ):
        file.read()


def test_an_empty_name_leads_to_the_root(cache: layercache.Cache, tmp_path: Path) -> None:
    image = image_of(cache, tmp_path, make_tar(info("./", mode=0o700), "a/"))
    assert image.files().lookup("/").entry.mode == 0o700
    assert [each.path for each in image.files()] == ["a"]
