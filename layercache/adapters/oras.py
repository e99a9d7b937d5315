"""Fetches blobs with a client of oras-py, which is logged in."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from oras.provider import Registry

    from layercache.oci.digest import Digest


def fetch_from(client: Registry, name: str) -> Callable[[Digest], BinaryIO]:
    """Return a ``fetch`` for `Cache.layer`. ``client``: an `OrasClient`; ``name``: HOST/team/app."""

    def fetch(digest: Digest) -> BinaryIO:
        response = client.get_blob(name, str(digest), stream=True)
        if not response.ok:
            response.close()
        response.raise_for_status()
        return cast("BinaryIO", response.raw)

    return fetch
