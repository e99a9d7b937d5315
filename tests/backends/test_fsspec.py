"""Any fsspec file system as a backend: its local and its memory file system, and what a URL may say."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

import fsspec
import pytest
from servers.sftp import CREDENTIALS, SFTPServer

from layercache.backend import open_backend
from layercache.backend.capabilities import Leftovers
from layercache.errors import BackendError, ConfigError
from layercache.testing import KEY, BackendContract, get, put
from layercache.testing.base import TEXT, in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.backend import Backend


@pytest.mark.slow
class TestFsspecLocal(BackendContract):
    shared_between_processes = True
    many = 100

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        with closing(open_backend(f"fsspec+local://{tmp_path}/cache")) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(backend.url)


class TestFsspecMemory(BackendContract):
    many = 100

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with closing(open_backend(f"fsspec+memory://cache-{uuid.uuid4().hex}/layers")) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(backend.url)


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SFTPServer]:
    """A server of this test's own, and fsspec's configuration holds what it wants to know."""
    (folder := tmp_path / "sftp").mkdir()
    monkeypatch.setitem(fsspec.config.conf, "sftp", dict(CREDENTIALS))
    with SFTPServer(folder) as running:
        yield running


@pytest.mark.slow
class TestFsspecSFTP(BackendContract):
    shared_between_processes = True
    many = 100
    big = (9 << 20) + 13
    heavy = 0  # the server's encryption is slow, and `TestFsspecLocal` has the same streams
    kills = 3
    timeout = 1.0
    slack = 30.0

    @pytest.fixture
    def backend(self, sftp: SFTPServer) -> Iterator[Backend]:
        self.used = sftp.url("cache")
        self.server = "127.0.0.1", sftp.port
        with closing(open_backend(self.used)) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(self.used)

    def through(self, host: str, port: int) -> Backend:
        return open_backend(f"fsspec+sftp://{host}/cache?port={port}&timeout={self.timeout}")


def test_threads_have_connections_of_their_own_and_those_that_end_leave_them_to_others(
    sftp: SFTPServer,
) -> None:
    with closing(open_backend(sftp.url("cache"))) as backend:
        put(backend, KEY, TEXT)
        assert sftp.accepted == 1
        both = threading.Barrier(2)

        def read(_: int) -> None:
            reader = backend.open(KEY)
            with backend._connections.one():  # type: ignore[attr-defined]
                both.wait(60)
                assert reader.read() == TEXT

        for _ in range(2):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(read, range(2)))
        assert sftp.accepted == 4, "each thread holds one and reads by another"


def test_after_a_broken_connection_there_is_a_new_one(sftp: SFTPServer) -> None:
    with closing(open_backend(sftp.url("cache"))) as backend:
        put(backend, KEY, TEXT)
        sftp.drop()
        with pytest.raises(BackendError):
            backend.stat(KEY)
        assert get(backend, KEY) == TEXT


def test_a_refused_password_is_an_error_and_not_repeated(
    sftp: SFTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "sftp", {**CREDENTIALS, "password": "hunter2"})
    with closing(open_backend(sftp.url("cache"))) as backend:
        with pytest.raises(BackendError, match="Authentication failed") as refused:
            backend.stat(KEY)
        assert "hunter2" not in str(refused.value)


def test_writers_in_parallel_make_the_folders_that_they_share(sftp: SFTPServer) -> None:
    with closing(open_backend(sftp.url("not/there/yet"))) as backend:
        in_threads(lambda number: put(backend, f"a/b/c/{number}", TEXT), range(16))
        assert len(list(backend.scan())) == 16


def test_leftovers_of_a_killed_commit_are_removed_and_young_ones_are_spared(tmp_path: Path) -> None:
    folder = tmp_path / ".unfinished"
    folder.mkdir()
    for name, age in (("old", 5000), ("young", 5)):
        (folder / name).write_bytes(b"half")
        made = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (made, made))
    with closing(open_backend(f"fsspec+local://{tmp_path}")) as backend:
        assert isinstance(backend, Leftovers)
        assert list(backend.scan()) == []
        assert backend.remove_leftovers(3600) == 1
    assert [path.name for path in folder.iterdir()] == ["young"]


@pytest.mark.parametrize(
    "option", ["password", "key", "secret_key", "sas_token", "account_key", "client_secret"]
)
def test_a_credential_in_the_url_is_refused_and_not_repeated(option: str) -> None:
    with pytest.raises(ConfigError, match=option) as refused:
        open_backend(f"fsspec+memory://cache?{option}=hunter2")
    assert "hunter2" not in str(refused.value)


def test_options_reach_the_file_system_with_their_types(tmp_path: Path) -> None:
    with closing(open_backend(f"fsspec+local://{tmp_path}?auto_mkdir=true&max_paths=5&note=text")) as backend:
        list(backend.scan())
        with backend._connections.one() as files:  # type: ignore[attr-defined]
            given = files.storage_options
        options = {name: given[name] for name in ("auto_mkdir", "max_paths", "note")}
        assert options == {"auto_mkdir": True, "max_paths": 5, "note": "text"}


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"nosuch(.|\n)*memory"):
        open_backend("fsspec+nosuch://cache")


def test_a_protocol_without_its_package_says_which_one() -> None:
    with pytest.raises(ConfigError, match=r"(?i)install"):
        open_backend("fsspec+smb://host/share")


def test_an_error_of_the_file_system_keeps_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with closing(open_backend(f"fsspec+local://{tmp_path}/file")) as backend:
        with pytest.raises(BackendError, match="writing a/b") as failed, backend.create("a/b") as sink:
            sink.commit()
        assert isinstance(failed.value.__cause__, OSError)


def test_a_server_that_says_nothing_is_an_error_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"fsspec+http://127.0.0.1:{silent.getsockname()[1]}/cache?timeout=0.3"
        with closing(open_backend(url)) as backend:
            with pytest.raises(BackendError, match=r"stat of some/key: no response for 0\.3 s"):
                backend.stat("some/key")
            with pytest.raises(BackendError, match="option timeout"):
                next(backend.scan())


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "inf"])
def test_a_timeout_that_is_none_is_a_config_error(timeout: str) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        open_backend(f"fsspec+http://host/cache?timeout={timeout}")


def test_where_calls_cannot_be_given_up_timeout_is_the_file_systems_own() -> None:
    with closing(open_backend("fsspec+memory://cache?timeout=5")) as backend:
        list(backend.scan())
        with backend._connections.one() as files:  # type: ignore[attr-defined]
            given = files.storage_options
        assert given["timeout"] == 5


@pytest.mark.parametrize("given", ["hunter2", "a b/c", "x"])
def test_what_a_file_system_was_given_is_not_repeated_in_its_errors(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(self: object, path: str, **_: object) -> None:
        raise ValueError(f"cannot reach ftp://me:{given}@host with {given!r}, {quote(given)}, 4 tries: exit")

    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with closing(open_backend(f"fsspec+memory://cache?pin={quote(given)}&retries=4")) as backend:
        with pytest.raises(BackendError) as refused:
            backend.stat("some/key")
        assert refused.value.args[0].endswith("cannot reach ftp://…@host with '…', …, 4 tries: exit")
