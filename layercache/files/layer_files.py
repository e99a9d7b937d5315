"""The files of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.files.layer_tar import LayerTar
from layercache.files.merged import ImageFiles

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from layercache.index.entry import FileEntry
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver


class LayerFiles:
    """The entries of a layer's tar. The layer's table is read or made when it is needed first, and kept."""

    def __init__(self, resolver: Resolver, state: LayerState) -> None:
        self.tar = LayerTar(resolver, state)
        """The layer's table of contents, and its bytes."""
        self.view = ImageFiles([self.tar])
        """The layer as if it were an image: each place once, links followed inside it, no whiteouts."""

    def __iter__(self) -> Iterator[FileEntry]:
        """Every entry in the order of the tar, whiteouts and what is there several times too."""
        return iter(self.tar.table)

    def __len__(self) -> int:
        return len(self.tar.table)

    def open(self, path: str) -> io.BufferedReader:
        """The bytes of a regular file. As `ImageFiles.open`, in this layer alone."""
        return self.view.open(path)
