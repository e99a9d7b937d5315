"""S3 as a backend: the contract against moto and SeaweedFS, and what is particular to a service."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import uuid
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from botocore.auth import UNSIGNED_PAYLOAD
from servers.stores import at_address, make_bucket, server_of

from layercache.backend import open_backend
from layercache.backend.capabilities import Exclusive, Leftovers
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache.testing import KEY, BackendContract, get, put
from layercache.testing.base import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


class S3Contract(BackendContract):
    shared_between_processes = True
    memory = 80 << 20  # of a slow connection eight ranges are read ahead
    kills = 8

    @pytest.fixture
    def backend(self, bucket: str) -> Iterator[Backend]:
        self.whole_url = bucket
        with closing(open_backend(bucket)) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(self.whole_url)


class TestSeaweedFS(S3Contract):
    timeout = 0.5
    slack = 30.0
    speaks_http = True

    @pytest.fixture
    def bucket(self, seaweedfs_bucket: str, seaweedfs_endpoint: str) -> str:
        self.server = server_of(seaweedfs_endpoint)
        return seaweedfs_bucket

    def through(self, host: str, port: int) -> Backend:
        return open_backend(at_address(self.whole_url, host, port, self.timeout))

    def check_written(self, backend: Backend, key: str, data: bytes, found: object, what: str) -> None:
        """Of a request that breaks off after its head SeaweedFS 4 makes an empty object. The core finds these
        by their size, and the next put replaces them.
        """
        with suppress(NotFoundError):
            if isinstance(found, BackendError) and backend.stat(key).size == 0:
                return
        super().check_written(backend, key, data, found, what)

    def check_killed(self, backend: Backend, key: str, data: bytes, what: str) -> None:
        """A killed writer's request breaks off too (`check_written`): then the next put has to replace it."""
        if backend.stat(key).size == 0:
            put(backend, key, data)
        super().check_killed(backend, key, data, what)


@pytest.mark.slow
class TestSeaweedFSByObstore(TestSeaweedFS):
    @pytest.fixture
    def bucket(self, seaweedfs_bucket: str, seaweedfs_endpoint: str) -> str:
        self.server = server_of(seaweedfs_endpoint)
        return by_obstore(seaweedfs_bucket)


@pytest.mark.slow
class TestMoto(S3Contract):
    many = 1010  # more than one page, slowly
    big = (9 << 20) + 13
    heavy = 0  # takes 20 s a gigabyte
    kills = 3

    @pytest.fixture
    def bucket(self, moto_bucket: str) -> str:
        return moto_bucket

    def test_leftovers_are_removed(self, backend: Backend) -> None:
        """moto says of every upload that it was begun in 2010."""

    test_removing_leftovers_spares_a_young_writer = test_leftovers_are_removed

    def test_one_of_those_who_create_at_once_wins(self, backend: Backend) -> None:
        """moto compares, and then writes: two may win."""

    test_of_threads_that_change_one_object_none_undoes_another = test_one_of_those_who_create_at_once_wins
    test_of_processes_that_change_one_object_none_undoes_another = test_one_of_those_who_create_at_once_wins


def by_obstore(url: str) -> str:
    return url.replace("engine=fsspec", "engine=obstore")


@pytest.fixture
def moto_bucket(moto_endpoint: str) -> str:
    return f"s3://{make_bucket(moto_endpoint)}/team/layers?endpoint_url={moto_endpoint}&engine=fsspec"


@pytest.fixture
def seaweedfs_bucket(seaweedfs_endpoint: str, seaweedfs_bucket_name: str) -> str:
    """A prefix of the test's own."""
    return f"s3://{seaweedfs_bucket_name}/{uuid.uuid4().hex}?endpoint_url={seaweedfs_endpoint}&engine=fsspec"


def test_a_missing_bucket_is_no_missing_object(moto_endpoint: str) -> None:
    with closing(open_backend(f"s3://nosuchbucket?endpoint_url={moto_endpoint}")) as backend:
        for ask in (backend.open, backend.stat):
            with pytest.raises(BackendError, match="no bucket nosuchbucket"):
                ask("some/key")


def test_a_404_that_the_service_did_not_say_is_no_absence() -> None:
    import http.server
    import threading

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815  # http.server's name

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            url = f"s3://bucket?endpoint_url=http://127.0.0.1:{server.server_port}"
            with closing(open_backend(url)) as backend:
                for ask in (backend.open, backend.stat):
                    with pytest.raises(BackendError, match="404"):
                        ask("some/key")
        finally:
            server.shutdown()
            serving.join()


