"""What a user names is written: files are replaced as a whole, anything else in place. Never is it replaced.

Devices are made in a folder of the test: no test opens one of the machine's for more than `/dev/null`.
"""

from __future__ import annotations

import errno
import os
import pty
import socket
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from servers.programs import as_root

from layercache.errors import ConfigError, SourceError
from layercache.streams.named_file import is_stdout, writing

if TYPE_CHECKING:
    from pathlib import Path

FULL = os.makedev(1, 7)
"""/dev/full on Linux."""

NULL = os.makedev(1, 3)


def device(path: Path, number: int) -> Path:
    """A character device in the test's own folder. Skips the test where only root may make one."""
    as_root()
    os.mknod(path, stat.S_IFCHR | 0o666, number)
    return path


def kind(path: Path) -> tuple[int, int]:
    """What must not change: the type and the number of what the name stands for, links not followed."""
    status = path.lstat()
    return stat.S_IFMT(status.st_mode), status.st_ino


def test_a_file_appears_at_the_end_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o640)
    with writing(str(path)) as file:
        file.write(b"after")
        assert file.rewindable
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def interrupted(path: Path) -> None:
    with writing(str(path)) as file:
        file.write(b"after")
        raise KeyboardInterrupt


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_the_target_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    link.symlink_to("folder/target")
    if there:
        target.write_bytes(b"before")
    with writing(str(link)) as file:
        file.write(b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_written_in_place(tmp_path: Path, linked: bool) -> None:
    path = device(tmp_path / "null", NULL)
    name = path
    if linked:
        name = tmp_path / "link"
        name.symlink_to(path)
    before = kind(path), kind(name)
    with writing(str(name)) as file:
        file.write(b"gone")
        assert not file.rewindable
    assert (kind(path), kind(name)) == before


def test_a_full_device_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = device(tmp_path / "full", FULL)
    with pytest.raises(SourceError, match=f"cannot write {path}: No space left"), writing(str(path)) as file:
        file.write(b"too much")
    assert kind(path)[0] == stat.S_IFCHR


def test_a_named_pipe_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    with writing(str(path)) as file:
        file.write(b"through")
    reader.join()
    assert found == [b"through"]
    assert kind(path)[0] == stat.S_IFIFO


def test_a_socket_is_connected_to(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with writing(str(path)) as file:
            file.write(b"through")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"through"
    assert kind(path)[0] == stat.S_IFSOCK


def test_a_terminal_is_written_in_place() -> None:
    ours, theirs = pty.openpty()
    try:
        with writing(os.ttyname(theirs)) as file:
            assert file.isatty()
            file.write(b"seen")
        assert os.read(ours, 100) == b"seen"
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}", "{folder}/link"])
def test_an_open_file_goes_on_where_it_is(tmp_path: Path, form: str) -> None:
    """``{ echo …; layercache …; } > FILE``: the file is neither replaced nor written from its beginning."""
    path = tmp_path / "file"
    with open(path, "wb", buffering=0) as opened:
        os.symlink(f"/dev/fd/{opened.fileno()}", tmp_path / "link")
        opened.write(b"one ")
        before = kind(path)
        with writing(form.format(opened.fileno(), folder=tmp_path)) as file:
            file.write(b"two ")
            assert not file.rewindable
        opened.write(b"three")
    assert path.read_bytes() == b"one two three"
    assert kind(path) == before


def test_an_open_socket_can_be_named() -> None:
    one, other = socket.socketpair()
    with one, other:
        with writing(f"/dev/fd/{one.fileno()}") as file:
            file.write(b"through")
        assert other.recv(100) == b"through"


_STDOUT = """
import sys
from layercache.streams.named_file import is_stdout, writing
with writing(sys.argv[1]) as file:
    file.write(b"bytes")
sys.stderr.write(str(is_stdout(sys.argv[1])))
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("into", ["pipe", "file", "socket"])
def test_stdout_has_many_names(tmp_path: Path, name: str, into: str) -> None:
    reader, writer = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs, open(reader, "rb") as pipe, open(tmp_path / "file", "w+b") as file:
        stdout = {"pipe": writer, "file": file.fileno(), "socket": theirs.fileno()}[into]
        done = subprocess.run(
            [sys.executable, "-c", _STDOUT, name], stdout=stdout, stderr=subprocess.PIPE, check=True
        )
        os.close(writer)
        theirs.close()
        file.seek(0)
        assert {"pipe": pipe.read(), "file": file.read(), "socket": ours.recv(10)}[into] == b"bytes"
    assert done.stderr == b"True"


def test_another_file_is_not_stdout(tmp_path: Path) -> None:
    assert not is_stdout(str(tmp_path))
    assert not is_stdout(str(tmp_path / "absent"))


@pytest.mark.parametrize("name", ["", "/", "absent/file", "absent/"])
def test_what_cannot_be_written_is_refused_before_the_block(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError, match="cannot write"), writing(path):
        pytest.fail("nothing can be written there")
    assert os.listdir(tmp_path) == []


def test_a_reader_that_leaves_is_not_an_error_of_the_file(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError), writing(f"/dev/fd/{writer}") as file:
            file.write(b"to nobody")
    finally:
        os.close(writer)


def test_a_name_that_cannot_be_taken_at_the_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", refuses)
    with pytest.raises(SourceError, match="busy"), writing(str(tmp_path / "file")) as file:
        file.write(b"bytes")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", ["54321", "9" * 30])
def test_a_descriptor_that_is_not_open_is_named(number: str) -> None:
    with pytest.raises(ConfigError, match=number), writing(f"/dev/fd/{number}"):
        pass
