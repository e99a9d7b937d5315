"""What a service sees without watching events: standard logging, once for a loss and once for its end."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import put, read, sample
from fixtures.stores import Fetch, Store, far, near, open_cache, refuses_writes, write_blob

from layercache import events
from layercache.backend import CircuitBreaker
from layercache.events import Event, Observers
from layercache.oci.reference import Reference
from layercache.registry.on_demand import ClientOnDemand
from layercache.registry.retry import TransientError
from layercache.registry.settings import RegistrySettings
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.backend import Backend

LAYER = sample(1)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "layercache")
    return caplog


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tier that failed is asked again at once, as half a minute later."""
    monkeypatch.setattr(CircuitBreaker, "why", None)
    monkeypatch.setattr(CircuitBreaker, "is_open", False)


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


def bucket(inner: Backend | None = None) -> Store:
    return Store(inner or MemoryBackend(), url="store://bucket")


@pytest.mark.usefixtures("restless")
def test_a_tier_that_is_lost_is_one_warning_and_its_return_another(log: pytest.LogCaptureFixture) -> None:
    store = bucket()
    write_blob(store.inner, LAYER.digest, LAYER.blob)
    with open_cache(near(), far(store)) as cache:
        store.fails = lambda _did, _key: True
        for seed in range(3, 6):
            other = sample(seed)
            read(cache.layer(other.digest, fetch=Fetch(other.blob)).compressed())
        (lost,) = warnings(log)
        assert lost.startswith("store://bucket failed and is skipped: ")
        assert "fails on purpose" in lost
        store.fails = lambda _did, _key: False
        log.clear()
        for seed in range(7, 10):
            other = sample(seed)
            read(cache.layer(other.digest, fetch=Fetch(other.blob)).compressed())
        cache.flush()
        assert warnings(log) == ["store://bucket answers again"]
        log.clear()
        store.fails = lambda _did, _key: True
        read(cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).compressed())
        assert len(warnings(log)) == 1, "the next loss is another one"


@pytest.mark.usefixtures("restless")
def test_a_disk_that_is_full_is_not_back_because_it_can_be_read(log: pytest.LogCaptureFixture) -> None:
    store = bucket()
    write_blob(store.inner, LAYER.digest, LAYER.blob)
    with open_cache(far(store)) as cache:
        store.fails = refuses_writes
        read(cache.layer(sample(2).digest, fetch=Fetch(sample(2).blob)).compressed())
        assert len(warnings(log)) == 1
        read(cache.layer(LAYER.digest).compressed())
        assert len(warnings(log)) == 1
        store.fails = lambda _did, _key: False
        put(cache, sample(2).blob)
        assert warnings(log)[1:] == ["store://bucket answers again"]


@pytest.mark.usefixtures("restless")
def test_a_mirror_that_is_lost_is_one_warning_and_its_return_another(log: pytest.LogCaptureFixture) -> None:
    settings = RegistrySettings(mirrors={"docker.io": ("mirror.example",)}, retries=0)
    client = ClientOnDemand(lambda: settings, Observers()).get()
    down = True

    def answer(place: Reference) -> str:
        if down and place.registry == "mirror.example":
            raise TransientError("no route to host")
        return place.registry

    def ask(name: str) -> str:
        return client.mirrors.ask(Reference.parse(name), answer)

    assert [ask("alpine"), ask("alpine")] == ["docker.io"] * 2
    assert warnings(log) == ["mirror.example/library/alpine failed and is skipped: no route to host"]
    down = False
    assert [ask("debian"), ask("alpine")] == ["mirror.example"] * 2
    assert warnings(log)[1:] == ["mirror.example/library/alpine answers again"]


def test_a_tier_that_rests_is_not_back(log: pytest.LogCaptureFixture) -> None:
    """An answer to a request that began before the failure says nothing about the tier."""
    store = bucket()
    with open_cache(near(), far(store)) as cache:
        store.fails = lambda _did, _key: True
        read(cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).compressed())
        tier = cache._asked[1]
        assert tier.lost
        tier.mark_answered()
        assert tier.lost
        assert len(warnings(log)) == 1


def test_what_is_fetched_is_information_and_the_rest_is_for_debugging(log: pytest.LogCaptureFixture) -> None:
    with open_cache() as cache:
        read(cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).uncompressed())
        read(cache.get(LAYER.diff_id).uncompressed())
    levels = {record.__dict__["event"].kind: record.levelname for record in log.records}
    assert levels == {
        "fetching": "DEBUG",
        "fetched": "INFO",
        "inflating": "DEBUG",
        "inflated": "DEBUG",
        "stored": "DEBUG",
        "hit": "DEBUG",
    }
    (fetched,) = [record.getMessage() for record in log.records if record.levelname == "INFO"]
    assert LAYER.digest in fetched
    assert f"{len(LAYER.blob)} bytes" in fetched


def test_a_hit_that_nobody_sees_makes_no_event(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Making one takes a tenth of the time of a small warm read."""
    caplog.set_level(logging.INFO, "layercache")
    with open_cache() as cache:
        put(cache, LAYER.blob)
        made: list[object] = []
        monkeypatch.setattr(events, "Event", lambda *args, **_: made.append(args))
        read(cache.get(LAYER.diff_id).uncompressed())
        assert (made, cache.counters.hits) == ([], 1)


@pytest.mark.parametrize("kind", ["hit", "fetched", "stored"])
def test_an_event_costs_nothing_where_its_level_is_off(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "layercache")
    formatted: list[str] = []
    monkeypatch.setattr(logging.Logger, "_log", lambda *args, **_: formatted.append(str(args)))
    Observers().emit(Event(kind, LAYER.digest, "compressed", "here"))  # type: ignore[arg-type]
    assert not formatted


def test_nothing_is_printed_and_nothing_imported_without_logging() -> None:
    code = """
import sys
from layercache.events import Event, Observers
from layercache.oci.digest import Digest
Observers().emit(Event("failed", None, "compressed", "s3://team", note="lost"))
assert "logging" not in sys.modules, "importing it takes milliseconds"
import logging
Observers().emit(Event("failed", None, "compressed", "s3://team", note="lost"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
