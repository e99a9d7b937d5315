"""Conditional writes to services: how many requests they take, and services that lack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.stores import make_bucket
from servers.strict_store import (
    Asked,
    GoogleRefusal,
    Refusal,
    StrictStore,
    conditions_ignored,
    conditions_unknown,
    tags_without_quotes,
)

from layercache.backend import open_backend
from layercache.errors import BackendError
from layercache.testing import KEY, get, put
from layercache_backends.objects.backend import ObjectBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers.fake_gcs import FakeGCS

pytestmark = pytest.mark.slow

WAYS = ["s3 fsspec", "s3 obstore", "gcs fsspec"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(way: str, request: pytest.FixtureRequest) -> Iterator[StrictStore]:
    """A service that heeds conditions as long as it has no demands."""
    behind = request.getfixturevalue("moto_endpoint" if way.startswith("s3") else "fake_gcs")
    with StrictStore(behind if isinstance(behind, str) else behind.url) as running:
        yield running


@pytest.fixture
def open_it(
    way: str, store: StrictStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], ObjectBackend]]:
    """Opens the same bucket anew, as another process does."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")  # obstore's, which only it would heed
    service, engine = way.split()
    if service == "s3":
        place = f"s3://{make_bucket(request.getfixturevalue('moto_endpoint'))}/layers?region=us-east-1"
    else:
        server: FakeGCS = request.getfixturevalue("fake_gcs")
        place = f"gs://{server.bucket()}/layers?token=anon"
    opened: list[ObjectBackend] = []

    def open_() -> ObjectBackend:
        backend = open_backend(f"{place}&endpoint_url={store.url}&engine={engine}&timeout=60")
        assert isinstance(backend, ObjectBackend)
        opened.append(backend)
        return backend

    yield open_
    for backend in opened:
        backend.close()


@pytest.fixture
def backend(open_it: Callable[[], ObjectBackend], store: StrictStore) -> ObjectBackend:
    """Connected, and no request of that counts."""
    backend = open_it()
    put(backend, "connected", b"")
    backend.delete("connected")
    store.asked.clear()
    return backend


def methods(store: StrictStore) -> list[str]:
    """The requests since the last call."""
    asked = [each.method for each in store.asked]
    store.asked.clear()
    return asked


def test_that_a_service_heeds_conditions_is_found_out_once_a_process(
    backend: ObjectBackend, store: StrictStore, open_it: Callable[[], ObjectBackend], way: str
) -> None:
    assert backend.honours_conditions()
    assert backend.honours_conditions()
    assert len(methods(store)) == (3 if way.startswith("s3") else 1)
    another = open_it()
    assert another.honours_conditions()
    assert len(methods(store)) == (2 if way.startswith("s3") else 1)
    assert list(backend.scan()) == []


def test_a_service_that_ignores_conditions_is_found_out(backend: ObjectBackend, store: StrictStore) -> None:
    store.demands = [conditions_ignored()]
    assert not backend.honours_conditions()
    assert not backend.honours_conditions()
    assert len(methods(store)) == 2
    assert list(backend.scan()) == []


@pytest.mark.parametrize("way", WAYS[:2], indirect=True)
@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
def test_a_service_has_to_heed_both_conditions(backend: ObjectBackend, store: StrictStore, name: str) -> None:
    store.demands = [conditions_ignored(name)]
    assert not backend.honours_conditions()
    assert len(methods(store)) <= 3


def test_a_service_that_knows_no_conditions_is_written_to_after_a_look(
    backend: ObjectBackend, store: StrictStore
) -> None:
    store.demands = [conditions_unknown]
    assert not backend.honours_conditions()
    assert len(methods(store)) == 1
    assert backend.create_new(KEY, b"first")
    methods(store)
    assert not backend.create_new(KEY, b"second")
    assert methods(store) == ["GET"], "once known, it is not tried again"
    assert get(backend, KEY) == b"first"
    with pytest.raises(BackendError, match="not implemented"):
        backend.write_if(KEY, b"second", "1")


