"""Caches that the file systems of a process share, and the files of what they have opened there."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import layercache
from layercache.backend import PerProcess
from layercache.sources.names import registry_reference
from layercache.value import replace

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.files.merged import ImageFiles
    from layercache.images.image import Image

KEPT = 32
"""Images and layers whose files are kept for each cache. 100,000 files take some 50 MB."""


class Key(NamedTuple):
    """What was asked for. ``layer``: whether the name is a layer's hash, and not an image's name."""

    name: str
    layer: bool
    platform: str | None


class Found(NamedTuple):
    """The files of an image or a layer. ``pinned``: the name by which it is found as it is now."""

    files: ImageFiles
    pinned: str


class OpenCache:
    """An open cache, and what was opened in it. It is closed when no file system uses it, or Python ends.

    fsspec makes a file system for each thread that asks for one. They share this, so a program has each
    cache and each table once.
    """

    def __init__(self, urls: str | tuple[str, ...] | None) -> None:
        self._cache = layercache.open(urls)
        # Guards the dictionaries. What takes long is done under a separate lock for each key: threads that
        # ask for the same wait for one of them, and the others do not wait.
        self._lock = threading.Lock()
        self._locks: weakref.WeakValueDictionary[Key, threading.Lock] = weakref.WeakValueDictionary()
        self._found: OrderedDict[Key, Found] = OrderedDict()
        weakref.finalize(self, _close, self._cache, os.getpid())

    def find(self, key: Key) -> Found:
        """What a key names, as it was when it was first asked for. Raises as `Cache.image`, `Cache.get`."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                found = self._found.get(key)
            if found is None:
                found = self._look_up(key)
            with self._lock:
                self._found[key] = found
                self._found.move_to_end(key)
                while len(self._found) > KEPT:
                    self._found.popitem(last=False)
        return found

    def forget(self) -> None:
        """Look up again what each key names."""
        with self._lock:
            self._found.clear()

    def _look_up(self, key: Key) -> Found:
        if key.layer:
            return Found(self._cache.get(key.name).files().view, key.name)
        image = self._cache.image(key.name, platform=key.platform)
        return Found(image.files(), _pinned(key.name, image))


def _pinned(name: str, image: Image) -> str:
    """The image's name by digest; where that is not possible, as it is."""
    reference = registry_reference(name)
    return str(replace(reference, tag=None, digest=image.root.digest)) if reference else name


def _close(cache: Cache, process: int) -> None:
    if os.getpid() == process:  # a forked child has the parent's in memory
        cache.close()


class _OpenCaches:
    """The open caches of a process, as long as anybody uses them."""

    def __init__(self) -> None:
        # Held while a cache is opened, so that two threads do not open the same one.
        self._lock = threading.Lock()
        self._open: weakref.WeakValueDictionary[str | tuple[str, ...] | None, OpenCache]
        self._open = weakref.WeakValueDictionary()

    def get(self, urls: str | tuple[str, ...] | None) -> OpenCache:
        with self._lock:
            found = self._open.get(urls)
            if found is None:
                found = self._open[urls] = OpenCache(urls)
            return found


_caches = PerProcess(_OpenCaches)


def open_cache(urls: str | tuple[str, ...] | None) -> OpenCache:
    """The cache of these URLs, as `layercache.open` takes them, that this process has open, or opens now."""
    return _caches.get().get(urls)