def test_a_refused_connection_is_an_error_at_once_and_no_absence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    with (
        closing(open_backend(f"s3://bucket?endpoint_url=http://127.0.0.1:{port}")) as backend,
        pytest.raises(BackendError, match="cannot connect") as failed,
    ):
        backend.open("some/key")
    assert failed.value.__cause__ is not None
    assert not isinstance(failed.value, NotFoundError)


def test_a_service_that_says_nothing_is_an_error_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"s3://bucket?timeout=0.3&endpoint_url=http://127.0.0.1:{silent.getsockname()[1]}"
        with closing(open_backend(url)) as backend:
            with pytest.raises(BackendError, match=r"no response for 0\.3 s"):
                backend.open("some/key")
            with backend.create("some/key") as sink:
                sink.write(b"data")
                with pytest.raises(BackendError):
                    sink.commit()


def test_missing_credentials_say_where_to_put_them(moto_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with closing(open_backend(moto_bucket)) as backend, pytest.raises(BackendError, match="AWS_PROFILE"):
        backend.open("some/key")


def test_a_wrong_secret_is_an_error_that_says_so(
    seaweedfs_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with closing(open_backend(seaweedfs_bucket)) as backend:
        for ask in (backend.open, backend.stat, backend.delete, lambda key: put(backend, key, b"data")):
            with pytest.raises(BackendError, match="secret key may be wrong"):
                ask("some/key")


def test_a_bucket_of_another_region_is_found() -> None:
    import http.server
    import threading

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = "/eu-west-1/s3/" in self.headers["Authorization"]
            body = b"data" if here else b"<Error><Code>PermanentRedirect</Code></Error>"
            self.send_response(200 if here else 301)
            self.send_header("x-amz-bucket-region", "eu-west-1")
            self.send_header("Last-Modified", self.date_time_string())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  # http.server's name

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            url = f"s3://bucket?endpoint_url=http://127.0.0.1:{server.server_port}"
            with closing(open_backend(url)) as backend, backend.open("some/key") as reader:
                assert reader.read() == b"data"
        finally:
            server.shutdown()
            serving.join()


def test_an_unknown_profile_is_a_config_error() -> None:
    with (
        closing(open_backend("s3://bucket?profile=nosuch")) as backend,
        pytest.raises(ConfigError, match="nosuch"),
    ):
        backend.open("some/key")


@pytest.mark.parametrize("option", ["key", "secret", "token", "password", "aws_secret_access_key"])
def test_a_credential_in_the_url_is_refused_and_not_repeated(option: str) -> None:
    with pytest.raises(ConfigError, match=option) as refused:
        open_backend(f"s3://bucket?{option}=hunter2")
    assert "hunter2" not in str(refused.value)


def test_a_credential_in_the_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="endpoint_url") as refused:
        open_backend("s3://bucket?endpoint_url=http://me:hunter2@host")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3:///prefix", "s3://bucket/.hidden", "s3://bucket/a//b", "s3://b?timeout=0", "s3://b?timeout=x",
        "s3://b?nosuch=1", "s3://b?endpoint_url=host", "s3://b?engine=steam",
    ],
)  # fmt: skip
def test_a_url_that_makes_no_sense_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError):
        open_backend(url)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layercache_backends.objects.backend.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'oci-layercache\[s3\]'"):
        open_backend("s3://bucket")


def test_opening_the_url_imports_no_sdk() -> None:
    program = (
        "import sys; from layercache.backend import open_backend; open_backend('s3://bucket').close();"
        "sdks = ('s3fs', 'botocore', 'aiohttp', 'obstore', 'asyncio');"
        "print([name for name in sdks if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['asyncio']")


def test_what_a_killed_writer_left_is_removed_and_what_is_young_is_spared(seaweedfs_bucket: str) -> None:
    with closing(open_backend(seaweedfs_bucket)) as backend:
        assert isinstance(backend, Leftovers)
        with backend.create("some/key") as sink:
            sink.write(bytes(9 << 20))
            assert backend.remove_leftovers(3600) == 0
            assert backend.remove_leftovers(-3600) == 1
            with pytest.raises(BackendError):
                sink.commit()
        with pytest.raises(NotFoundError):
            backend.stat("some/key")


