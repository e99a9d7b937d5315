"""Fetches blobs with a client of httpx, which brings its own authentication, proxies and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from layercache.streams.chunked import ChunkedReader

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from layercache.oci.digest import Digest


def fetch_from(client: httpx.Client, url: str) -> Callable[[Digest], BinaryIO]:
    """Return a ``fetch`` for `Cache.layer`. ``url``: of the repository, ``https://HOST/v2/team/app``.

    Redirects are followed: registries send a blob from elsewhere.
    """

    def fetch(digest: Digest) -> BinaryIO:
        request = client.build_request(
            "GET", f"{url}/blobs/{digest}", headers={"Accept-Encoding": "identity"}
        )
        response = client.send(request, stream=True, follow_redirects=True)
        if response.is_error:
            response.close()
        response.raise_for_status()
        return cast("BinaryIO", _Body(response))

    return fetch


class _Body(ChunkedReader):
    """The bytes of a response as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.iter_raw()

    def next_chunk(self) -> bytes | None:
        return next(self._chunks, None)

    def close(self) -> None:
        self._response.close()
        super().close()
