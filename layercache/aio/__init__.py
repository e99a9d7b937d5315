"""The same objects for asyncio: each call runs in a thread, and is given up at once if its task is cancelled.

For example::

    async with layercache.aio.open("file:///var/cache/layers") as cache:
        image = await cache.image("alpine:3.20")
        async with image.layers[0].uncompressed() as tar:
            async for chunk in tar:
                ...
"""

from __future__ import annotations

from layercache.aio.cache import Cache, open
from layercache.aio.events import Events
from layercache.aio.image import Image
from layercache.aio.layer import Layer
from layercache.aio.stream import Stream

__all__ = ["Cache", "Events", "Image", "Layer", "Stream", "open"]
