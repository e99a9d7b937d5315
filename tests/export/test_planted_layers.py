"""What was planted in a far tier under the name of an image's layer is not exported."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from export.kept import keep
from fixtures.layers import compressed
from fixtures.stores import fact, far, near, open_cache, write_blob
from servers.images import make_image, make_layer

from layercache import DiffID, LayercacheError
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.tiers.tier import Tier

LAYER, EVIL = make_layer({"etc/passwd": b"root"}), make_layer({"etc/passwd": b"evil"})
IMAGE = make_image([LAYER])
TARGETS = {
    "archive of tars": ("docker-archive:{}", None),
    "layout": ("oci:{}", None),
    "layout, recompressed": ("oci:{}", "zstd"),
}


def plant(tier: Tier, blob: bytes) -> None:
    """A blob of another tar, and the word that the layer's tar is inside it, under both of its names."""
    digest = Digest.of(blob)
    write_blob(tier, digest, blob)
    write_blob(tier, LAYER.digest, EVIL.blob)
    tier.facts.record(fact(digest, DiffID(LAYER.diff_id), len(blob), computed=True))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("is_there", [True, False], ids=["the layer is farther away", "it is nowhere"])
def test_a_planted_layer_is_never_exported(target: str, is_there: bool, tmp_path: Path) -> None:
    poisoned, sound = far(), far()
    plant(poisoned, EVIL.blob)
    plant(poisoned, compressed(EVIL.tar, "zstd"))
    if is_there:
        write_blob(sound, LAYER.digest, LAYER.blob)
    where, compression = TARGETS[target]
    with open_cache(near(), poisoned, sound) as cache:
        keep(cache, IMAGE)
        cache.tiers[0].blobs.delete(LAYER.digest)
        with nullcontext() if is_there else pytest.raises(LayercacheError):
            cache.export(
                "app:1", where.format(tmp_path / "out"), platform="linux/amd64", compression=compression
            )
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"evil" not in data
            assert EVIL.blob not in data
