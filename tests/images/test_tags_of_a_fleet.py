"""Machines that start one image at the same time write its tag into the tier that they share once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.dict_source import REFERENCE, source_of
from fixtures.leases import SharedStore
from fixtures.stores import Store, content, near
from servers.images import make_image, sample_layers

from layercache.cache import Cache
from layercache.images.opening import Images
from layercache.oci.platforms import parse_platform
from layercache.tiers import keys
from layercache.tiers.backend import images as backend_images
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from servers.images import Image

OLD, NEW = make_image(sample_layers(1)), make_image(sample_layers(2))
KEY = keys.image_key(REFERENCE)


@pytest.fixture
def store() -> SharedStore:
    return SharedStore(MemoryBackend())


def pull(store: Store, made: Image, *, tag_age: float = 0) -> list[str]:
    """Open the image on a machine with an empty disk; what was asked of the store about its tag."""
    store.asked.clear()
    with Cache((near(), BackendTier(store, Policy(keep="compressed")))) as cache:
        opened = Images(cache._asked, cache._resolver, cache._observers, tag_age=tag_age)
        opened.from_source(source_of(made), REFERENCE, parse_platform("linux/amd64"))
    return [action for action, key in store.asked if key == KEY and action in ("open", "create")]


def named(store: Store) -> str:
    return BackendTier(store, Policy()).images.get(KEY).digest


def test_only_the_first_machine_writes_the_tag_and_the_others_read_it(store: SharedStore) -> None:
    assert pull(store, OLD) == ["open", "create"]
    assert pull(store, OLD) == ["open"]
    assert pull(store, NEW) == ["open", "create"], "it names another image now"
    assert named(store) == NEW.descriptor.digest


def test_of_machines_that_find_the_same_at_the_same_time_one_writes(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write_if = [], MemoryBackend.write_if

    def others_are_faster(memory: MemoryBackend, key: str, data: bytes, version: str | None) -> bool:
        if key == KEY:
            written.append(write_if(memory, key, data + b" ", version))
        return write_if(memory, key, data, version)

    monkeypatch.setattr(MemoryBackend, "write_if", others_are_faster)
    assert pull(store, OLD) == ["open", "create"]
    assert written == [True]
    assert content(store)[KEY].endswith(b" "), "the other machine's stays"


def test_a_tag_is_refreshed_where_its_age_counts_unless_that_was_just_done(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(store, OLD)
    assert "create" not in pull(store, OLD, tag_age=1e-9)
    monkeypatch.setattr(backend_images, "YOUNG", 0.0)
    assert "create" in pull(store, OLD, tag_age=1e-9)


@pytest.mark.parametrize("rubbish", [b"{}", b"", bytes(1 << 20)], ids=["no descriptor", "empty", "too big"])
def test_an_object_that_is_not_a_tag_is_replaced(store: SharedStore, rubbish: bytes) -> None:
    with store.inner.create(KEY) as sink:
        sink.write(rubbish)
        sink.commit()
    pull(store, OLD)
    assert named(store) == OLD.descriptor.digest


@pytest.mark.parametrize("kind", ["without conditions", "that ignores conditions"])
def test_in_a_store_without_conditional_writes_what_is_there_is_not_written_again(kind: str) -> None:
    memory = MemoryBackend()
    store = Store(memory) if kind == "without conditions" else SharedStore(memory, honest=False)
    assert pull(store, OLD) == ["open", "create"]
    assert pull(store, OLD) == ["open"]
    pull(store, NEW)
    assert named(store) == NEW.descriptor.digest
