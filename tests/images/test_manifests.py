"""The document that a name leads to, as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import layercache
from layercache import NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry


@pytest.mark.parametrize("ref", ["image", "index"])
def test_the_manifest_of_a_name_is_given_byte_for_byte_and_once_it_is_cached_offline_too(
    ref: str, registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:{ref}", "app:1")
    url = f"file://{tmp_path}/cache"
    with layercache.open(url, offline=True) as cache, pytest.raises(NotFoundError):
        cache.manifest(name)
    with layercache.open(url) as cache:
        descriptor, data = cache.manifest(name)
        assert cache.manifest(f"oci:{sample.layout}:{ref}") == (descriptor, data)
    assert layercache.Digest.of(data) == descriptor.digest
    assert len(data) == descriptor.size
    with layercache.open(url, offline=True) as cache:
        assert cache.manifest(name) == (descriptor, data)
