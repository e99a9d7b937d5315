"""Answers requests to a Starlette application, and so to one of FastAPI, with layers out of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from layercache.errors import InvalidNameError, NotALayerError, NotFoundError
from layercache.oci.descriptor import OCI_LAYER
from layercache.oci.forms import check_form
from layercache.streams.byte_ranges import Span, spans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from layercache.aio import Cache, Layer, Stream


async def layer_response(request: Request, cache: Cache, name: str, form: str = "compressed") -> Response:
    """Stream a cached layer, by digest or diff ID: its blob, or as ``form="uncompressed"`` its tar.

    HEAD has the same headers, and reads nothing. A header Range with one range is answered with that part, if
    the size of the form is known (RFC 9110, 14).
    A client that leaves gives up the transfer. Raises `HTTPException`: 400 for what is not a hash or a form,
    404 for what is not cached or has no tar, 416 for a part beyond the end.
    """
    try:
        check_form(form)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    try:
        layer = await cache.get(name)
        is_tar = form == "uncompressed"
        size = layer.uncompressed_size if is_tar else layer.size
        headers = {"etag": f'"{_hash(layer, name, is_tar=is_tar)}"'}
        span = None if size is None else _part(request, size, headers)
        media_type = OCI_LAYER if is_tar else layer.media_type
        if request.method == "HEAD":
            return Response(None, 206 if span else 200, headers, media_type)
        start, end = span or (0, None)
        stream = await (layer.uncompressed if is_tar else layer.compressed)(start, end)
    except InvalidNameError as error:
        raise HTTPException(400, error.message) from error
    except (NotFoundError, NotALayerError) as error:
        raise HTTPException(404, error.message) from error
    return StreamingResponse(_chunks(stream), 206 if span else 200, headers, media_type=media_type)


def _hash(layer: Layer, name: str, *, is_tar: bool) -> str:
    """What the bytes hash to; for a tar whose diff ID is not known yet, what leads to it."""
    return str((layer.names.diff_id or f"{name}.tar") if is_tar else layer.digest)


def _part(request: Request, size: int, headers: dict[str, str]) -> Span | None:
    """The part that is asked for, or None for the whole; and the headers that say so."""
    headers |= {"accept-ranges": "bytes", "content-length": str(size)}
    is_current = request.headers.get("if-range", headers["etag"]) == headers["etag"]
    found = spans(request.headers.get("range", ""), size) if is_current else None
    if found == []:
        raise HTTPException(416, headers={"content-range": f"bytes */{size}"})
    if found is None or len(found) > 1:  # of several ranges, all of the body may be sent
        return None
    (span,) = found
    headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    headers["content-length"] = str(span.size)
    return span


async def _chunks(stream: Stream) -> AsyncIterator[bytes]:
    async with stream:  # a client that leaves cancels this, and with it the transfer
        async for chunk in stream:
            yield chunk
