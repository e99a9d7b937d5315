"""Tars by GNU tar and bsdtar, with holes, attributes and links, have the entries that are in the folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from index.tars import scan

if TYPE_CHECKING:
    from layercache.index.entry import FileEntry

PIECE = 64 << 10
LONG = "/".join(f"folder-{number:090}" for number in range(3))

GNU = {
    "gnu": ["--format=gnu"],
    "oldgnu": ["--format=oldgnu"],
    "pax 0.0": ["--format=posix", "--sparse-version=0.0"],
    "pax 0.1": ["--format=posix", "--sparse-version=0.1"],
    "pax 1.0": ["--format=posix", "--sparse-version=1.0"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what writers find hard."""
    root = tmp_path_factory.mktemp("root")
    (root / LONG).mkdir(parents=True)
    (root / LONG / ("file" * 20)).write_bytes(b"far down")
    (root / "plain").write_bytes(os.urandom(3000))
    (root / "set-id").write_bytes(b"")
    (root / "set-id").chmod(0o4755)
    os.utime(root / "plain", ns=(1, 1_700_000_000_123_456_789))
    (root / "link").symlink_to("plain")
    os.link(root / "plain", root / "plain-2")
    os.mkfifo(root / "fifo", 0o600)
    Path(os.fsdecode(os.fsencode(root) + b"/not \xff UTF-8")).write_bytes(b"x")
    for name, pieces in (("few-holes", 2), ("many-holes", 30), ("one-hole", 0)):
        with (root / name).open("wb") as file:
            for number in range(pieces):
                file.seek(number * 3 * PIECE)
                file.write(os.urandom(PIECE))
            file.truncate(pieces * 3 * PIECE + 100 * PIECE)
    return root


def check(folder: Path, data: bytes, *, fractions: bool) -> list[FileEntry]:
    """Compare each entry with its file, and its bytes in the tar with its hash."""
    found = scan(data)
    assert {each.path for each in found} == {
        os.path.relpath(path, folder).removeprefix(".") for path in [folder, *folder.rglob("*")]
    }
    for each in found:
        at = folder / each.path
        status = at.lstat()
        nanoseconds = status.st_mtime_ns if fractions else status.st_mtime_ns // 10**9 * 10**9
        assert (each.mode, each.uid, each.mtime) == (status.st_mode & 0o7777, status.st_uid, nanoseconds)
        if each.type == "symlink":
            assert each.link == str(at.readlink())
        elif each.type == "hardlink":
            assert (folder / each.link).samefile(at)
        elif each.type == "file":
            assert each.size == status.st_size
            assert each.sha256 == hashlib.sha256(at.read_bytes()).hexdigest()
            assert _bytes(data, each) == at.read_bytes()
    return found


def _bytes(data: bytes, entry: FileEntry) -> bytes:
    made, at = bytearray(entry.size), entry.offset
    for start, length in ((0, entry.size),) if entry.sparse is None else entry.sparse:
        made[start : start + length] = data[at : at + length]
        at += length
    return bytes(made)


@pytest.mark.parametrize("format", GNU)
def test_what_gnu_tar_writes_is_read(format: str, folder: Path) -> None:
    command = [
        "tar",
        "--sparse",
        "--hole-detection=raw",
        *GNU[format],
        "--create",
        "--directory",
        str(folder),
        ".",
    ]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found = check(folder, data, fractions="pax" in format)
    pieces = {each.path: len(each.sparse or ()) for each in found if each.sparse is not None}
    assert pieces == {"few-holes": 2, "many-holes": 30, "one-hole": 0}
    assert len(data) < 60 * PIECE


@pytest.mark.skipif(not shutil.which("bsdtar"), reason="needs bsdtar (apt package libarchive-tools)")
@pytest.mark.parametrize("format", ["pax", "gnutar"])
def test_what_bsdtar_writes_is_read(format: str, folder: Path) -> None:
    command = ["bsdtar", "--format", format, "-c", "-f", "-", "-C", str(folder), "."]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    check(folder, data, fractions=format == "pax")
