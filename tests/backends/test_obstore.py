"""The direct way to a bucket, by obstore: what goes it, what does not, and that nothing else is different."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import traceback
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.google import Google
from servers.stores import make_bucket

from layercache.backend import Backend, open_backend
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache.testing import KEY, Fault, FaultProxy, assert_absent, get, in_forked_child, put
from layercache.testing.base import pattern
from layercache_backends.objects import reader as object_reader
from layercache_backends.objects.reader import ObjectReader
from layercache_backends.obstore.reader import DirectReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.fake_gcs import FakeGCS

DATA = pattern(50_000)
BIG = pattern((17 << 20) + 5)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture
def proxy(seaweedfs_endpoint: str) -> Iterator[FaultProxy]:
    with FaultProxy(int(seaweedfs_endpoint.rpartition(":")[2])) as running:
        yield running


@pytest.fixture
def url(proxy: FaultProxy, seaweedfs_bucket_name: str) -> str:
    """Of a prefix of the test's own."""
    return f"s3://{seaweedfs_bucket_name}/{uuid.uuid4().hex}?endpoint_url={proxy.url}"


@pytest.fixture
def backend(url: str) -> Iterator[Backend]:
    with closing(open_backend(url)) as backend:
        yield backend


@pytest.fixture
def no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not done by obstore fails."""
    from layercache_backends.gcs.service import GCSService
    from layercache_backends.s3.service import S3Service

    async def fail(*_: object, **__: object) -> None:
        raise AssertionError("not by obstore")

    for service in (S3Service, GCSService):
        for name in ("get", "put"):
            monkeypatch.setattr(service, name, fail)


def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "layercache_backends.objects.backend.find_spec", lambda name: name != "obstore" or None
    )


@pytest.mark.usefixtures("no_other_way")
def test_small_objects_go_by_obstore_where_it_is_installed(backend: Backend) -> None:
    put(backend, KEY, DATA)
    assert get(backend, KEY) == DATA
    assert get(backend, KEY, 7) == DATA[7:]
    assert get(backend, KEY, 7, 1000) == DATA[7:1000]
    assert get(backend, KEY, 7, 1 << 30) == DATA[7:]
    put(backend, KEY, b"")
    assert get(backend, KEY) == b""


@pytest.mark.usefixtures("no_other_way")
def test_big_objects_are_read_by_obstore_too(fake_gcs: FakeGCS) -> None:
    bucket = fake_gcs.bucket()
    fake_gcs.put(bucket, "big", BIG)
    with closing(open_backend(f"gs://{bucket}?endpoint_url={fake_gcs.url}&token=anon")) as backend:
        with backend.open("big", 5) as reader:
            assert isinstance(reader, DirectReader)
            buffer = bytearray(len(BIG))
            seen = 0
            while count := reader.readinto(memoryview(buffer)[seen : seen + 100_001]):
                seen += count
        assert buffer[:seen] == BIG[5:]


@pytest.mark.parametrize("engine", ["fsspec", "auto"])
def test_engine_fsspec_leaves_obstore_alone_and_auto_does_without_it(
    url: str, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "auto":
        not_installed(monkeypatch)
    with closing(open_backend(f"{url}&engine={engine}")) as backend:
        put(backend, KEY, DATA)
        with backend.open(KEY) as reader:
            assert isinstance(reader, ObjectReader)
            assert reader.read() == DATA


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_an_engine_that_is_not_installed_says_how_to_install_it(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_installed(monkeypatch)
    extra = {"s3": "s3", "gs": "gcs"}[scheme]
    with pytest.raises(ConfigError, match=rf"pip install 'oci-layercache\[{extra},fast\]'"):
        open_backend(f"{scheme}://bucket?engine=obstore")


def test_an_unknown_engine_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="engine"):
        open_backend("gs://bucket?engine=steam")


def test_a_miss_is_one_request_and_names_no_secret(backend: Backend, proxy: FaultProxy) -> None:
    put(backend, KEY, DATA)
    before = len(proxy.requests)
    with pytest.raises(NotFoundError) as caught:
        backend.open("some/key")
    assert len(proxy.requests) == before + 1
    told = "".join(traceback.format_exception(caught.value))
    assert "Signature=" not in told
    assert "Authorization" not in told


def test_a_failure_is_met_by_the_other_way_and_obstore_rests(backend: Backend, proxy: FaultProxy) -> None:
    put(backend, KEY, DATA)
    proxy.on("GET /", Fault(status=503))
    assert get(backend, KEY) == DATA
    with backend.open(KEY) as reader:
        assert isinstance(reader, ObjectReader)
    backend._session.direct._breaker.close()  # type: ignore[attr-defined]  # it has rested
    with backend.open(KEY) as reader:
        assert isinstance(reader, DirectReader)


@pytest.mark.parametrize("why", ["broken", "slow"])
def test_reading_goes_over_in_mid_object_without_a_seam(
    backend: Backend, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    put(backend, KEY, BIG)
    if why == "slow":
        monkeypatch.setattr(object_reader, "LOOK", 0.0)
        monkeypatch.setattr(object_reader, "SLOW", 1e15)
    else:
        proxy.on("GET /", Fault(cut_answer=9 << 20))
    with backend.open(KEY, 3) as reader:
        assert isinstance(reader, DirectReader)
        first = reader.read(10)
        assert first + reader.read() == BIG[3:]
        assert reader._other


def test_an_object_of_a_versioned_bucket_is_gone_on_with(moto_endpoint: str) -> None:
    import botocore.session

    bucket = make_bucket(moto_endpoint)
    with closing(botocore.session.get_session().create_client("s3", endpoint_url=moto_endpoint)) as client:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    data = pattern(700_000)
    with FaultProxy(int(moto_endpoint.rpartition(":")[2])) as proxy:
        url = f"s3://{bucket}/prefix?endpoint_url={proxy.url}"
        with closing(open_backend(url)) as backend:
            put(backend, KEY, data)
            proxy.on("GET /", Fault(cut_answer=200_000))
            with backend.open(KEY) as reader:
                assert isinstance(reader, DirectReader)
                assert reader.read() == data
                assert reader._other


def test_a_sink_of_a_closed_backend_publishes_nothing(backend: Backend) -> None:
    put(backend, f"{KEY}-other", DATA)
    with backend.create(KEY) as sink:
        sink.write(DATA)
        backend.close()
        with pytest.raises(BackendError, match="has been closed"):
            sink.commit()
    assert_absent(backend, KEY)


def test_an_object_that_was_replaced_is_not_gone_on_with(backend: Backend, proxy: FaultProxy) -> None:
    put(backend, KEY, BIG)
    proxy.on("GET /", Fault(cut_answer=9 << 20))
    with backend.open(KEY) as reader:
        put(backend, KEY, bytes(len(BIG)))
        with pytest.raises(BackendError, match=r"replaced|Precondition"):
            reader.read()


# Forks


def test_a_forked_child_goes_the_other_way(backend: Backend) -> None:
    put(backend, KEY, DATA)

    def work() -> str:
        with backend.open(KEY) as reader:
            assert reader.read() == DATA
            put(backend, f"{KEY}-child", DATA)
            return type(reader).__name__

    assert get(backend, KEY) == DATA
    assert in_forked_child(work) == "ObjectReader"
    assert get(backend, f"{KEY}-child") == DATA


def test_a_forked_child_cannot_read_on_for_its_parent(backend: Backend) -> None:
    put(backend, KEY, BIG)
    with backend.open(KEY) as reader:
        assert isinstance(reader, DirectReader)
        first = reader.read(10)

        def work() -> None:
            try:
                reader.read()
            finally:
                reader.close()

        assert in_forked_child(work) == "BackendError"
        assert first + reader.read() == BIG


def test_a_child_that_was_forked_before_has_obstore_of_its_own(url: str) -> None:
    program = textwrap.dedent("""
        import os, sys
        from layercache.backend import open_backend
        backend = open_backend(sys.argv[1])
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        with backend.create("key") as sink:
            sink.write(b"data")
            sink.commit()
        with backend.open("key") as reader:
            assert type(reader).__name__ == "DirectReader"
            assert reader.read() == b"data"
        os._exit(0)
    """)
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)


# Credentials


@pytest.mark.usefixtures("no_other_way")
def test_credentials_are_those_that_botocore_finds(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here from a program that a profile names, of which obstore knows nothing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    given = tmp_path / "credentials.json"
    given.write_text(json.dumps({"Version": 1, "AccessKeyId": "any", "SecretAccessKey": "any"}))
    config = tmp_path / "config"
    config.write_text(f"[profile team]\ncredential_process = cat {given}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with closing(open_backend(f"{url}&profile=team")) as backend:
        put(backend, KEY, DATA)
        assert get(backend, KEY) == DATA


@pytest.mark.usefixtures("no_other_way")
def test_variables_that_only_obstore_knows_change_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_REGION": "eu-west-1",
        "AWS_S3_EXPRESS": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }.items():
        monkeypatch.setenv(name, value)
    with closing(open_backend(f"{url}&region=us-east-1")) as backend:
        put(backend, KEY, DATA)
        assert get(backend, KEY) == DATA


def test_a_wrong_secret_is_told_by_the_other_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with closing(open_backend(f"{url}&engine=obstore")) as backend:
        for ask in (backend.open, lambda key: put(backend, key, b"data")):
            with pytest.raises(BackendError, match="secret key may be wrong") as caught:
                ask("some/key")
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.fixture
def google() -> Iterator[Google]:
    """As storage.googleapis.com, in what obstore asks of it."""
    with Google() as running:
        yield running


@pytest.mark.usefixtures("no_other_way")
def test_google_is_read_with_the_token_that_gcsfs_has(google: Google, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps(google.account()))
    url = f"gs://bucket/prefix?endpoint_url={google.url}&token={account}&project=payer"
    with closing(open_backend(url)) as backend:
        google.objects["/bucket/prefix/a/b"] = DATA
        assert get(backend, "a/b") == DATA
        with pytest.raises(NotFoundError):
            backend.open("a/c")
    assert google.payers == {"payer"}
    assert google.bearers == {f"Bearer {Google.token}"}
