"""What programs see in a mount."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.mounted import mounted, needs_fuse
from fixtures.pages import ROOT, blocks
from fixtures.rootfs import BIG, DATA, LOWER, NAME, OS_RELEASE, TIME, file, layer_of, other, store
from servers.images import make_image

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {
    "./bin": "l",
    "./big": "f",
    "./data/bytes-\udcff": "f",
    "./data/empty": "f",
    "./data/naïve name.txt": "f",
    "./data/table.csv": "f",
    "./dev/null": "c",
    "./etc/dangling": "l",
    "./etc/os-release": "l",
    "./etc/passwd": "f",
    "./etc/shadow": "f",
    "./lib/package/__init__.py": "f",
    "./run/pipe": "p",
    "./usr/bin/again": "f",
    "./usr/bin/below": "f",
    "./usr/bin/self": "l",
    "./usr/bin/tool": "f",
    "./usr/lib/os-release": "f",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The mounted image; for all tests of this module."""
    folder = tmp_path_factory.mktemp("mount")
    with mounted(folder, store(folder), NAME) as running:
        yield running.root
        assert "warning" not in running.log.read_text()


def run(*command: str | Path, folder: Path | None = None) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60).stdout


def test_find_lists_what_is_in_the_image(root: Path) -> None:
    found = os.fsdecode(run("find", ".", "!", "-type", "d", "-printf", "%p %y\\n", folder=root))
    assert sorted(found.splitlines()) == sorted(f"{path} {kind}" for path, kind in FILES.items())
    assert run("find", ".", "-type", "d", "-empty", folder=root).split() == [b"./tmp"]


def test_sums_are_right(root: Path) -> None:
    found = run("sha256sum", "big", "data/table.csv", "etc/os-release", folder=root).split()[::2]
    expected = (BIG, b"number,square\n" + DATA, OS_RELEASE)
    assert found == [hashlib.sha256(data).hexdigest().encode() for data in expected]


def test_a_copy_has_everything(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run("cp", "-a", root, copy)
    for path, kind in FILES.items():
        here, there = os.lstat(root / path), os.lstat(copy / path)
        for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_rdev", "st_nlink", "st_mtime_ns"):
            assert getattr(here, field) == getattr(there, field), (path, field)
        assert kind != "f" or filecmp.cmp(root / path, copy / path, shallow=False)
        assert kind != "l" or (root / path).readlink() == (copy / path).readlink()
    assert len({os.lstat(copy / "usr/bin" / name).st_ino for name in ("tool", "again", "below")}) == 1
    assert os.getxattr(copy / "usr/bin/below", "user.origin") == b"made here"


def test_python_imports_from_it(root: Path) -> None:
    code = "import package; print(package.ANSWER, package.__file__)"
    found = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root / 'lib')!r}); {code}")
    assert found.decode().split() == ["42", str(root / "lib/package/__init__.py")]


def test_what_the_tar_says_is_shown(root: Path) -> None:
    tool = os.lstat(root / "usr/bin/tool")
    assert stat.filemode(tool.st_mode) == "-rwsr-xr-x"
    assert tool.st_mtime == TIME
    assert tool.st_nlink == 3
    assert os.lstat(root / "dev/null").st_rdev == os.makedev(1, 3)
    assert os.lstat(root / "usr").st_nlink == 2 + 2
    assert os.listxattr(root / "usr/bin/tool") == ["user.origin"]
    with pytest.raises(OSError, match="No data") as missing:
        os.getxattr(root / "usr/bin/tool", "user.nope")
    assert missing.value.errno == errno.ENODATA
    whole = os.statvfs(root)
    assert whole.f_blocks * whole.f_frsize >= len(BIG) + len(DATA)
    assert (whole.f_bavail, whole.f_flag & os.ST_RDONLY) == (0, os.ST_RDONLY)


def test_nothing_can_be_written(root: Path) -> None:
    for write in (
        lambda: (root / "new").write_text("x"),
        lambda: (root / "etc/passwd").open("r+"),
        lambda: (root / "etc/passwd").unlink(),
        lambda: (root / "new").mkdir(),
        lambda: (root / "etc").chmod(0o700),
        lambda: os.setxattr(root / "etc", "user.x", b"y"),
    ):
        with pytest.raises(OSError, match="Read-only") as refused:
            write()
        assert refused.value.errno == errno.EROFS
    for path in ("nope", "etc/passwd/x", "tmp/removed", "etc/dangling"):
        assert not (root / path).exists()


def test_threads_read_one_open_file(root: Path) -> None:
    wrong: list[int] = []
    handle = os.open(root / "big", os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)

    def read(seed: int) -> None:
        wrong.extend(
            at
            for at in range(seed * 7919, len(BIG), 150_001)
            if os.pread(handle, 5000, at) != BIG[at : at + 5000]
        )

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(handle)
    assert not wrong


def test_a_layer_alone_is_mounted_by_its_hash(tmp_path: Path) -> None:
    with mounted(tmp_path, store(tmp_path), str(LOWER.digest)) as running:
        assert (running.root / "usr/lib/os-release").read_text() == "ID=replaced\n"
        assert (running.root / "tmp/removed").exists()


def test_the_commands_of_the_page_mount_and_unmount(tmp_path: Path) -> None:
    needs_fuse()
    (script,) = [block.text for block in blocks(ROOT / "docs/files.md") if block.heading == "Mount"]
    launcher = tmp_path / "bin/layercache"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m layercache "$@"\n')
    launcher.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{launcher.parent}:{os.environ['PATH']}",
        "LAYERCACHE_URL": store(tmp_path),
        "LAYERCACHE_OFFLINE": "1",
    }
    text = f"set -e\n{script.replace('alpine:3.20', NAME)}wait\n"
    found = subprocess.run(
        ["sh", "-c", text], check=True, capture_output=True, cwd=tmp_path, timeout=60, env=environment
    )
    assert found.stdout.split()[0].decode() == hashlib.sha256(OS_RELEASE).hexdigest()


@pytest.mark.slow
def test_a_layout_is_mounted_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, fill=False)
    monkeypatch.chdir(tmp_path)
    with mounted(tmp_path, "cache", f"oci:layout:{NAME}") as running:
        assert (running.root / "etc/os-release").read_bytes() == OS_RELEASE
        assert Path(f"/proc/{running.process.pid}/cwd").readlink() == tmp_path  # libfuse leaves it


@pytest.mark.slow
def test_other_users_have_access_as_the_modes_permit(tmp_path: Path) -> None:
    with mounted(tmp_path, store(tmp_path), NAME, "--allow-other") as running:
        code = """import os, sys
os.chroot(sys.argv[1])
os.setuid(65534)
open("/etc/os-release").close()
open("/etc/shadow")"""
        found = subprocess.run(
            [sys.executable, "-c", code, running.root], check=False, capture_output=True, text=True
        )
        assert "PermissionError: [Errno 13] Permission denied: '/etc/shadow'" in found.stderr


@pytest.mark.slow
def test_a_big_folder_is_listed_without_what_linux_does_not_allow(tmp_path: Path) -> None:
    many = [file(f"many/{number}") for number in range(5_000)]
    odd = [
        file("many/" + "long" * 400),
        other("many/" + "n" * 255, "directory"),
    ]
    image = make_image([layer_of(*many, *odd)])
    with mounted(tmp_path, store(tmp_path, image), NAME) as running:
        assert sorted(os.listdir(running.root / "many")) == sorted([*map(str, range(5_000)), "n" * 255])
        assert "1 file left out" in running.log.read_text()
