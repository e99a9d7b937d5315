"""Errors of the local backend: each says what, where and what to do, and leaves what was there."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from fixtures.local_backend import refuse

from layercache.errors import BackendError, NotFoundError
from layercache.testing import KEY, get, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache_backends.local import LocalBackend


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "check who owns")],
)
def test_a_failed_write_says_what_where_and_what_to_do(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    put(backend, KEY, b"old")
    with backend.create(KEY) as sink:
        monkeypatch.setattr(os, "write", refuse(number))
        with pytest.raises(BackendError) as caught:
            sink.write(b"x")
        monkeypatch.undo()
        assert caught.value.message == f"file://{backend.root}: writing {KEY}: {os.strerror(number)}"
        assert hint in caught.value.hint
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(BackendError):
            sink.commit()  # what came before may be torn
    assert get(backend, KEY) == b"old"


def test_a_write_that_is_taken_in_parts_is_whole(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: really_write(fd, memoryview(data)[:7]))
    put(backend, KEY, b"0123456789" * 10)
    monkeypatch.undo()
    assert get(backend, KEY) == b"0123456789" * 10


def test_a_disk_that_fails_at_publishing_leaves_what_was_there(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, KEY, b"old")
    with backend.create(KEY) as sink:
        sink.write(b"new")
        monkeypatch.setattr(os, "replace", refuse(errno.EIO))
        with pytest.raises(BackendError, match=r"writing contract/.*Input/output error"):
            sink.commit()
    assert get(backend, KEY) == b"old"
    assert os.listdir(backend.path("tmp")) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_failure_to_look_is_not_taken_for_absence(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(backend, KEY, b"x")
    for name in ("stat", "unlink", "scandir"):
        monkeypatch.setattr(os, name, refuse(number))
    monkeypatch.setattr("layercache_backends.local.backend.WholeFile", refuse(number))
    looks: list[Callable[[], object]] = [
        lambda: backend.open(KEY),
        lambda: backend.stat(KEY),
        lambda: backend.delete(KEY),
        lambda: next(backend.scan()),
    ]
    for look in looks:
        with pytest.raises(BackendError, match=os.strerror(number)) as caught:
            look()
        assert isinstance(caught.value.__cause__, OSError)


def test_absence_says_where_was_looked(backend: LocalBackend) -> None:
    with pytest.raises(NotFoundError) as caught:
        backend.open(KEY)
    assert str(caught.value) == f"{KEY} does not exist\n  looked in  file://{backend.root}"


def test_an_object_below_an_object_is_refused(backend: LocalBackend) -> None:
    put(backend, "a", b"x")
    with backend.create("a/b") as sink, pytest.raises(BackendError, match=r"writing a/b: Not a directory"):
        sink.commit()
    put(backend, "b/c", b"x")
    with backend.create("b") as sink, pytest.raises(BackendError, match=r"writing b: Is a directory"):
        sink.commit()
    assert os.listdir(backend.path("tmp")) == []
