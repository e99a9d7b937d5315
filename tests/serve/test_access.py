"""Who may read what: by the configuration, and by what the upstream says to a client."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from servers.received import receive
from servers.registry import PASSWORD, USER, Registry

import layercache
from layercache.registry.settings import RegistrySettings
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.images import Sample

    Start = Callable[..., Service]

# bcrypt of "opensesame" at its least cost.
HTPASSWD = "alice:$2b$04$47B7H.BVmL94V4iS3eGg.ejK/2SUOih5.bpfbEI.lbuc17ec0DGCe\n"


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


OWNER = basic(USER, PASSWORD)
STRANGER = basic(USER, "guessed")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start mirrors in this process, all over one cache unless another ``cache`` is named."""
    running = []

    def start(upstream: str, *, cache: str = "cache", **settings: Any) -> Service:
        opened = layercache.open(f"file://{tmp_path}/{cache}", registries=RegistrySettings(retries=0))
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


def everything_of(sample: Sample, name: str = "team/app") -> list[str]:
    """The paths of an image: its manifest by tag and by digest, its blobs, and its layers' diff IDs."""
    image = sample.image
    names = [*image.blobs, *(layer.diff_id for layer in image.layers)]
    manifests = [f"/v2/{name}/manifests/{each}" for each in ("1", image.descriptor.digest)]
    return [*manifests, *(f"/v2/{name}/blobs/{each}" for each in names), f"/v2/{name}/tags/list"]


def statuses(service: Service, paths: list[str], headers: dict[str, str]) -> set[int]:
    return {receive(service, path, headers).status for path in paths}


def test_the_second_user_is_refused_whatever_the_first_one_has_brought_here(
    start: Start, private: Registry, sample: Sample
) -> None:
    first, paths = start(private.host), everything_of(sample)
    assert receive(first, paths[0], OWNER).body == sample.image.manifest
    assert [(path, receive(first, path, OWNER).status) for path in paths] == [(path, 200) for path in paths]
    other = start(private.host)  # another mirror of the same cache
    for service in (first, other):
        for headers in ({}, STRANGER, basic("", "")):
            assert statuses(service, paths, headers) == {401}
        assert statuses(service, paths, OWNER) == {200}
