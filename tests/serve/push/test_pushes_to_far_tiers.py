"""A push is in every tier before it is answered, and the farthest decides, as other mirrors write there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.stores import Store, assert_sound, content, far, near, open_cache, store_of
from servers.images import make_image, make_layer
from servers.pushing import Pusher

from layercache.oci.digest import Digest
from layercache.serve.push import contents
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.images import Sample

    from layercache.backend import Backend

DATA = b"a blob" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[Backend], Pusher]]:
    """Start mirrors on machines of their own, over one store."""
    running: list[Service] = []

    def start(shared: Backend) -> Pusher:
        settings = ServeSettings(writable=True, hosted=("*",), uploads=f"{tmp_path}/{len(running)}")
        running.append(Service(open_cache(near(), far(Store(shared))), settings))
        return Pusher(running[-1])

    yield start
    for service in running:
        service.close()


def test_an_upload_is_in_the_far_tier_when_it_is_answered(begin: Callable[[Backend], Pusher]) -> None:
    shared = MemoryBackend()
    pusher = begin(shared)
    for number in range(10):
        data = DATA + bytes([number])
        pusher.blob(data)
        assert content(shared)[keys.blob(Digest.of(data))] == data


def test_another_machine_serves_what_was_pushed_at_once(
    begin: Callable[[Backend], Pusher], sample: Sample
) -> None:
    shared = MemoryBackend()
    one, two = begin(shared), begin(shared)
    assert two.get("manifests/1").status == two.get(f"blobs/{sample.image.config_digest}").status == 404
    one.image(sample.image, "1")
    assert two.get("manifests/1").body == sample.image.manifest
    for digest, blob in sample.image.blobs.items():
        assert two.get(f"blobs/{digest}").body == blob
    assert_sound(one.service.cache.tiers[1])


def test_the_last_push_of_a_tag_counts_on_every_machine_and_so_does_its_deletion(
    begin: Callable[[Backend], Pusher], sample: Sample
) -> None:
    shared = MemoryBackend()
    one, two = begin(shared), begin(shared)
    first, second = sample.index.images[:2]
    for image, pusher in ((first, one), (second, two), (first, one)):
        pusher.image(image, "1")
        assert one.get("manifests/1").body == two.get("manifests/1").body == image.manifest
    assert two.get(f"manifests/{first.descriptor.digest}", "DELETE").status == 202
    for pusher in (one, two):
        assert pusher.get("manifests/1").status == 404
        assert pusher.get("tags/list").json["tags"] == []


def test_what_was_pushed_is_served_while_the_far_tier_fails(
    begin: Callable[[Backend], Pusher], sample: Sample
) -> None:
    pusher = begin(MemoryBackend())
    pusher.image(sample.image, "1")
    store_of(pusher.service.cache.tiers[1]).fails = lambda _action, _key: True
    assert pusher.get("manifests/1").body == sample.image.manifest
    assert pusher.get("tags/list").json["tags"] == ["1"]
    assert pusher.get(f"blobs/{sample.image.config_digest}").body == sample.image.config
    missing = pusher.get("manifests/2")
    assert missing.status >= 500  # nobody can say that it does not exist


def test_nothing_counts_as_deleted_that_a_tier_still_has(
    begin: Callable[[Backend], Pusher], sample: Sample
) -> None:
    pusher = begin(MemoryBackend())
    pusher.image(sample.image, "1")
    store_of(pusher.service.cache.tiers[1]).fails = lambda action, _key: action == "delete"
    assert pusher.get("manifests/1", "DELETE").status >= 500


def test_a_manifest_that_no_tier_takes_is_not_accepted(tmp_path: Path, sample: Sample) -> None:
    settings = ServeSettings(writable=True, hosted=("*",), uploads=str(tmp_path))
    tier = near(Store(MemoryBackend()))
    pusher = Pusher(Service(open_cache(tier), settings))
    for blob in sample.image.blobs.values():
        pusher.blob(blob)
    store_of(tier).fails = lambda action, _key: action == "create"
    assert pusher.manifest(sample.image.manifest, "1").status >= 500
    pusher.service.close()


def test_a_push_lists_a_repository_once_and_sends_a_far_tier_nothing_twice(
    begin: Callable[[Backend], Pusher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "RECENT", 3600.0)  # however slow the machine is
    pusher = begin(MemoryBackend())
    store = store_of(pusher.service.cache.tiers[1])
    image = make_image([make_layer({"file": bytes([number])}) for number in range(10)])

    def push() -> None:
        for digest, blob in image.blobs.items():
            if pusher.get(f"blobs/{digest}", "HEAD").status == 404:
                pusher.blob(blob)
        assert pusher.manifest(image.manifest, "1").status == 201

    push()
    assert len(store.did("scan")) == 1  # not one for each layer
    sent = store.did("commit", below=keys.BLOBS)
    assert len(sent) == len(set(sent)) == len(image.blobs) + 1
    store.asked.clear()
    push()
    assert store.did("commit", below=keys.BLOBS) == []
    store.asked.clear()
    for digest in image.blobs:
        assert pusher.get(f"blobs/{digest}").status == 200
    assert store.did("open", "scan", below=keys.BLOBS) == store.did("scan") == []


def test_a_pull_of_what_another_machine_pushed_lists_the_repository_once(
    begin: Callable[[Backend], Pusher], sample: Sample
) -> None:
    shared = MemoryBackend()
    one, two = begin(shared), begin(shared)
    one.image(sample.image, "1")
    store = store_of(two.service.cache.tiers[1])
    assert two.get("manifests/1").status == 200
    for digest in sample.image.blobs:
        assert two.get(f"blobs/{digest}").status == 200
    assert len(store.did("scan")) == 1
