"""Buckets that want more with each request: object lock, requester pays, encryption; and tokens that end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.stores import make_bucket
from servers.strict_store import StrictStore, encrypted, object_lock, requester_pays, token_is

from layercache.backend import open_backend
from layercache.backend.capabilities import Exclusive
from layercache.errors import BackendError, ConfigError, NotFoundError
from layercache.testing import get, put
from layercache.testing.base import pattern
from layercache_backends.s3.backend import S3Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

ARN = "arn:aws:kms:eu-west-1:1:key/2"
SMALL, BIG = b"small" * 100, 9 << 20


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture
def strict(moto_endpoint: str) -> Iterator[StrictStore]:
    with StrictStore(moto_endpoint) as server:
        yield server


@pytest.fixture(params=["fsspec", "obstore"])
def opened(
    request: pytest.FixtureRequest, strict: StrictStore, moto_endpoint: str
) -> Iterator[Callable[..., S3Backend]]:
    """Opens a new bucket with more options, by either engine."""
    backends: list[S3Backend] = []

    def open_(options: str = "") -> S3Backend:
        bucket = make_bucket(moto_endpoint)
        url = f"s3://{bucket}/layers?endpoint_url={strict.url}&engine={request.param}&timeout=60{options}"
        backend = open_backend(url)
        assert isinstance(backend, S3Backend)
        backends.append(backend)
        return backend

    yield open_
    for backend in backends:
        backend.close()


def use(backend: S3Backend) -> None:
    """Everything that a backend does with a bucket."""
    data = pattern(BIG)
    with pytest.raises(NotFoundError):
        backend.stat("small")
    put(backend, "small", SMALL)
    put(backend, "empty", b"")
    put(backend, "big", data)
    assert isinstance(backend, Exclusive)
    assert backend.create_new("once", SMALL)
    assert get(backend, "small") == SMALL
    assert backend.stat("empty").size == 0
    assert backend.stat("big").size == BIG
    with backend.open("big", 5, 100) as reader:
        assert reader.read() == data[5:100]
    assert {entry.key for entry in backend.scan()} == {"small", "empty", "big", "once"}
    with backend.create("left") as sink:
        sink.write(data)
    assert backend.remove_leftovers(0) == 0
    backend.delete("small")
    backend.delete("once")
    with pytest.raises(NotFoundError):
        backend.open("small")


def test_a_bucket_with_object_lock_gets_a_hash_of_all_that_is_sent(
    strict: StrictStore, opened: Callable[..., S3Backend]
) -> None:
    backend = opened()
    strict.demands = [object_lock]
    use(backend)
    assert len(strict.refused) <= 3, "it is learnt once, by each way and by each of two parts in flight"
    strict.refused.clear()
    use(backend)
    assert not [asked for asked in strict.refused if "x-amz-checksum-sha256" in asked.headers]
    assert len(strict.refused) <= 1


def test_a_bucket_without_object_lock_is_sent_no_hash(
    strict: StrictStore, opened: Callable[..., S3Backend]
) -> None:
    """Taking MD5 costs more than sending: it is for those who ask for it."""
    use(opened())
    sums = ("content-md5", "x-amz-checksum-sha256")
    assert not [
        asked for asked in strict.asked if asked.sends_bytes and any(s in asked.headers for s in sums)
    ]


def test_a_refusal_that_only_resembles_it_is_not_asked_again(
    strict: StrictStore, opened: Callable[..., S3Backend]
) -> None:
    backend = opened()
    strict.demands = [encrypted("aws:kms")]
    with pytest.raises(BackendError, match="explicit deny"):
        put(backend, "small", SMALL)
    assert len(strict.refused) <= 2, "once by each way"


def test_who_pays_is_said_in_each_request(strict: StrictStore, opened: Callable[..., S3Backend]) -> None:
    strict.demands = [requester_pays]
    use(opened("&requester_pays=true"))
    assert strict.refused == []
    with pytest.raises(BackendError, match="AccessDenied"):
        opened().stat("small")


@pytest.mark.parametrize(
    ("options", "demand"),
    [
        ("&sse=AES256", encrypted("AES256")),
        ("&sse=aws:kms", encrypted("aws:kms")),
        (f"&sse=aws:kms&sse_kms_key_id={ARN}", encrypted("aws:kms", ARN)),
        ("&sse_kms_key_id=alias/layers", encrypted("aws:kms", "alias/layers")),
    ],
)
def test_encryption_is_asked_for_where_an_object_begins_and_nowhere_else(
    options: str, demand: Callable[..., None], strict: StrictStore, opened: Callable[..., S3Backend]
) -> None:
    strict.demands = [demand]
    use(opened(options))
    assert strict.refused == []


def test_all_demands_at_once(strict: StrictStore, opened: Callable[..., S3Backend]) -> None:
    strict.demands = [object_lock, requester_pays, encrypted("aws:kms", "k")]
    use(opened("&requester_pays=true&sse=aws:kms&sse_kms_key_id=k"))
    assert len(strict.refused) <= 3


@pytest.mark.parametrize(
    "options",
    ["sse=rot13", "sse=AES256&sse_kms_key_id=k", "requester_pays=perhaps", "sse_customer_key=s3cret"],
)
def test_options_that_make_no_sense_are_refused(options: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_backend(f"s3://bucket?{options}")
    assert "s3cret" not in str(caught.value)


class Tokens:
    """Credentials by a program that AWS's tools run: each run gives those of now."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        self._file = folder / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self._file))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
        self.current = "first"
        self.write("first")

    def write(self, token: str) -> None:
        self._file.write_text(
            f"[default]\naws_access_key_id=any\naws_secret_access_key=any\naws_session_token={token}\n"
        )

    def renew(self, token: str) -> None:
        self.current = token
        self.write(token)


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> Tokens:
    return Tokens(tmp_path, monkeypatch)


