"""Bodies that are on their way go through a named pipe, at the pace of the client."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from layercache.errors import SourceError
from layercache.serve import pipes
from layercache.serve.pipes import Pipe, Pipes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = b"x" * (200 << 10)
PATIENCE = 10.0


class Body:
    """So many pieces, then an error if one is given."""

    def __init__(self, pieces: int, error: Exception | None = None) -> None:
        self.left = pieces
        self.error = error
        self.closed = 0

    def read(self) -> bytes:
        if self.left:
            self.left -= 1
            return PIECE
        if self.error:
            raise self.error
        return b""

    def splice_to(self, pipe: int) -> int:
        return 0

    def close(self) -> None:
        self.closed += 1


class SplicedBody(Body):
    """As many pieces before them, which are put into the pipe by the kernel, in parts."""

    def __init__(self, file: int, size: int) -> None:
        super().__init__(1)
        self.file = file
        self.to_splice = size

    def splice_to(self, pipe: int) -> int:
        count = os.splice(self.file, pipe, min(self.to_splice, 300_000)) if self.to_splice else 0
        self.to_splice -= count
        return count


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    with closing(Pipes(str(tmp_path))) as folder:
        yield folder.open()


@pytest.fixture
def server() -> Iterator[ThreadPoolExecutor]:
    """The thread in which the server below reads."""
    with ThreadPoolExecutor(1) as running:
        yield running


def read_all(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_body_comes_out_as_it_went_in_and_the_pipe_is_gone(pipe: Pipe, server: ThreadPoolExecutor) -> None:
    body, before = Body(5), open_files()
    reading = server.submit(read_all, pipe.path)
    assert pipe.feed(b"first", body, patience=PATIENCE) == 5 + 5 * len(PIECE)
    assert reading.result(PATIENCE) == b"first" + 5 * PIECE
    assert body.closed == 1
    assert not os.path.exists(pipe.path)
    assert open_files() == before


@pytest.mark.skipif(sys.platform != "linux", reason="splice(2) is Linux's")
def test_what_the_kernel_moves_comes_between_what_is_read(
    pipe: Pipe, server: ThreadPoolExecutor, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(2_000_000)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as file:
        body = SplicedBody(file.fileno(), len(data))
        reading = server.submit(read_all, pipe.path)
        assert pipe.feed(b"first", body, patience=PATIENCE) == 5 + len(data) + len(PIECE)
    assert reading.result(PATIENCE) == b"first" + data + PIECE


def test_a_client_that_hangs_up_ends_the_body(pipe: Pipe, server: ThreadPoolExecutor) -> None:
    def take_some() -> None:
        with open(pipe.path, "rb") as file:
            file.read(1000)

    body = Body(1000)
    taking = server.submit(take_some)
    pipe.feed(b"first", body, patience=PATIENCE)
    taking.result(PATIENCE)
    assert body.left > 900, "no more is read for a client that has left"
    assert body.closed == 1


def test_a_client_that_takes_nothing_is_given_up(pipe: Pipe) -> None:
    body = Body(1000)
    end = os.open(pipe.path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        pipe.feed(b"first", body, patience=0.05)
    finally:
        os.close(end)
    assert body.left > 900, "a slow client does not fill the memory"
    assert body.closed == 1


def test_a_server_that_opens_nothing_is_given_up_and_does_not_wait_when_it_comes_late(
    pipe: Pipe, server: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "OPENED_WITHIN", 0.02)
    body, before = Body(3), open_files()
    assert pipe.feed(b"first", body, patience=PATIENCE) == 0
    assert body.closed == 1
    assert open_files() == before
    with pytest.raises(FileNotFoundError):
        server.submit(read_all, pipe.path).result(PATIENCE)


def test_an_error_cuts_the_body_short(pipe: Pipe, server: ThreadPoolExecutor) -> None:
    body = Body(2, SourceError("the upstream broke off"))
    reading = server.submit(read_all, pipe.path)
    with pytest.raises(SourceError, match="broke off"):
        pipe.feed(b"first", body, patience=PATIENCE)
    assert reading.result(PATIENCE) == b"first" + 2 * PIECE
    assert body.closed == 1
