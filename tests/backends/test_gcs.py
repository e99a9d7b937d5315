"""Google Cloud Storage, against fake-gcs-server."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.google import Google
from servers.stores import at_address, server_of
from servers.strict_store import StrictStore, bearer_is

from layercache.backend import Backend, open_backend
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache.testing import KEY, BackendContract, Fault, FaultProxy, get, put
from layercache.testing.base import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.fake_gcs import FakeGCS


def url_of(server: FakeGCS, bucket: str, prefix: str = "a/prefix") -> str:
    return f"gs://{bucket}/{prefix}?endpoint_url={server.url}&token=anon&engine=fsspec"


@pytest.mark.slow
class TestGCS(BackendContract):
    shared_between_processes = True
    timeout = 0.5
    slack = 30.0
    speaks_http = True
    memory = 80 << 20  # of a slow connection eight ranges are read ahead
    kills = 8

    @pytest.fixture
    def url(self, fake_gcs: FakeGCS) -> str:
        return url_of(fake_gcs, fake_gcs.bucket())

    @pytest.fixture
    def backend(self, url: str, fake_gcs: FakeGCS) -> Iterator[Backend]:
        self.used = url
        self.server = server_of(fake_gcs.url)
        with closing(open_backend(url)) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(self.used)

    def through(self, host: str, port: int) -> Backend:
        return open_backend(at_address(self.used, host, port, self.timeout))

    def test_a_big_write_that_breaks_publishes_all_or_nothing(self, backend: Backend) -> None:
        """fake-gcs-server publishes an upload when it is asked how far it is: see test_gcs_upload."""


@pytest.mark.slow
class TestGCSByObstore(TestGCS):
    """Its reading: fake-gcs-server takes no writes from obstore."""

    @pytest.fixture
    def url(self, fake_gcs: FakeGCS) -> str:
        return by_obstore(url_of(fake_gcs, fake_gcs.bucket()))


def by_obstore(url: str) -> str:
    return url.replace("engine=fsspec", "engine=obstore")


@pytest.fixture
def proxy(fake_gcs: FakeGCS) -> Iterator[FaultProxy]:
    with FaultProxy(fake_gcs.port) as running:
        yield running


def test_both_schemes_and_a_prefix_name_one_place(fake_gcs: FakeGCS) -> None:
    bucket = fake_gcs.bucket()
    with closing(open_backend(url_of(fake_gcs, bucket))) as first:
        put(first, KEY, b"kept")
        assert first.url == f"gs://{bucket}/a/prefix"
        with closing(open_backend(url_of(fake_gcs, bucket).replace("gs://", "gcs://"))) as second:
            assert get(second, KEY) == b"kept"
    assert fake_gcs.names(bucket) == [f"a/prefix/{KEY}"]
    with closing(open_backend(url_of(fake_gcs, bucket, ""))) as whole:
        assert get(whole, f"a/prefix/{KEY}") == b"kept"


def test_names_that_are_no_keys_are_passed_over(fake_gcs: FakeGCS) -> None:
    bucket = fake_gcs.bucket()
    for name in ("p/", "p/.hidden", "p/a//b", "q/other"):
        fake_gcs.put(bucket, name, b"x")
    with closing(open_backend(url_of(fake_gcs, bucket, "p"))) as backend:
        put(backend, KEY, b"ours")
        assert [entry.key for entry in backend.scan()] == [KEY]


def test_a_missing_bucket_is_no_missing_object(fake_gcs: FakeGCS) -> None:
    # fake-gcs-server says the same 404 of both; so what asks for an object is tested in the service's words.
    with closing(open_backend(url_of(fake_gcs, "nosuchbucket"))) as backend:
        with pytest.raises(BackendError, match="no bucket nosuchbucket"):
            list(backend.scan())
        with pytest.raises(BackendError, match="no bucket nosuchbucket"):
            put(backend, KEY, b"x")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"No such object: bucket/a/b", NotFoundError),
        (b"The specified bucket does not exist.", BackendError),
        (b'{"error": {"code": 404, "message": "No such object: bucket/a/b"}}', NotFoundError),
        (b'{"error": {"code": 404, "message": "The specified bucket does not exist."}}', BackendError),
        (b"Not Found", BackendError),
        (b'{"error": "not found"}', BackendError),
    ],
)
def test_only_the_services_own_words_mean_absence(
    proxy: FaultProxy, body: bytes, kind: type[Exception]
) -> None:
    proxy.always = Fault(status=404, body=body)
    with closing(open_backend(f"gs://bucket?endpoint_url={proxy.url}&token=anon&engine=fsspec")) as backend:
        for ask in (backend.open, backend.stat):
            with pytest.raises(kind):
                ask("a/b")
        if kind is NotFoundError:
            assert len(proxy.requests) == 2, "a look-up is one request"


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_bytes_are_read_as_they_are_stored(fake_gcs: FakeGCS, engine: str) -> None:
    bucket, data = fake_gcs.bucket(), gzip.compress(b"text" * 1000)
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=blob&contentEncoding=gzip"
    assert fake_gcs.ask("POST", path, data)[0] == 200
    url = url_of(fake_gcs, bucket, "").replace("fsspec", engine)
    with closing(open_backend(url)) as backend:
        assert get(backend, "blob") == data
        assert get(backend, "blob", 3, 20) == data[3:20]


def test_many_readers_are_open_at_once(fake_gcs: FakeGCS) -> None:
    with closing(open_backend(url_of(fake_gcs, fake_gcs.bucket()))) as backend:
        data = pattern(4 << 20)
        put(backend, KEY, data)
        readers = [backend.open(KEY) for _ in range(110)]
        assert {reader.read(4) for reader in readers} == {data[:4]}
        for reader in readers:
            reader.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gs://", "no bucket"),
        ("gs://bucket/.hidden", "not a prefix"),
        ("gs://bucket?region=x", "unknown option region"),
        ("gs://bucket?timeout=0", "timeout"),
        ("gs://bucket?timeout=soon", "timeout"),
        ("gs://bucket?endpoint_url=localhost", "endpoint_url"),
        ("gs://bucket?endpoint_url=http://host:port", "endpoint_url"),
        ("gs://bucket?endpoint_url=http://host/path", "endpoint_url"),
        ("gs://bucket?endpoint_url=http://me:SECRET@host", "endpoint_url"),
        ("gs://bucket?token=SECRET", "expected the path of a credentials file, or anon"),
        ("gs://bucket?access_key=SECRET", "access_key"),
        ("gs://me:SECRET@bucket", "credentials"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_and_repeats_no_secret(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        open_backend(url)
    assert "SECRET" not in str(caught.value)


def test_a_file_that_holds_no_credentials_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text("SECRET, and no JSON")
    with closing(open_backend(f"gs://bucket?token={file}")) as backend:
        with pytest.raises(ConfigError, match="no credentials") as caught:
            backend.stat(KEY)
        assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.hint
        assert "SECRET" not in f"{caught.value}{backend!r}"


def test_nothing_is_imported_or_connected_before_it_is_used() -> None:
    code = (
        "import sys, threading; from layercache.backend import open_backend\n"
        "backend = open_backend('gs://bucket/prefix?token=anon'); backend.close()\n"
        "assert threading.active_count() == 1\n"
        "assert not {'gcsfs', 'fsspec', 'aiohttp', 'google.auth', 'obstore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_after_a_token_was_revoked_credentials_are_found_again_and_nobody_notices(
    engine: str, fake_gcs: FakeGCS, tmp_path: Path
) -> None:
    account = tmp_path / "account.json"
    data = pattern(17 << 20)
    with Google() as google, StrictStore(fake_gcs.url) as strict:
        account.write_text(json.dumps(google.account()))
        strict.demands = [bearer_is(lambda: google.token)]
        url = (
            f"gs://{fake_gcs.bucket()}/a?endpoint_url={strict.url}&token={account}&engine={engine}&timeout=60"
        )
        with closing(open_backend(url)) as backend:
            put(backend, KEY, b"first")
            assert strict.refused == []
            google.token = "another"
            assert get(backend, KEY) == b"first"
            assert 1 <= len(strict.refused) <= 2, "once by each way"
            put(backend, "big", data)
            with backend.open("big") as reader:
                google.token = "a third"
                assert reader.read() == data
            google.token = "a fourth"
            assert {entry.key for entry in backend.scan()} == {KEY, "big"}


def test_a_refused_token_that_stays_the_same_is_an_error_after_one_more_try(
    fake_gcs: FakeGCS, tmp_path: Path
) -> None:
    account = tmp_path / "account.json"
    with Google() as google, StrictStore(fake_gcs.url) as strict:
        account.write_text(json.dumps(google.account()))
        strict.demands = [bearer_is(lambda: "other")]
        where = f"gs://{fake_gcs.bucket()}/a?endpoint_url={strict.url}&engine=fsspec&token="
        for token, requests in ((account, 2), ("anon", 1)):
            strict.refused.clear()
            with (
                closing(open_backend(f"{where}{token}")) as backend,
                pytest.raises(BackendError, match="401 Invalid Credentials") as caught,
            ):
                backend.stat(KEY)
            assert "gcloud auth application-default login" in caught.value.hint
            assert len(strict.refused) == requests