def test_after_a_token_has_ended_credentials_are_found_again_and_nobody_notices(
    strict: StrictStore, opened: Callable[..., S3Backend], tokens: Tokens
) -> None:
    backend = opened()
    strict.demands = [token_is(lambda: tokens.current)]
    use(backend)
    assert strict.refused == []
    tokens.renew("second")
    use(backend)
    assert 1 <= len(strict.refused) <= 2, "once by each way"
    tokens.renew("third")
    use(backend)


def test_a_write_in_parts_outlives_its_token(
    strict: StrictStore, opened: Callable[..., S3Backend], tokens: Tokens
) -> None:
    backend, data = opened(), pattern(26 << 20)
    strict.demands = [token_is(lambda: tokens.current)]
    with backend.create("big") as sink:
        sink.write(data[: 10 << 20])
        tokens.renew("second")
        sink.write(data[10 << 20 :])
        tokens.renew("third")
        sink.commit()
    tokens.renew("fourth")
    with backend.open("big") as reader:
        head = reader.read(1 << 20)
        tokens.renew("fifth")
        while piece := reader.read():
            head += piece
    assert head == data


def test_a_token_that_nobody_renews_is_an_error_after_one_more_try(
    strict: StrictStore, opened: Callable[..., S3Backend], tokens: Tokens
) -> None:
    backend = opened()
    strict.demands = [token_is(lambda: "other")]
    with pytest.raises(BackendError, match="ExpiredToken") as caught:
        backend.stat("small")
    assert "get new ones" in caught.value.hint
    assert len(strict.refused) == 2
    tokens.renew("other")
    with pytest.raises(NotFoundError):
        backend.stat("small")


def test_many_requests_at_once_find_new_credentials_once(
    strict: StrictStore, opened: Callable[..., S3Backend], tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from layercache_backends.s3.service import S3Service

    made = 0
    new_client = S3Service._new_client

    async def counted(*arguments: object) -> object:
        nonlocal made
        made += 1
        return await new_client(*arguments)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(S3Service, "_new_client", staticmethod(counted))
    backend = opened()
    strict.demands = [token_is(lambda: tokens.current)]
    put(backend, "small", SMALL)
    tokens.renew("second")
    with ThreadPoolExecutor(8) as pool:
        assert {entry.size for entry in pool.map(lambda _: backend.stat("small"), range(32))} == {len(SMALL)}
    assert made == 2
