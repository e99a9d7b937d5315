"""Uploads to a registry that break, are killed, or meet others of the same: the next one works."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from servers.cutting import CuttingProxy
from servers.images import make_layer, noise
from tiers.contract import GZIP, copy, fact_of, read
from tiers.registry.caches import CACHE, far_tier, keep_image, shipped

from layercache.errors import BackendError
from layercache.oci.digest import Digest
from layercache.registry import upload
from layercache.tiers import keys

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(upload, "UPLOAD_PIECE", 64 << 10)
    return upload.UPLOAD_PIECE


def test_a_large_blob_is_sent_in_pieces(registry: Registry, small_pieces: int) -> None:
    data = noise(3 * small_pieces + 100)
    tier = far_tier(registry.host)
    copy(tier, data)
    assert read(tier, Digest.of(data)) == data
    assert sum(access.method == "PATCH" for access in registry.accesses()) == 4
    tier.close()


@pytest.mark.parametrize("cut", [1000, 30_000, 100_000, 150_000])
def test_an_upload_that_is_cut_goes_on_or_begins_anew(
    registry: Registry, small_pieces: int, cut: int, tmp_path: Path
) -> None:
    data = noise(3 * small_pieces)
    with CuttingProxy(registry.port, cut) as proxy:
        tier = far_tier(proxy.host)
        (tmp_path / "blob").write_bytes(data)
        with (tmp_path / "blob").open("rb", buffering=0) as file:
            tier.blobs.copy(Digest.of(data), file)  # type: ignore[arg-type]  # a file is a reader without a size
        assert proxy.cuts == []
        assert read(tier, Digest.of(data)) == data
        tier.close()


def test_an_upload_that_cannot_be_had_once_more_fails_and_the_next_one_works(
    registry: Registry, small_pieces: int
) -> None:
    data = noise(3 * small_pieces)
    with CuttingProxy(registry.port, *range(90_000, 4_000_000, 20_000)) as proxy:
        tier = far_tier(proxy.host)
        with pytest.raises(BackendError, match=r"broke off|forgot|cannot connect|no answer"):
            copy(tier, data)
        assert not far_tier(registry.host).blobs.has(Digest.of(data))
        proxy.cuts.clear()
        copy(tier, data)
        assert read(tier, Digest.of(data)) == data
        tier.close()


def test_a_push_that_is_killed_leaves_nothing_and_the_next_one_works(
    registry: Registry, tmp_path: Path
) -> None:
    data = make_layer({"noise": noise(400_000)}, "none").blob
    (tmp_path / "layer.tar").write_bytes(data)
    program = """
import os, signal, sys
from layercache.registry import upload
import layercache
upload.UPLOAD_PIECE = 64 << 10
sent = upload.Upload._send_piece
def send_and_die(self, piece):
    sent(self, piece)
    os.kill(os.getpid(), signal.SIGKILL)
upload.Upload._send_piece = send_and_die
with layercache.open([sys.argv[1], sys.argv[2]]) as cache:
    cache.put(sys.argv[3])
"""
    far = f"oci://{registry.host}/{CACHE}"
    arguments = [f"file://{tmp_path}/near", far, f"{tmp_path}/layer.tar"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    tier = far_tier(registry.host)
    assert list(tier.blobs.scan()) == []
    with shipped(registry, tmp_path / "near") as cache:
        cache.put(tmp_path / "layer.tar")
    assert read(tier, Digest.of(data)) == data
    tier.close()


def test_two_that_push_the_same_at_once_both_succeed(
    registry: Registry, tmp_path: Path, sample: Sample
) -> None:
    key = keys.image_tag("docker.io", "library/sample", "1")
    failures: list[Exception] = []

    def push() -> None:
        tier = far_tier(registry.host)
        try:
            keep_image(tier, sample.index, key)
        except Exception as error:
            failures.append(error)
        tier.close()

    threads = [threading.Thread(target=push) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    tier = far_tier(registry.host)
    assert tier.images.get(key) == sample.index.descriptor
    for digest, data in sample.index.blobs.items():
        assert read(tier, digest) == data
    tier.close()


def test_of_many_that_begin_a_cache_at_once_each_finds_its_blob_listed(registry: Registry) -> None:
    blobs = [noise(100, seed) for seed in range(16)]
    begin = threading.Barrier(len(blobs))

    def push(data: bytes) -> None:
        tier = far_tier(registry.host)
        begin.wait()
        tier.blobs.put(Digest.of(data), data)
        tier.close()

    threads = [threading.Thread(target=push, args=[data]) for data in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tier = far_tier(registry.host)
    assert {name for name, _ in tier.blobs.scan()} == {Digest.of(data) for data in blobs}
    tier.close()


def test_what_is_known_of_a_blob_is_kept_when_the_registry_has_lost_it(registry: Registry) -> None:
    tier = far_tier(registry.host)
    copy(tier, GZIP.blob)
    registry.forget(GZIP.digest)
    tier.facts.record(fact_of())
    assert tier.facts.made_from(GZIP.diff_id) == [fact_of()]
    copy(tier, GZIP.blob)
    assert read(tier, GZIP.digest) == GZIP.blob
    assert tier.facts.inflates_to(GZIP.digest) == [fact_of()]
    tier.close()
