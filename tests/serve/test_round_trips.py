"""What is at hand costs no request to a far tier or an upstream, and what is not costs few."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures.stores import Store
from serve.accounts import MANIFEST
from servers.asking import Fields
from servers.images import make_image, make_layer, noise
from servers.received import receive
from servers.registry import Registry
from servers.tokens import TokenServer

from layercache.cache import Cache
from layercache.registry.settings import RegistrySettings
from layercache.serve.messages import Answer, FileAnswer, Later, Request
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings
from layercache.tiers.opening import open_tier, tier_on
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serve.accounts import Start
    from servers.images import Sample
    from servers.lying import LyingRegistry

IMAGE = make_image([make_layer({"noise": noise(300_000)})])
(LAYER,) = IMAGE.layers
PATH = f"/v2/app/blobs/{LAYER.digest}"


@pytest.fixture
def far() -> Store:
    return Store(MemoryBackend())


@pytest.fixture
def service(far: Store, lying: LyingRegistry, tmp_path: Path) -> Iterator[Service]:
    """A mirror over a disk and a far store, which knows the image's manifest."""
    lying.add_image("1", IMAGE)
    tiers = [
        open_tier(f"file://{tmp_path}/cache", nearest=True),
        tier_on(far, Policy(keep="compressed")),
    ]
    settings = ServeSettings(default_upstream=lying.host)
    with closing(Service(Cache(tiers, registries=RegistrySettings), settings)) as running:
        receive(running, "/v2/app/manifests/1")
        running.cache.flush()
        yield running


def test_a_blob_at_hand_costs_no_question_to_a_far_tier(service: Service, far: Store) -> None:
    receive(service, PATH)
    service.cache.flush()
    before = len(far.asked)
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=5-9"})):
        assert receive(service, PATH, headers, method).status in (200, 206)
    assert far.asked[before:] == []


def test_a_cold_blob_costs_one_question_to_a_far_tier_before_the_upstream(
    service: Service, far: Store, lying: LyingRegistry
) -> None:
    before = len(far.asked)
    first = receive(service, PATH)
    assert first.body == LAYER.blob
    asked = [key for action, key in far.asked[before:] if action in ("open", "stat")]
    assert len(asked) <= 2, asked
    assert [request.method for request in lying.asked("/blobs/")] == ["GET"]


def test_who_waits_for_a_tier_or_the_upstream_waits_in_the_threads_for_streams(
    service: Service, lying: LyingRegistry
) -> None:
    """Those for requests are few, and what is at hand is answered in them."""
    before = len(lying.requests)
    for method in ("HEAD", "GET"):
        assert isinstance(service.answer(Request(method, PATH, {}, Fields())), Later)
    assert len(lying.requests) == before, "nothing is asked before"
    receive(service, PATH)
    warm = [service.answer(Request(method, PATH, {}, Fields())) for method in ("HEAD", "GET")]
    assert [type(each) for each in warm] == [Answer, FileAnswer]


def test_a_cold_blob_of_a_known_repository_is_one_request_also_where_the_upstream_wants_tokens(
    tmp_path: Path, sample: Sample, start: Start
) -> None:
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        mirror = start(registry.host)
        assert receive(mirror, MANIFEST).status == 200
        for layer in sample.image.layers:
            given, before = len(tokens.requests), len(registry.accesses())
            assert receive(mirror, f"/v2/team/app/blobs/{layer.digest}").body == layer.blob
            asked = registry.accesses()[before:]
            assert [(each.method, each.status) for each in asked] == [("GET", 200)]
            assert len(tokens.requests) == given
