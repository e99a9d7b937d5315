"""Fixtures of the mirror's tests: upstreams with an image, public or with a password, and mirrors of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from servers.mirror import Mirror
from servers.registry import Registry

import layercache
from layercache.registry.settings import RegistrySettings
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from serve.accounts import Start
    from servers.asking import Serve
    from servers.images import Sample
    from servers.lying import LyingRegistry


@pytest.fixture
def upstream(registry: Registry, sample: Sample) -> Registry:
    """A registry with ``team/app:1`` (three layers: gzip, zstd, plain) and ``team/app:index``."""
    registry.push(f"oci:{sample.layout}:image", "team/app:1")
    registry.push(f"oci:{sample.layout}:index", "team/app:index")
    return registry


@pytest.fixture
def mirror(tmp_path: Path, upstream: Registry) -> Iterator[Mirror]:
    """A mirror with an empty cache, whose default upstream is ``upstream``."""
    with Mirror(tmp_path / "mirror", config=f'default_upstream = "{upstream.host}"') as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path, lying: LyingRegistry, sample: Sample) -> Iterator[Serve]:
    """Start mirrors in this process of ``lying``, which has ``app:1`` and ``app:index``, over one cache."""
    lying.add_image("1", sample.image)
    lying.add_image("index", sample.index)
    running = []

    def start(*, offline: bool = False, **settings: Any) -> Service:
        opened = layercache.open(f"file://{tmp_path}/cache", offline=offline)
        # Everybody may read everything: what is counted is what the upstream is asked for besides that.
        everything = {"default_upstream": lying.host, "readers": ("*=*",)}
        set_up = ServeSettings(**{**everything, **settings})
        running.append(Service(opened, set_up))
        return running[-1]

    yield start
    for service in running:
        service.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start mirrors in this process, all over one cache unless other ``caches`` are named."""
    running = []

    def start(upstream: str, *, caches: Sequence[str] = ("cache",), **settings: Any) -> Service:
        urls = [f"file://{tmp_path}/{cache}" for cache in caches]
        opened = layercache.open(urls, registries=RegistrySettings(retries=0))
        running.append(Service(opened, ServeSettings(default_upstream=upstream, **settings)))
        return running[-1]

    yield start
    for service in running:
        service.close()


@pytest.fixture
def private(tmp_path: Path, sample: Sample) -> Iterator[Registry]:
    """A registry that wants USER's password, with ``team/app:1``."""
    with Registry(tmp_path / "private", basic_auth=True) as registry:
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        yield registry


@pytest.fixture
def public(registry: Registry, sample: Sample) -> Registry:
    """A registry that everybody may read, with ``team/app:1``."""
    registry.push(f"oci:{sample.layout}:image", "team/app:1")
    return registry
