"""Blobs of a bucket that are used get a new time, so that a lifecycle rule deletes only what nobody uses."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from servers.images import make_layer

import layercache
from layercache.backend import open_backend
from layercache.errors import BackendError
from layercache.testing import KEY, Fault, FaultProxy, get, put
from layercache.testing.base import pattern
from layercache.tiers.backend import use
from layercache_backends.s3 import service as s3

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxied import ProxiedBucket
    from servers.fake_gcs import FakeGCS

    from layercache.events import Event

LAYER = make_layer({"file": b"some bytes" * 1000})
BIG = pattern((11 << 20) + 7)


@dataclass
class Store:
    """A bucket behind a proxy that counts. ``touch``: how the request begins that refreshes an object."""

    url: str
    proxy: FaultProxy
    touch: str

    def touches(self) -> int:
        return self.proxy.asked(self.touch)


@pytest.fixture
def store(proxied: ProxiedBucket) -> Store:
    touch = "PATCH " if proxied.scheme == "gs" else f"PUT /{proxied.bucket}/{proxied.prefix}"
    url = f"{proxied.place}?endpoint_url={proxied.proxy.url}{proxied.options}"
    return Store(url, proxied.proxy, touch)


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """With a layer, and nothing counted yet."""
    with (
        layercache.open([str(tmp_path / "first"), store.url]) as cache,
        open(tmp_path / "blob", "wb") as blob,
    ):
        blob.write(LAYER.blob)
        blob.flush()
        cache.put(tmp_path / "blob")
    store.proxy.requests.clear()
    return store


@pytest.fixture
def _old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written just now counts as older than a day."""
    monkeypatch.setattr(use, "DAY", -60.0)


def read(store: Store, near: Path, options: str = "", times: int = 1) -> list[Event]:
    """Read the layer on a machine that does not have it; returns what happened."""
    events: list[Event] = []
    far = store.url + options
    for number in range(times):
        cache = layercache.open([str(near / str(number)), far])
        with cache.watch(events.append), cache, cache.get(LAYER.digest).compressed() as reader:
            assert reader.read() == LAYER.blob
        assert cache.counters.refreshed == sum(each.kind == "refreshed" for each in events)
    return events


@pytest.mark.usefixtures("_old")
def test_what_is_used_a_day_later_gets_a_new_time_once(filled: Store, tmp_path: Path) -> None:
    before = time_of_the_blob(filled)
    time.sleep(1.1)  # the services' clocks tick once a second
    events = read(filled, tmp_path)
    assert [event.name for event in events if event.kind == "refreshed"] == [LAYER.digest]
    assert filled.touches() == 1
    assert time_of_the_blob(filled) > before


def time_of_the_blob(store: Store) -> float:
    with closing(open_backend(store.url)) as backend:
        (entry,) = backend.scan("blobs/")
    return entry.modified


def test_what_was_used_within_a_day_is_left_alone(filled: Store, tmp_path: Path) -> None:
    read(filled, tmp_path, times=2)
    assert filled.touches() == 0


def test_a_quarter_of_the_tiers_own_age_is_less_than_a_day(filled: Store, tmp_path: Path) -> None:
    time.sleep(2.1)
    read(filled, tmp_path, "&max_age=4s")
    assert filled.touches() == 1


@pytest.mark.usefixtures("_old")
@pytest.mark.parametrize("option", ["&touch=false", "&readonly=true"])
def test_no_time_is_changed_where_that_is_not_wanted(filled: Store, tmp_path: Path, option: str) -> None:
    read(filled, tmp_path, option)
    assert filled.touches() == 0


@pytest.mark.usefixtures("_old")
def test_who_may_only_read_is_refused_once_and_served_nevertheless(filled: Store, tmp_path: Path) -> None:
    filled.proxy.on(filled.touch, *[Fault(status=403)] * 20)
    with layercache.open([str(tmp_path / "near"), filled.url]) as cache:
        for _ in range(3):
            with cache.get(LAYER.digest).compressed() as reader:
                assert reader.read() == LAYER.blob
        cache.flush()
    assert filled.touches() == 1
    assert (cache.counters.refreshed, cache.counters.failed) == (0, 0)


@pytest.mark.usefixtures("_old")
def test_a_listing_is_not_a_use(filled: Store) -> None:
    with layercache.open(filled.url) as cache:
        assert list(cache.tiers[0].blobs.scan())
        assert list(cache.tiers[0].facts.scan())
        with cache.tiers[0].blobs.inspect(layercache.Digest(LAYER.digest)) as reader:
            assert reader.read() == LAYER.blob
    assert filled.touches() == 0


@pytest.mark.parametrize("proxied", ["s3-fsspec", "s3-obstore"], indirect=True)
def test_an_object_that_is_larger_than_one_copy_is_copied_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only S3 limits what is copied at once."""
    monkeypatch.setattr(s3, "COPY_MAX", 5 << 20)
    too_large = b"<Error><Code>InvalidRequest</Code><Message>larger than the maximum</Message></Error>"
    with closing(open_backend(store.url)) as backend:
        put(backend, KEY, BIG)
        before = backend.stat(KEY).modified
        time.sleep(1.1)
        store.proxy.on(store.touch, Fault(status=400, body=too_large))
        backend.touch(KEY)  # type: ignore[attr-defined]  # a capability
        assert backend.stat(KEY).modified > before
        assert get(backend, KEY) == BIG
    assert store.proxy.asked("partNumber=3") == 1


def test_a_copy_that_is_refused_for_another_reason_is_an_error(store: Store) -> None:
    with closing(open_backend(store.url)) as backend:
        put(backend, KEY, b"small")
        store.proxy.on(store.touch, Fault(status=400, body=b"<Error><Code>InvalidRequest</Code></Error>"))
        with pytest.raises(BackendError):
            backend.touch(KEY)  # type: ignore[attr-defined]  # a capability
        assert get(backend, KEY) == b"small"


@pytest.mark.parametrize("data", [b"small", pattern((17 << 20) + 1)], ids=["one request", "in parts"])
def test_what_is_written_to_google_has_a_custom_time_that_a_rule_can_count_from(
    fake_gcs: FakeGCS, data: bytes
) -> None:
    bucket = fake_gcs.bucket()
    with closing(open_backend(f"gs://{bucket}?endpoint_url={fake_gcs.url}&token=anon")) as backend:
        put(backend, KEY, data)
        assert backend.create_new("new", b"new")  # type: ignore[attr-defined]  # a capability
        assert get(backend, KEY) == data
    for key in (KEY, "new"):
        status, answer = fake_gcs.ask("GET", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}")
        assert status == 200
        assert "customTime" in json.loads(answer)