def test_a_service_that_does_not_respond_is_asked_again(backend: ObjectBackend, store: StrictStore) -> None:
    store.demands = [lambda _: Refusal(403, "AccessDenied", "not now")]
    with pytest.raises(BackendError, match="trying conditional writes"):
        backend.honours_conditions()
    store.demands = []
    assert backend.honours_conditions()


def test_each_conditional_operation_is_one_request(backend: ObjectBackend, store: StrictStore) -> None:
    assert backend.create_new(KEY, b"first")
    assert not backend.create_new(KEY, b"second")
    data, version = backend.read_versioned(KEY)
    assert data == b"first"
    assert backend.write_if(KEY, b"second", version)
    assert len(methods(store)) == 4
    assert not backend.write_if(KEY, b"third", version)
    assert get(backend, KEY) == b"second"


@pytest.mark.parametrize("way", WAYS[:2], indirect=True)
def test_a_service_that_compares_tags_without_quotes_is_understood(
    backend: ObjectBackend, store: StrictStore, way: str
) -> None:
    store.demands = [tags_without_quotes]
    assert backend.honours_conditions()
    put(backend, KEY, b"0")
    version = ""
    for number in range(1, 4):
        data, version = backend.read_versioned(KEY)
        assert data == b"%d" % (number - 1)
        methods(store)
        assert backend.write_if(KEY, b"%d" % number, version)
    if way.endswith("fsspec"):
        assert methods(store) == ["PUT"], "once known, the quotes are omitted"
    assert not backend.write_if(KEY, b"late", version)
    assert get(backend, KEY) == b"3"


@pytest.mark.parametrize("way", WAYS[:2], indirect=True)
def test_a_write_that_collided_with_another_is_sent_again(backend: ObjectBackend, store: StrictStore) -> None:
    left = [Refusal(409, "ConditionalRequestConflict", "a conflicting operation is in progress")] * 2

    def collide(asked: Asked) -> Refusal | None:
        return left.pop() if asked.method == "PUT" and left else None

    store.demands = [collide]
    assert backend.create_new(KEY, b"first")
    assert not left
    assert get(backend, KEY) == b"first"
    assert not backend.create_new(KEY, b"second")


def break_off_once(store: StrictStore, meanwhile: Callable[[], object]) -> Callable[[], None]:
    """The next write breaks off, and something happens meanwhile. Returns how to do that again."""
    broken: list[Asked] = []

    def demand(asked: Asked) -> Refusal | None:
        if asked.method == "GET" or broken:
            return None
        broken.append(asked)
        meanwhile()
        kind = GoogleRefusal if "uploadType" in asked.query else Refusal
        return kind(503, "SlowDown", "reduce your request rate")

    store.demands = [demand]
    return broken.clear


@pytest.mark.parametrize("left", [b"", b"fir"], ids=["empty", "short"])
def test_what_a_service_has_kept_of_a_write_that_broke_off_is_replaced(
    backend: ObjectBackend, store: StrictStore, open_it: Callable[[], ObjectBackend], left: bytes
) -> None:
    other = open_it()
    again = break_off_once(store, lambda: put(other, KEY, left))
    assert backend.create_new(KEY, b"first")
    assert get(backend, KEY) == b"first"
    version = backend.read_versioned(KEY)[1]
    again()
    assert backend.write_if(KEY, b"first and second", version) == bool(left), "no bytes may be another's"


def test_a_write_after_a_failure_does_not_replace_that_of_another(
    backend: ObjectBackend, store: StrictStore, open_it: Callable[[], ObjectBackend]
) -> None:
    other = open_it()
    break_off_once(store, lambda: put(other, KEY, b"of another"))
    assert not backend.create_new(KEY, b"first")
    assert get(backend, KEY) == b"of another"
