"""Fetches blobs with a session of requests, which brings its own authentication, proxies and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from layercache.oci.digest import Digest

AS_IT_IS = {"Accept-Encoding": "identity"}
"""A blob that a server compresses once more, and a client inflates, would have another hash on its way."""


def fetch_from(session: requests.Session, url: str) -> Callable[[Digest], BinaryIO]:
    """Return a ``fetch`` for `Cache.layer`. ``url``: of the repository, ``https://HOST/v2/team/app``."""

    def fetch(digest: Digest) -> BinaryIO:
        response = session.get(f"{url}/blobs/{digest}", stream=True, headers=AS_IT_IS)
        if not response.ok:
            response.close()
        response.raise_for_status()
        return cast("BinaryIO", response.raw)

    return fetch
