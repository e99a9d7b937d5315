"""A shared store as the nearest tier, or the only one: not believed, and not asked more often for that."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import flipped, put, read, sample
from fixtures.stores import (
    Fetch,
    Store,
    assert_sound,
    blobs,
    content,
    fact,
    far,
    near,
    open_cache,
    write_blob,
    write_fact,
)

import layercache
from layercache import IntegrityError
from layercache.backend import BackendURL
from layercache.tiers import keys
from layercache.tiers.opening import open_tier
from layercache.tiers.policy import take_policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fixtures.layers import Layer

    from layercache.cache import Cache

LAYER = sample(1)
EVIL = sample(2)


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("/var/cache/layers", True),
        ("file:///var/cache/layers", True),
        ("memory://", True),
        ("s3://team/layers", False),
        ("gs://team/layers", False),
        ("oci://registry.example/team/layers", False),
        ("fsspec+local:///mnt/team", False),
        ("fsspec+sftp://host/team", False),
        ("redis://team", False),
        ("s3://mine/layers?trusted=true", True),
        ("redis://mine?trusted=true", True),
        ("file:///mnt/team?trusted=false", False),
    ],
)
def test_a_nearest_tier_is_trusted_by_default_where_it_is_on_this_machine(url: str, trusted: bool) -> None:
    parsed = BackendURL.parse(url)
    assert take_policy(parsed, nearest=True)[0].trusted is trusted
    assert take_policy(parsed, nearest=False)[0].trusted is ("trusted=true" in url)


def of_image(cache: Cache, fetch: Fetch | None = None, layer: Layer = LAYER) -> layercache.Layer:
    return cache.layer(
        layer.digest, diff_id=layer.diff_id, size=len(layer.blob), media_type=layer.media_type, fetch=fetch
    )


READS: dict[str, tuple[Callable[[Cache], bytes], bytes]] = {
    "digest": (lambda cache: read(cache.get(LAYER.digest).compressed()), LAYER.blob),
    "digest, tar": (lambda cache: read(cache.get(LAYER.digest).uncompressed()), LAYER.tar),
    "diff ID": (lambda cache: read(cache.get(LAYER.diff_id).uncompressed()), LAYER.tar),
    "diff ID, blob": (lambda cache: read(cache.get(LAYER.diff_id).compressed()), LAYER.blob),
    "image": (lambda cache: read(of_image(cache).compressed()), LAYER.blob),
    "image, tar": (lambda cache: read(of_image(cache).uncompressed()), LAYER.tar),
}


@pytest.mark.parametrize("how", READS)
def test_wrong_bytes_of_the_only_tier_never_end_well(how: str) -> None:
    read_it, _ = READS[how]
    tier = far(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        put(cache, LAYER.blob)
    write_blob(tier, LAYER.digest, flipped(LAYER.blob))
    write_blob(tier, LAYER.diff_id, flipped(LAYER.tar))
    with open_cache(tier) as cache, pytest.raises(IntegrityError):
        read_it(cache)


def test_a_wrong_entry_of_the_only_tier_is_brought_and_replaced() -> None:
    fetch, tier = Fetch(LAYER.blob), far(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        of_image(cache, fetch).fill("both")
    for name, data in ((LAYER.digest, LAYER.blob), (LAYER.diff_id, LAYER.tar)):
        write_blob(tier, name, flipped(data))
    with open_cache(tier) as cache:
        layer = of_image(cache, fetch)
        assert read(layer.compressed()) == LAYER.blob
        assert read(layer.uncompressed()) == LAYER.tar
    assert_sound(tier)
    assert blobs(tier) == {LAYER.digest, LAYER.diff_id}


@pytest.mark.parametrize("how", ["digest, tar", "image, tar", "diff ID, blob"])
def test_a_planted_fact_in_the_only_tier_gives_nobody_another_layer(how: str) -> None:
    """The tar of another layer, and a computed fact that it is inside the blob; and the other way round."""
    read_it, right = READS[how]
    tier = far(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        put(cache, LAYER.blob)
        put(cache, EVIL.blob)
    for lie in (
        fact(LAYER.digest, EVIL.diff_id, len(LAYER.blob), tar_size=len(EVIL.tar)),
        fact(EVIL.digest, LAYER.diff_id, len(EVIL.blob), tar_size=len(LAYER.tar)),
    ):
        write_fact(tier, lie)
    with open_cache(tier) as cache:
        with suppress(IntegrityError):  # it may say that the claim is false, once
            assert read_it(cache) == right
        assert read_it(cache) == right


def uses(cache: Cache) -> list[Callable[[], object]]:
    fetch = Fetch(LAYER.blob)
    return [
        lambda: of_image(cache, fetch).fill("compressed"),
        lambda: of_image(cache, fetch).fill("compressed"),
        lambda: of_image(cache, fetch).fill("both"),
        lambda: of_image(cache, fetch).fill("both"),
        lambda: read(of_image(cache).compressed()),
        lambda: read(of_image(cache).uncompressed()),
        lambda: read(cache.get(LAYER.digest).compressed()),
        lambda: read(cache.get(LAYER.diff_id).uncompressed()),
        lambda: put(cache, LAYER.blob),
    ]


FACT_READ = 3
"""Requests in which the facts about a digest are read."""


def test_it_is_asked_for_no_more_than_a_trusted_one() -> None:
    asked: dict[bool, list[tuple[int, int]]] = {}
    for trusted in (True, False):
        store = Store(MemoryBackend())
        tier = near(store) if trusted else far(store)
        counts = asked[trusted] = []
        for number in range(9):
            with open_cache(tier) as cache:
                uses(cache)[number]()
            counts.append((len(store.did("open", "stat", "scan")), len(store.did("create", "delete"))))
            store.asked.clear()
    for ours, theirs in zip(asked[False][:-1], asked[True][:-1], strict=True):
        assert ours[0] <= theirs[0] + FACT_READ, "before it writes a fact, it looks for it"
        assert ours[1] <= theirs[1]
    assert sum(asked[False][-1]) <= sum(asked[True][-1]) + 1  # looks at the fact, and does not write it again


@pytest.mark.parametrize("how", READS)
def test_what_is_read_again_and_again_writes_nothing(how: str) -> None:
    read_it, right = READS[how]
    store = Store(MemoryBackend())
    with open_cache(far(store)) as cache:
        put(cache, LAYER.blob)
    before = content(store.inner)
    store.asked.clear()
    for _ in range(2):
        with open_cache(far(store)) as cache:
            assert read_it(cache) == right
    assert not store.did("create", "delete")
    assert content(store.inner) == before


def test_a_blob_is_inflated_at_most_once_a_read() -> None:
    tier = far(Store(MemoryBackend()))
    with open_cache(tier) as cache:
        put(cache, LAYER.blob)
    for how, (read_it, right) in READS.items():
        with open_cache(tier) as cache:
            assert read_it(cache) == right
            assert cache.counters.inflated == (how in ("digest, tar", "diff ID, blob")), how


def test_where_it_fails_in_the_middle_the_next_tier_goes_on() -> None:
    reads = []

    def fails(action: str, key: str) -> bool:
        reads.append(key) if action == "read" and key.startswith(keys.BLOBS) else None
        return len(reads) > 2

    large = sample(3, size=100_000)
    inner = MemoryBackend()
    write_blob(inner, large.digest, large.blob)
    behind = far()
    write_blob(behind, large.digest, large.blob)
    with open_cache(far(Store(inner, fails=fails)), behind) as cache:
        assert read(cache.get(large.digest).compressed()) == large.blob
    assert len(reads) == 3


def test_a_nearest_tier_behind_a_plug_in_is_hashed_when_the_program_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fixtures.calling import Caller
    from servers.misbehaving import install

    install(tmp_path / "site", "bad = servers.misbehaving:from_url")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "layer").write_bytes(LAYER.blob)
    url = f"bad://{tmp_path}/store"
    Caller(url)("put", str(tmp_path / "layer"))
    for name in (LAYER.digest, LAYER.diff_id):
        spoiling = Caller(f"{url}?fault=data&how=flipped&below=blobs/")
        spoiling("get", name, "-o", str(tmp_path / "out"), code=3)
        assert not (tmp_path / "out").exists()
        Caller(url)("get", name, "-o", str(tmp_path / "out"))
        (tmp_path / "out").unlink()
    assert not open_tier(url, nearest=True).policy.trusted
    assert blobs(open_tier(url, nearest=True)) == {LAYER.digest, LAYER.diff_id}
