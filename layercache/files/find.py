"""Searches many images, and each layer that they share once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from layercache.files.merged import ImageFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.files.layer_tar import LayerTar
    from layercache.files.merged import ImageFile


class FileSearch:
    """A search for paths in some images. Threads may search different images at the same time.

    A layer of several images is read and searched once; when the last of them is done, it is forgotten. The
    lock guards which layers are known and how often they are still needed; nothing is read under it.
    """

    def __init__(self, images: Sequence[ImageFiles], matches: Callable[[str], bool]) -> None:
        """``matches``: whether a path in an image, without "/" at its start, is sought."""
        self._matches = matches
        self._lock = threading.Lock()
        self._uses = Counter(tar.blob for files in images for tar in files.layers)
        self._tars: dict[str, LayerTar] = {}
        self._places: dict[str, list[str]] = {}

    def files(self, image: ImageFiles) -> list[ImageFile]:
        """What matches in one of the images, each once, sorted. Raises as iterating over the image does."""
        with self._lock:
            tars = [self._tars.setdefault(tar.blob, tar) for tar in image.layers]
        try:
            shared = ImageFiles(tars)
            shared.read_tables()
            found = {}
            for number in range(len(tars)):
                for place in self._matching(shared, number):
                    file = shared.get_place(place)
                    if file is not None:
                        found[place] = file
            return [found[place] for place in sorted(found, key=lambda path: path.replace("/", "\0"))]
        finally:
            self._forget(tars)

    def _matching(self, shared: ImageFiles, number: int) -> list[str]:
        """The places of a layer's entries that match. Two threads may both find them, and the same."""
        blob = shared.layers[number].blob
        known = self._places.get(blob)
        if known is None:
            known = [place for place in shared.places(number) if self._matches(place)]
            if shared.layers[number].placed is not None:  # the same in every image
                self._places[blob] = known
        return known

    def _forget(self, tars: Sequence[LayerTar]) -> None:
        with self._lock:
            for tar in tars:
                self._uses[tar.blob] -= 1
                if self._uses[tar.blob] <= 0:
                    self._tars.pop(tar.blob, None)
                    self._places.pop(tar.blob, None)
                    tar.forget()
