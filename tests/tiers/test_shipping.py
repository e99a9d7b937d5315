"""A cache is shipped to a registry, and from there to another machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller

import layercache

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry


@pytest.fixture
def filled(registry: Registry, sample: Sample, tmp_path: Path) -> str:
    """A cache that has an image, its layers inflated once."""
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    with layercache.open(tmp_path / "one") as cache:
        for layer in cache.image(name).layers:
            layer.fill("both")
    return f"file://{tmp_path}/one"


def uploads(registry: Registry) -> int:
    return sum(access.method == "POST" for access in registry.accesses())


def test_a_cache_is_copied_to_a_registry_and_from_there_to_another_machine(
    registry: Registry, sample: Sample, filled: str, tmp_path: Path
) -> None:
    shared = f"oci://{registry.host}/team/cache"
    layers = sample.image.layers
    there = json.loads(Caller(filled)("copy", filled, shared, "--json").stdout)
    assert (there["copied"], there["images"], there["wrong"]) == (len(layers) + 2, 1, 0)
    before = uploads(registry)
    again = json.loads(Caller(filled)("copy", filled, shared, "--json").stdout)
    assert (again["copied"], again["records"]) == (0, 0)
    assert uploads(registry) == before, "pushing the same cache again uploads no blob"
    other = f"file://{tmp_path}/two"
    back = json.loads(Caller(other)("copy", shared, other, "--json").stdout)
    assert (back["copied"], back["images"], back["wrong"]) == (len(layers) + 2, 1, 0)
    with layercache.open(other, offline=True) as cache:
        for made in layers:
            for name in (made.digest, made.diff_id):
                layer = cache.get(name)
                with layer.compressed() as blob, layer.uncompressed() as tar:
                    assert blob.read() == made.blob
                    assert tar.read() == made.tar
        image = cache.image(f"{registry.host}/team/app:1")
        assert [layer.digest for layer in image.layers] == [made.digest for made in layers]


def test_one_image_alone_is_shipped(registry: Registry, sample: Sample, filled: str) -> None:
    shared = f"oci://{registry.host}/team/cache"
    with layercache.open(filled) as cache:
        cache.put(sample_file := __file__, any_data=True)
    assert sample_file
    image = f"{registry.host}/team/app:1"
    done = json.loads(Caller(filled)("copy", filled, shared, "--image", image, "--json").stdout)
    assert done["copied"] == len(sample.image.layers) + 2
    assert done["images"] == 1
