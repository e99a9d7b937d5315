"""Clients of a mirror with and without credentials, and what they ask for."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from servers.received import receive
from servers.registry import PASSWORD, USER, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.images import Sample

    from layercache.serve.service import Service

    Start = Callable[..., Service]
    """Starts a mirror of an upstream with these settings."""

MANIFEST = "/v2/team/app/manifests/1"


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


OWNER = basic(USER, PASSWORD)
STRANGER = basic(USER, "guessed")
NOBODY: dict[str, str] = {}


def everything_of(sample: Sample, name: str = "team/app") -> list[str]:
    """The paths of an image: its manifest by tag and by digest, its blobs, its layers' diff IDs, its tags."""
    image = sample.image
    names = [*image.blobs, *(layer.diff_id for layer in image.layers)]
    manifests = [f"/v2/{name}/manifests/{each}" for each in ("1", image.descriptor.digest)]
    return [*manifests, *(f"/v2/{name}/blobs/{each}" for each in names), f"/v2/{name}/tags/list"]


def statuses(service: Service, paths: list[str], headers: dict[str, str]) -> list[int]:
    return [receive(service, path, headers).status for path in paths]


def code(service: Service, path: str, headers: dict[str, str] = NOBODY) -> tuple[int, str]:
    found = receive(service, path, headers)
    return found.status, json.loads(found.body)["errors"][0]["code"]


def requests(upstream: Registry) -> int:
    return len(upstream.accesses())
