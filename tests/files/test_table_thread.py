"""A table that is made next to a pass: the same one, in bounded memory, by one other thread."""

from __future__ import annotations

import contextlib
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from files.made import make_tar
from servers.images import noise

from layercache.errors import FormatError
from layercache.files.table_thread import AHEAD, BUFFER, TableThread
from layercache.index.scanner import TarScanner
from layercache.index.table import TableBuilder
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from layercache.index.table import FileTable

MIB = 1 << 20
TAR = make_tar("etc/", ("etc/a", b"one"), ("big", noise(MIB) * 40), ("etc/b", b"two"))


def made(tar: bytes) -> FileTable:
    with TableThread() as builder:
        for at in range(0, len(tar), MIB):
            builder.data(tar[at : at + MIB])
        return builder.finish()


def test_it_is_the_same_table_and_the_thread_of_the_pass_scans_and_hashes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = TableBuilder()
    plain.data(TAR)
    threads, feed = set(), TarScanner.feed

    def noted(scanner: TarScanner, data: bytes | memoryview) -> None:
        threads.add(threading.current_thread().name)
        feed(scanner, data)

    monkeypatch.setattr(TarScanner, "feed", noted)
    assert made(TAR).encode() == plain.finish().encode()
    assert len(threads) == 1
    assert threading.current_thread().name not in threads


def test_a_pass_that_is_faster_waits_once_so_much_is_not_looked_at_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going, looked, given, feed = threading.Event(), [0], 0, TarScanner.feed

    def slow(scanner: TarScanner, data: bytes | memoryview) -> None:
        going.wait(10)
        feed(scanner, data)
        looked[0] += len(data)

    monkeypatch.setattr(TarScanner, "feed", slow)
    threading.Timer(0.05, going.set).start()
    with TableThread() as builder:
        for at in range(0, len(TAR), MIB):
            builder.data(TAR[at : at + MIB])
            given += min(MIB, len(TAR) - at)
            assert given - looked[0] <= AHEAD + 2 * MIB
        assert len(builder.finish()) == 4


def test_a_pass_that_reads_the_tar_gets_all_of_it_in_buffers_that_are_used_again() -> None:
    tar, buffers = TAR + bytes(20 * MIB), {}
    with TableThread() as builder:
        seen = sha256()
        for piece in builder.read(BytesReader(tar)):
            seen.update(piece)
            buffers[id(piece.obj)] = piece.obj  # which keeps another one from getting this id
        assert builder.finish().encode() == made(tar).encode()
    assert seen.digest() == sha256(tar).digest()
    assert len(buffers) <= AHEAD // BUFFER + 2 < len(tar) // BUFFER


def test_a_tar_that_is_broken_or_cut_off_is_an_error() -> None:
    for tar in (TAR[:-30_000], b"x" * 2048 + TAR):
        with pytest.raises(FormatError):
            made(tar)


def test_what_goes_wrong_in_the_thread_is_raised_at_the_end_and_the_pass_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_scanner: TarScanner, _data: bytes | memoryview) -> None:
        raise MemoryError

    monkeypatch.setattr(TarScanner, "feed", fail)
    with pytest.raises(MemoryError):
        made(TAR)


def test_a_pass_that_fails_does_not_wait_for_the_thread_which_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    going, fed = threading.Event(), []

    def slow(_scanner: TarScanner, data: bytes | memoryview) -> None:
        fed.append(len(data))
        going.wait(10)

    monkeypatch.setattr(TarScanner, "feed", slow)
    before = set(threading.enumerate())
    with contextlib.suppress(ZeroDivisionError), TableThread() as builder:
        builder.data(TAR[:MIB])
        builder.data(TAR[MIB : 2 * MIB])
        raise ZeroDivisionError
    (thread,) = set(threading.enumerate()) - before
    going.set()
    thread.join(10)
    assert not thread.is_alive()
    assert len(fed) <= 1, "what waited is not looked at any more"
