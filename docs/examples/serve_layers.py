"""A Starlette application that streams layers out of a cache, whole or in parts.

LAYERS=s3://team-layers/prod uvicorn serve_layers:app
curl -r 0-511 http://localhost:8000/layers/sha256:…            the blob, or ?form=uncompressed the tar
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from layercache import aio
from layercache.adapters.starlette import layer_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with aio.open(os.environ.get("LAYERS")) as app.state.cache:
        yield


async def layer(request: Request) -> Response:
    form = request.query_params.get("form", "compressed")
    return await layer_response(request, request.app.state.cache, request.path_params["name"], form)


app = Starlette(routes=[Route("/layers/{name}", layer)], lifespan=lifespan)