def test_an_aborted_upload_leaves_no_parts(seaweedfs_bucket: str) -> None:
    with closing(open_backend(seaweedfs_bucket)) as backend:
        assert isinstance(backend, Leftovers)
        with backend.create("some/key") as sink:
            sink.write(bytes(17 << 20))
        assert backend.remove_leftovers(-3600) == 0


@pytest.mark.parametrize("slow", [False, True], ids=["one stream", "ranges ahead"])
def test_a_big_object_reads_right_however_it_is_read(
    seaweedfs_bucket: str, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from layercache_backends.objects import reader as object_reader

    monkeypatch.setattr(object_reader, "LOOK", 0.0)
    monkeypatch.setattr(object_reader, "SLOW", 1e15 if slow else 0.0)
    data = os.urandom(40 << 20)
    with closing(open_backend(seaweedfs_bucket)) as backend:
        with backend.create("big") as sink:
            sink.write(data)
            sink.commit()
        with backend.open("big", 5) as reader:
            first = reader.read(100)
            assert isinstance(reader._source, object_reader.Prefetcher) is slow  # type: ignore[attr-defined]
            assert first + reader.read() == data[5:]


def test_an_object_that_changed_is_not_gone_on_with(seaweedfs_bucket: str) -> None:
    with closing(open_backend(seaweedfs_bucket)) as backend:
        put(backend, "key", b"old" * (4 << 20))
        with backend.open("key") as reader:
            reader.read(10)
            put(backend, "key", b"new" * (4 << 20))
            reader._session.soon(reader._source.close)  # type: ignore[attr-defined]  # as a break would
            with pytest.raises(BackendError):
                reader.read()


def test_a_broken_stream_goes_on_at_its_offset(seaweedfs_bucket: str) -> None:
    data = bytes(range(256)) * 40_000
    with closing(open_backend(seaweedfs_bucket)) as backend:
        with backend.create("key") as sink:
            sink.write(data)
            sink.commit()
        with backend.open("key") as reader:
            seen = reader.read(1000)
            reader._session.soon(reader._source.close)  # type: ignore[attr-defined]
            assert seen + reader.read() == data


@pytest.mark.parametrize(
    ("url", "guarded"),
    [
        ("https://s3.example.org/bucket", True),
        ("http://127.0.0.1:8333/bucket", True),
        ("http://[::1]:8333/bucket", True),
        ("http://localhost/bucket", True),
        ("http://192.168.1.5:9000/bucket", False),
        ("http://127.0.0.1.example.org/bucket", False),
        ("http://localhost.example.org/bucket", False),
        ("http://minio:9000/bucket", False),
    ],
)
def test_bytes_are_signed_where_others_could_change_them(url: str, guarded: bool) -> None:
    from layercache_backends.s3.requests import is_guarded

    assert is_guarded(url) is guarded


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_the_signature_of_what_is_sent_in_the_clear_holds_its_hash(
    seaweedfs_bucket: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    from layercache_backends.s3 import requests

    signed: list[str] = []

    def remember(signer: requests._Signer, request: object) -> str:
        signed.append(signer.body_hash)
        return signer.body_hash

    monkeypatch.setattr(requests, "is_guarded", lambda _: False)
    monkeypatch.setattr(requests._Signer, "payload", remember)
    data = pattern(size)
    with closing(open_backend(seaweedfs_bucket)) as backend:
        put(backend, KEY, data)
        assert get(backend, KEY) == data
    parts = [data[start : start + (8 << 20)] for start in range(0, size, 8 << 20)]
    assert {hashlib.sha256(part).hexdigest() for part in parts} <= set(signed)
    assert UNSIGNED_PAYLOAD not in signed


def test_parts_grow_so_that_ten_thousand_suffice() -> None:
    from layercache_backends.objects.sink import part_size

    total = 0
    for _ in range(10_000):
        total += part_size(total)
    assert total > 50e12
    assert part_size(0) == 8 << 20


@pytest.mark.parametrize("service", ["moto_bucket", "seaweedfs_bucket"])
def test_an_object_is_created_only_where_its_name_is_free(
    service: str, request: pytest.FixtureRequest
) -> None:
    with closing(open_backend(request.getfixturevalue(service))) as backend:
        assert isinstance(backend, Exclusive)
        assert backend.create_new(KEY, b"first")
        assert not backend.create_new(KEY, b"second")
        assert get(backend, KEY) == b"first"
