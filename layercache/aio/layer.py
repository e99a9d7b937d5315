"""A layer for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache import layer as blocking
from layercache.aio.stream import Stream, opening
from layercache.aio.wrapping import Awaits, Iterates, Opening, Wrapper
from layercache.transfer.cancellation import Cancellation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.index.entry import FileEntry
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.forms import Form


def _files(layer: blocking.Layer) -> Iterator[FileEntry]:
    return iter(layer.files())


class Layer(Wrapper[blocking.Layer]):
    """As `layercache.Layer`. Properties do no work; what does is awaited, or opened in ``async with``."""

    @property
    def names(self) -> blocking.Names:
        return self.sync.names

    @property
    def digest(self) -> Digest:
        return self.sync.digest

    @property
    def digests(self) -> list[Digest]:
        return self.sync.digests

    @property
    def diff_id(self) -> DiffID:
        return self.sync.diff_id

    @property
    def computed(self) -> bool:
        return self.sync.computed

    @property
    def size(self) -> int | None:
        return self.sync.size

    @property
    def uncompressed_size(self) -> int | None:
        return self.sync.uncompressed_size

    @property
    def media_type(self) -> str:
        return self.sync.media_type

    def is_on_its_way(self, form: Form) -> bool:
        return self.sync.is_on_its_way(form)

    def compressed(self, start: int = 0, end: int | None = None) -> Opening[Stream]:
        """The blob, or a part of it. As `layercache.Layer.compressed`."""
        return opening(self._workers, partial(self.sync.compressed, start, end))

    def uncompressed(self, start: int = 0, end: int | None = None) -> Opening[Stream]:
        """The tar, or a part of it. As `layercache.Layer.uncompressed`."""
        return opening(self._workers, partial(self.sync.uncompressed, start, end))

    def open(self, path: str) -> Opening[Stream]:
        """A file of the layer. As `layercache.Layer.open`."""
        return opening(self._workers, partial(self.sync.open, path))

    files = Iterates(_files)
    extract = Awaits(blocking.Layer.extract)
    fill = Awaits(blocking.Layer.fill)
    stat = Awaits(blocking.Layer.stat)
    signed_url = Awaits(blocking.Layer.signed_url)
    path = Awaits(blocking.Layer.path)

    async def compress(self, kind: str, *, level: int | None = None, everywhere: bool = True) -> Layer:
        """As `layercache.Layer.compress`."""
        compress = self.sync.compress
        made = await self._workers.call(Cancellation(), compress, kind, level=level, everywhere=everywhere)
        return Layer(made, self._workers)
