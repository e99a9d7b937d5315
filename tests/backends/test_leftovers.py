"""What killed writers leave in a store is listed, and removed by its age; nothing else is."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.stores import make_bucket, server_of
from servers.strict_store import Asked, Refusal, StrictStore

from layercache.backend import open_backend
from layercache.backend.capabilities import Leftovers
from layercache.testing import Fault, FaultProxy, put
from layercache.tiers.leftovers import LeftoverCount, count_leftovers
from layercache_backends.s3.backend import S3Backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layercache.backend import Backend

PART = 8 << 20


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(params=["file", "fsspec+local", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "s3":
        # Not moto: to it every upload was begun in 2010.
        endpoint = request.getfixturevalue("seaweedfs_endpoint")
        bucket = request.getfixturevalue("seaweedfs_bucket_name")
        url = f"s3://{bucket}/{uuid.uuid4().hex}?endpoint_url={endpoint}&timeout=60"
    else:
        url = f"{request.param}://{tmp_path}/store"
    with closing(open_backend(url)) as opened:
        yield opened


def leave(backend: Backend, tmp_path: Path) -> int | None:
    """What a writer leaves that is killed now; its bytes, where the store states them."""
    if isinstance(backend, S3Backend):
        sink = backend.create("some/key")
        sink.write(bytes(PART + 1))
        sink._wait_for(0)
        sink._end()  # as if it were killed: nothing is aborted
        return None
    folder = tmp_path / "store" / (".unfinished" if backend.url.startswith("fsspec") else "tmp")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1-left").write_bytes(b"part")
    return 4


def test_a_store_without_leftovers_has_none(backend: Backend) -> None:
    put(backend, "blobs/sha256/abc", b"published")
    assert isinstance(backend, Leftovers)
    assert count_leftovers(backend) == LeftoverCount(0, 0, None)
    assert backend.remove_leftovers(0) == 0


def test_leftovers_are_listed_and_removed_by_age_and_nothing_else_is(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, "blobs/sha256/abc", b"published")
    size = leave(backend, tmp_path)
    assert isinstance(backend, Leftovers)
    found = count_leftovers(backend)
    assert found is not None
    assert (found.count, found.bytes) == (1, size)
    assert found.oldest is not None
    assert found.oldest < 3600
    assert backend.remove_leftovers(3600) == 0
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: now - 600)  # the store's clock is ahead of ours
        assert backend.remove_leftovers(60) == 0
        assert count_leftovers(backend) == LeftoverCount(1, size, 0.0)
        assert backend.remove_leftovers(0) == 1
    assert count_leftovers(backend) == LeftoverCount(0, 0, None)
    assert [entry.key for entry in backend.scan()] == ["blobs/sha256/abc"]


def test_an_upload_whose_first_answer_was_lost_is_found(moto_endpoint: str) -> None:
    """Nobody was killed: the service begins it, and the second try begins another one."""
    bucket = make_bucket(moto_endpoint)
    _, port = server_of(moto_endpoint)
    with FaultProxy(port) as proxy:
        url = f"s3://{bucket}/layers?endpoint_url={proxy.url}&timeout=60"
        with closing(open_backend(url)) as backend:
            assert isinstance(backend, S3Backend)
            proxy.on("POST", Fault(deaf=True))
            put(backend, "some/key", bytes(PART + 1))
            assert len(list(backend.leftovers())) == 1
            assert backend.remove_leftovers(0) == 1
            assert list(backend.leftovers()) == []
            assert backend.stat("some/key").size == PART + 1


def test_uploads_of_other_programs_are_not_ours(moto_endpoint: str) -> None:
    import botocore.session

    bucket = make_bucket(moto_endpoint)
    session = botocore.session.get_session()
    with closing(session.create_client("s3", endpoint_url=moto_endpoint, region_name="us-east-1")) as client:
        for name in ("other/db.tar", "layers/.hidden/db.tar", "layers/a name/db.tar", "layersdb.tar"):
            client.create_multipart_upload(Bucket=bucket, Key=name)
        client.create_multipart_upload(Bucket=bucket, Key="layers/blobs/sha256/abc")
        with closing(open_backend(f"s3://{bucket}/layers?endpoint_url={moto_endpoint}")) as backend:
            assert isinstance(backend, S3Backend)
            assert len(list(backend.leftovers())) == 1
            assert backend.remove_leftovers(0) == 1
        assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 4


def test_who_may_not_list_uploads_is_no_failure_of_stats_and_doctor(moto_endpoint: str) -> None:
    from fixtures.calling import Caller

    def forbidden(asked: Asked) -> Refusal | None:
        return Refusal(403, "AccessDenied", "Access Denied") if "uploads" in asked.query else None

    with StrictStore(moto_endpoint) as strict:
        strict.demands = [forbidden]
        cli = Caller(f"s3://{make_bucket(moto_endpoint)}/layers?endpoint_url={strict.url}&readonly=true")
        assert cli.json("stats")["tiers"][0]["leftovers"] is None
        told = cli.json("doctor")
        assert told["ok"]
        (check,) = [each for each in told["subjects"][0]["checks"] if each["check"] == "leftovers"]
        assert check["result"] == "warning"
        assert "cannot be listed" in check["detail"]
