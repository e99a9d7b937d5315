"""A reader gives bytes of one version of an object, or an error; also where the server ignores If-Match."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.images import noise
from servers.replaced_object import ReplacedObject

from layercache.backend import open_backend
from layercache.errors import BackendError

if TYPE_CHECKING:
    from layercache.backend import Backend

OLD, NEW = noise(3 << 20, 1), noise(3 << 20, 2)


def read_into(got: bytearray, backend: Backend, server: ReplacedObject) -> None:
    with backend.open("blob") as reader:
        while piece := reader.read(64 << 10):
            got += piece
            server.cut.set()


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("ahead", [False, True], ids=["after a break", "by ranges ahead"])
def test_a_reader_never_goes_on_in_another_version_though_the_server_ignores_if_match(
    engine: str, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    if ahead:  # any connection counts as slow, so the rest is asked for as ranges
        for name, value in (("LOOK", 0.0), ("SLOW", 1e18), ("RANGE", 256 << 10)):
            monkeypatch.setattr(f"layercache_backends.objects.reader.{name}", value)
    got = bytearray()
    with ReplacedObject(OLD, NEW, breaks=len(OLD) if ahead else 2 << 20) as server:
        options = f"endpoint_url={server.url}&region=us-east-1&engine={engine}&timeout=60"
        backend = open_backend(f"s3://bucket/cache?{options}")
        with closing(backend), pytest.raises(BackendError, match="replaced or deleted"):
            read_into(got, backend, server)
    assert OLD.startswith(got)
    assert len(server.asked) > 1
    assert server.asked[-1].get("if-match") == '"old"', "only the version that was begun is asked for"


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_a_reader_gives_no_other_bytes_than_those_that_it_asked_for(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    got = bytearray()
    with ReplacedObject(OLD, OLD, breaks=2 << 20, ranges=False) as server:
        options = f"endpoint_url={server.url}&region=us-east-1&engine={engine}&timeout=60"
        with closing(open_backend(f"s3://bucket/cache?{options}")) as backend:
            with pytest.raises(BackendError, match="the requested range"):
                read_into(got, backend, server)
            with (
                pytest.raises(BackendError, match="the requested range"),
                backend.open("blob", 10, 20),
            ):
                pass
    assert OLD.startswith(got)
    assert len(got) < len(OLD)
