"""A Starlette application that streams layers out of a cache, whole or in parts.

LAYERS=s3://team-layers/prod uvicorn serve_layers:app
curl -r 0-511 http://localhost:8000/layers/sha256:…            the blob, or ?form=uncompressed the tar
"""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.routing import Route

import layercache
from layercache import aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with aio.open(os.environ.get("LAYERS")) as app.state.cache:
        yield


async def layer(request: Request) -> StreamingResponse:
    cache: aio.Cache = request.app.state.cache
    try:
        found = await cache.get(request.path_params["name"])
        is_tar = request.query_params.get("form") == "uncompressed"
        size = found.uncompressed_size if is_tar else found.size
        start, end, status, headers = part(request, size)
        stream = await (found.uncompressed if is_tar else found.compressed)(start, end)
    except layercache.InvalidNameError as error:
        raise HTTPException(400, error.message) from error
    except (layercache.NotFoundError, layercache.NotALayerError) as error:
        raise HTTPException(404, error.message) from error

    async def body() -> AsyncIterator[bytes]:
        async with stream:  # a client that leaves cancels this, and with it the transfer
            async for chunk in stream:
                yield chunk

    return StreamingResponse(body(), status, headers, media_type=found.media_type)


def part(request: Request, size: int | None) -> tuple[int, int | None, int, dict[str, str]]:
    """What is asked for: first byte, the one after the last, the status, headers. RFC 9110, 14.2."""
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if size is None or wanted is None or not any(wanted.groups()):
        return (
            0,
            None,
            200,
            {"accept-ranges": "bytes"} | ({} if size is None else {"content-length": str(size)}),
        )
    first, last = wanted.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise HTTPException(416, headers={"content-range": f"bytes */{size}"})
    return (
        start,
        end,
        206,
        {
            "content-range": f"bytes {start}-{end - 1}/{size}",
            "content-length": str(end - start),
        },
    )


app = Starlette(routes=[Route("/layers/{name}", layer)], lifespan=lifespan)
