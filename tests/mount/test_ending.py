"""How a mount ends, and what stands in its way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.mounted import SECONDS, mounted
from fixtures.rootfs import NAME, OS_RELEASE, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.calling import Caller


@contextmanager
def left_open(path: Path) -> Iterator[None]:
    """A program has the file open inside the block, and has read from it."""
    handle = os.open(path, os.O_RDONLY)
    assert os.read(handle, 10)
    yield
    with suppress(OSError):  # the mount is gone
        os.close(handle)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_it_although_a_file_is_open(tmp_path: Path, number: signal.Signals) -> None:
    with mounted(tmp_path, store(tmp_path), NAME) as running, left_open(running.root / "big"):
        running.process.send_signal(number)
        assert running.ended() == 0
        assert not os.listdir(running.root)


def test_umount_ends_it_and_nothing_more_is_printed(tmp_path: Path) -> None:
    with mounted(tmp_path, store(tmp_path), NAME) as running:
        assert running.unmount() == 0
        assert running.log.read_text().splitlines() == [
            f"layercache: mounted {NAME} at {running.root}, until Ctrl-C or umount {running.root}"
        ]


@pytest.mark.slow
def test_killed_with_open_files_it_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    url = store(tmp_path)
    # fusermount3 leaves a folder that still answers when it looks, which on a busy machine is rare: libfuse
    # closes its socket to it before its connection to the kernel.
    assert any(_is_unmounted_when_killed(tmp_path, url) for _ in range(3))
    with mounted(tmp_path, url, NAME) as again:
        assert (again.root / "etc/os-release").read_bytes() == OS_RELEASE


def _is_unmounted_when_killed(folder: Path, url: str) -> bool:
    with mounted(folder, url, NAME) as running, left_open(running.root / "etc/passwd"):
        running.process.kill()
        running.ended()
        deadline = time.monotonic() + SECONDS / 6
        while not _is_empty(running.root):
            if time.monotonic() > deadline:
                subprocess.run(["fusermount3", "-u", "-z", str(running.root)], check=True)
                return False
            time.sleep(0.01)
    return True


def _is_empty(folder: Path) -> bool:
    try:
        return not os.listdir(folder)
    except OSError:  # it is a mount whose program has ended
        return False


def test_a_folder_that_does_not_do_is_refused(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for folder, words in (
        (tmp_path / "full", "not empty"),
        (tmp_path / "full/file", "Not a directory"),
        (tmp_path / "nope", "mkdir"),
    ):
        assert words in cli("mount", NAME, str(folder), code=2).output


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ("OSError('Unable to find libfuse')", b"apt install fuse3"),
        ("ModuleNotFoundError('none', name='mfusepy')", b"oci-layercache[mount]"),
    ],
)
def test_what_is_not_installed_is_named(cli: Caller, tmp_path: Path, fails: str, words: bytes) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mfusepy.py").write_text(f"raise {fails}")
    found = cli.process("mount", NAME, str(tmp_path / "empty"), environment={"PYTHONPATH": str(tmp_path)})
    assert (found.returncode, words in found.stderr) == (2, True), found.stderr
