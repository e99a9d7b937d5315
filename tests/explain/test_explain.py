"""What would be read, and from where: the answer is that of the plan, and asking for it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import put, read, sample
from fixtures.stores import Store, content, evict, far, near, open_cache, write_blob
from servers.lying import LyingRegistry

import layercache
from layercache.errors import ConfigError, InvalidNameError
from layercache.registry.settings import RegistrySettings
from layercache.statistics.places import Place
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Sample

    from layercache.cache import Cache
    from layercache.explain.explanation import LayerExplanation

LAYER = sample(1)
BLOB, TAR = len(LAYER.blob), len(LAYER.tar)


def explained(cache: Cache, name: str) -> LayerExplanation:
    (layer,) = cache.explain(name).layers
    return layer


def bucket(*, url: str = "store://bucket") -> Store:
    store = Store(MemoryBackend(), url=url)
    write_blob(store.inner, LAYER.digest, LAYER.blob)
    return store


@pytest.mark.parametrize("name", [LAYER.digest, LAYER.diff_id])
def test_what_is_near_costs_no_request(name: str) -> None:
    with open_cache(near()) as cache:
        put(cache, LAYER.blob)
        found = explained(cache, name)
        assert (found.digest, found.diff_id, found.computed) == (LAYER.digest, LAYER.diff_id, True)
        assert (found.size, found.uncompressed_size) == (BLOB, TAR)
        for route, size in ((found.compressed, BLOB), (found.uncompressed, TAR)):
            assert route is not None
            assert (route.place.name, route.requests, route.size, route.inflates) == ("memory://", 0, size, 0)
        assert not found.tiers[0].missing


def test_a_blob_in_a_bucket_costs_a_request_for_each_that_is_asked() -> None:
    empty = Store(MemoryBackend(), url="store://empty")
    with open_cache(near(), far(empty), far(bucket())) as cache:
        found = explained(cache, LAYER.digest)
        assert found.compressed is not None
        assert found.uncompressed is not None
        for route in (found.compressed, found.uncompressed):
            assert (route.place.name, route.requests, route.size) == ("store://bucket", 2, BLOB)
        assert (found.compressed.inflates, found.uncompressed.inflates) == (0, None)
        assert found.tiers[0].missing["compressed"] == "never stored here"
        read(cache.layer(LAYER.digest).uncompressed())
        assert len(empty.did("open", below=keys.BLOBS)) == 1, "as was explained"


def test_the_plan_that_is_explained_is_the_one_that_is_followed() -> None:
    store = bucket()
    with open_cache(near(), far(store)) as cache:
        read(cache.layer(LAYER.digest).uncompressed())
        evict(cache.tiers[0], LAYER.diff_id)
        found = explained(cache, LAYER.diff_id)
        assert found.uncompressed is not None
        assert (found.uncompressed.place.name, found.uncompressed.inflates) == ("memory://", TAR)
        assert "evicted or removed" in found.tiers[0].missing["uncompressed"]
        before = cache.counters
        read(cache.get(LAYER.diff_id).uncompressed())
        done = cache.counters - before
        assert [place.name for place in done.places] == ["memory://"]
        assert done.inflated_bytes == TAR


def test_nothing_is_read_written_or_counted() -> None:
    store = bucket()
    with open_cache(near(), far(store)) as cache:
        put(cache, sample(2).blob)
        cache.flush()
        before, counted = [content(tier) for tier in cache.tiers], cache.counters
        store.asked.clear()
        for name in (LAYER.digest, sample(2).diff_id, "docker.io/library/alpine:latest"):
            cache.explain(name)
        assert not store.did("open", "read", below=keys.BLOBS)
        assert not store.did("create", "write", "delete")
        assert (cache.counters - counted).places == ()
        assert [content(tier) for tier in cache.tiers] == before


def test_why_a_tier_lacks_it() -> None:
    small = BackendTier(MemoryBackend(), Policy(max_size=10))
    reader = BackendTier(MemoryBackend(), Policy(readonly=True))
    tars = BackendTier(MemoryBackend(), Policy(keep="uncompressed"))
    with open_cache(near(), small, reader, tars, far(bucket())) as cache:
        cache.layer(LAYER.digest, size=BLOB, diff_id=LAYER.diff_id).fill("compressed")
        evict(cache.tiers[0], LAYER.digest)
        states = explained(cache, LAYER.digest).tiers
    why = [state.missing.get("compressed") for state in states]
    assert why == [
        "evicted or removed: its association is left",
        "bigger than the tier: max_size=10",
        "the tier is read-only",
        "not stored here: keep=uncompressed",
        None,
    ]
    assert states[0].missing["uncompressed"] == "never inflated here"


def test_a_quarantined_blob_is_named_as_that(tmp_path: Path) -> None:
    with open_cache(near(LocalBackend(str(tmp_path))), far(bucket())) as cache:
        put(cache, LAYER.blob)
        (tmp_path / keys.blob(LAYER.digest)).write_bytes(b"x" * BLOB)
        cache.get(LAYER.digest).doubt("compressed")
        found = explained(cache, LAYER.digest)
        assert found.tiers[0].missing["compressed"] == "quarantined: its bytes were wrong"
        assert found.compressed is not None
        assert found.compressed.place.name == "store://bucket"


def test_a_tier_that_fails_is_skipped_and_its_reason_given() -> None:
    broken = bucket(url="store://broken")
    broken.fails = lambda _did, _key: True
    with open_cache(near(), far(broken), far(bucket())) as cache:
        found = explained(cache, LAYER.digest)
        assert "fails on purpose" in found.tiers[1].failure
        assert found.compressed is not None
        assert (found.compressed.place.name, found.compressed.requests) == ("store://bucket", 1)
        assert cache.counters.failed == 1


def test_what_is_unknown_has_no_way_and_is_no_error() -> None:
    with open_cache() as cache:
        found = explained(cache, LAYER.diff_id)
        assert (found.compressed, found.uncompressed) == (None, None)
        for name, error in (("sha256:12", InvalidNameError), ("oci:/tmp", ConfigError)):
            with pytest.raises(error):
                cache.explain(name)


def test_an_image_names_its_mirrors_and_what_is_missing(tmp_path: Path, sample: Sample) -> None:
    with LyingRegistry() as registry:
        name = registry.add_image("1", sample.image)
        settings = RegistrySettings(mirrors={registry.host: ("mirror.example/hub",)}, retries=0)
        with layercache.open(tmp_path / "cache", registries=RegistrySettings()) as cache:
            before = cache.explain(name)
            assert before.layers == ()
            assert "no tier knows" in before.problem
            cache.image(name).layers[0].fill("compressed")
        asked = len(registry.requests)
        with layercache.open(tmp_path / "cache", registries=settings) as cache:
            found = cache.explain(name)
        with layercache.open(tmp_path / "cache", offline=True) as cache:
            offline = cache.explain(name)
        assert len(registry.requests) == asked, "no source is asked"
    repository = name.removesuffix(":1").partition("/")[2]
    assert found.sources == (
        Place("mirror", "mirror.example/hub", f"mirror.example/hub/{repository}"),
        Place("registry", registry.host, f"{registry.host}/{repository}"),
    )
    assert found.digest == sample.image.descriptor.digest
    assert found.known_to == (f"file://{tmp_path}/cache",)
    kinds = [layer.compressed.place.kind for layer in found.layers if layer.compressed]
    assert kinds == ["tier", "registry", "registry"]
    assert [layer.compressed is None for layer in offline.layers] == [False, True, True]


def test_the_command_prints_it(cli: Caller, layout: str, sample: Sample) -> None:
    cli("pull", layout)
    layer = sample.image.layers[0]
    shown = cli("explain", layer.digest.removeprefix("sha256:")[:12]).stdout
    assert layer.diff_id in shown
    assert "compressed: file://" in shown
    document = cli.json("explain", layer.digest)
    (found,) = document["layers"]
    assert found["compressed"]["place"]["kind"] == "tier"
    assert found["tiers"][0]["missing"] == {"uncompressed": "never inflated here"}
    name = cli.lines("images")[0][-1]
    rows = [line.split("\t") for line in cli("explain", name).stdout.splitlines() if "\t" in line]
    assert {row[0] for row in rows} == {layer.digest for layer in sample.image.layers}
    assert "no tier knows" in cli("explain", "facade").stdout, "an image may be called like a hash"
