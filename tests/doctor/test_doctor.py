"""``layercache doctor``: what works is said to, what does not is told with what to do, nothing is left."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.calling import Caller
from fixtures.stores import Store, content, far, near, refuses_writes

from layercache import BackendError
from layercache.doctor import check_source, check_tier
from layercache.registry.client import RegistryClient
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.registry import Registry

    from layercache.backend import Backend
    from layercache.doctor import Subject


def results(subject: Subject) -> dict[str, str]:
    return {check.name: check.result for check in subject.checks}


def checks(told: Any, number: int = 0) -> dict[str, str]:
    return {each["check"]: each["result"] for each in told["subjects"][number]["checks"]}


def test_a_cache_on_disk_is_fine_and_nothing_is_left(cli: Caller, tmp_path: Path) -> None:
    told = cli.json("doctor")
    assert told["ok"]
    assert {"reached", "listed", "written", "read", "deleted", "latency", "up", "down"} <= checks(told).keys()
    assert {"free space", "unnamed files", "locks"} <= checks(told).keys()
    left = [name for _, _, names in os.walk(tmp_path / "cache") for name in names]
    assert left == []
    assert not (tmp_path / "cache" / "probes").exists()


def test_a_store_that_refuses_writes_fails_and_the_other_checks_run(cli: Caller) -> None:
    said = Caller("/proc/nowhere")("--cache", cli.url, "doctor", code=4).stdout
    assert "  FAILED   written        file:///proc/nowhere: " in said
    assert "  ok       locks" in said


def test_a_tier_that_cannot_be_opened_is_reported_with_a_hint() -> None:
    said = Caller("nowhere://x")("doctor", code=4).stdout
    assert "  FAILED   configured     unknown scheme nowhere://" in said
    assert "known schemes: az," in said


def test_a_read_only_tier_is_not_written_to() -> None:
    store = Store(MemoryBackend())
    subject = check_tier("store://", lambda: far(store, readonly=True))
    assert subject.ok
    assert results(subject)["written"] == "skipped"
    assert store.did("create", "delete") == []


def test_a_readable_tier_that_cannot_be_written_is_distinguished() -> None:
    subject = check_tier("store://", lambda: far(Store(MemoryBackend(), fails=refuses_writes)))
    assert (results(subject)["listed"], results(subject)["written"]) == ("ok", "failed")


def test_a_store_that_gives_other_bytes_fails() -> None:
    class Wrong(MemoryBackend):
        def open(self, key: str, start: int = 0, end: int | None = None) -> Any:
            return super().open(key, start + 1, end)

    assert results(check_tier("memory://", lambda: near(Wrong())))["read"] == "failed"


def test_a_store_that_keeps_what_was_deleted_fails() -> None:
    class Keeping(MemoryBackend):
        def delete(self, key: str) -> None:
            pass

    assert results(check_tier("memory://", lambda: near(Keeping())))["deleted"] == "failed"


def test_a_store_that_does_not_answer_is_left_after_the_first_time() -> None:
    released = threading.Event()
    store = Store(MemoryBackend(), fails=lambda _action, _key: not released.wait(60))
    try:
        subject = check_tier("store://", lambda: near(store), seconds=0.2)
    finally:
        released.set()
    assert not subject.ok
    assert "no response within 0.2 s" in subject.checks[1].detail
    for thread in [each for each in threading.enumerate() if each.name == "check"]:
        thread.join()


def test_an_interrupt_leaves_nothing() -> None:
    backend = MemoryBackend()
    tier = near(Store(backend))
    original = threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        original(thread, timeout)
        if any(key.endswith("/clock") for key in content(backend)) and thread.name == "check":
            threading.Thread.join = original  # type: ignore[method-assign]
            raise KeyboardInterrupt

    threading.Thread.join = join  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            check_tier("store://", lambda: tier)
    finally:
        threading.Thread.join = original  # type: ignore[method-assign]
    assert content(backend) == {}


def test_a_registry_and_an_image_are_checked(cli: Caller, registry: Registry, layout: str) -> None:
    registry.push(layout, "app:1")
    told = cli.json("doctor", registry.host, f"{registry.host}/app:1", layout)
    assert told["ok"]
    assert checks(told, 1) == {"credentials": "ok", "reached": "ok", "accepted": "ok"}
    assert checks(told, 2) == {"credentials": "ok", "reached": "ok", "image": "ok"}
    assert checks(told, 3) == {"image": "ok"}


def test_an_image_that_is_not_there_fails(cli: Caller, registry: Registry) -> None:
    told = cli.json("doctor", f"{registry.host}/nothing:1", code=4)
    assert checks(told, 1)["image"] == "failed"


def test_a_host_that_is_not_a_registry_is_reported(cli: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = cli.json("doctor", f"127.0.0.1:{port}", "ftp://x", code=4)
    assert checks(told, 1)["reached"] == "failed"
    assert checks(told, 2) == {"named": "failed"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("ghcr.io", True), ("registry:5000/", True), ("[::1]:5000", True), ("alpine:3", False), ("a/b", False)],
)
def test_hosts_are_distinguished_from_images(
    name: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(RegistryClient, "ping", lambda _self, host: asked.append(host))
    monkeypatch.setattr("layercache.doctor.sources._image", lambda *_: 1 / 0)
    subject = check_source(name, RegistryClient())
    assert ("image" not in results(subject)) == wanted
    assert asked == [name.removesuffix("/") if wanted else "docker.io"]


def test_registries_of_the_configuration_are_looked_at(
    cli: Caller, registry: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "layercache.toml"
    file.write_text(f'[registries."{registry.host}"]\nplain_http = true\n')
    told = cli.json("--config", str(file), "doctor")
    assert registry.host in [each["name"] for each in told["subjects"]]


class Conditional(MemoryBackend):
    """A store that heeds conditions, ignores one or both, or knows none."""

    def __init__(self, manner: str) -> None:
        super().__init__()
        self.manner = manner

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        if self.manner == "refuses":
            raise BackendError("501 NotImplemented")
        if self.manner == "ignores" or (self.manner == "ignores versions" and version is not None):
            with self.create(key) as sink:
                sink.write(data)
                sink.commit()
            return True
        return super().write_if(key, data, version)


class Exclusive(Store):
    """A store that can create objects once, and not change them under a condition."""

    def create_new(self, key: str, data: bytes) -> bool:
        taken = any(entry.key == key for entry in self.scan())
        if not taken or self.url == "ignores://":
            with self.create(key) as sink:
                sink.write(data)
                sink.commit()
        return not taken or self.url == "ignores://"


@pytest.mark.parametrize(
    ("store", "wanted"),
    [
        (Conditional("heeds"), "ok"),
        (Conditional("ignores"), "warning"),
        (Conditional("ignores versions"), "warning"),
        (Conditional("refuses"), "warning"),
        (Exclusive(MemoryBackend()), "ok"),
        (Exclusive(MemoryBackend(), "ignores://"), "warning"),
    ],
    ids=["heeds", "ignores", "ignores versions", "refuses", "creates once", "creates twice"],
)
def test_a_store_that_ignores_conditions_is_only_a_warning(store: Backend, wanted: str) -> None:
    subject = check_tier("memory://", lambda: near(store))
    assert subject.ok
    assert results(subject)["conditions"] == wanted
    assert content(store) == {}
