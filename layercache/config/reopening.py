"""Opens a cache again in another process, by the arguments that it was opened with: how pickles name it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from layercache.errors import InvalidNameError
from layercache.sources.names import registry_reference
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.layer import Layer

_caches: WeakValueDictionary[str, Cache] = WeakValueDictionary()
"""The caches of this process by token: those that it has opened itself, and those in `_reopened`."""

_reopened: list[Cache] = []
"""Those that were opened for a pickle. They stay open until the process ends: layers use them."""

# Guards both, so that layers of one cache that are unpickled in several threads share one. A forked child has
# what its parent had, and the lock may be held there by a thread that it has not: so it gets a new one.
_lock = threading.RLock()


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


class Reopening(Value, frozen=True):
    """The arguments of `layercache.open`, ``opens``, but for those that are None, and a token for the cache.

    In the process that has the cache open it stands for that one. In another one the cache is opened once,
    with the configuration, the environment and the credentials of that process.
    """

    token: str
    urls: list[str] | None
    options: dict[str, Any]
    opens: Callable[..., Cache]

    @classmethod
    def of(cls, urls: list[str] | None, options: dict[str, Any], opens: Callable[..., Cache]) -> Reopening:
        given = {name: value for name, value in options.items() if value is not None}
        if isinstance(config := given.get("config"), str | os.PathLike):
            given["config"] = os.path.abspath(os.fspath(config))
        places = None if urls is None else [_absolute(url) for url in urls]
        return cls(os.urandom(16).hex(), places, given, opens)

    def remember(self, cache: Cache) -> None:
        with _lock:
            _caches[self.token] = cache

    def cache(self) -> Cache:
        """The cache itself, if this process has it open; else one that is opened like it."""
        with _lock:
            cache = _caches.get(self.token)
            if cache is None or cache.closed:
                cache = self.opens(self.urls, **self.options)
                _caches[self.token] = cache
                _reopened.append(cache)
                _close_at_exit(cache)
            return cache

    def layer(
        self,
        digest: str | None,
        diff_id: str | None,
        size: int | None,
        media_type: str | None,
        image: str,
    ) -> Layer:
        """The layer, by what was known of it. ``image``: the one that it is from, or empty."""
        cache = self.cache()
        if digest is None:
            assert diff_id is not None, "a layer has a name"
            return cache.get(diff_id)
        return cache.layer(
            digest, diff_id=diff_id, size=size, media_type=media_type, repository=_repository(image)
        )


def _absolute(url: str) -> str:
    """A path may be relative to a folder that the other process is not in."""
    return url if "://" in url or url.startswith(("@", "~", "/")) else os.path.abspath(url)


def _repository(image: str) -> str | None:
    try:
        reference = registry_reference(image) if image else None
    except InvalidNameError:  # the path of a layout or an archive
        return None
    return reference.name if reference else None


def _close_at_exit(cache: Cache) -> None:
    atexit.register(cache.close)
    if "multiprocessing.util" in sys.modules:  # its workers end without `atexit`, but run what it registers
        from multiprocessing.util import Finalize

        Finalize(None, cache.close, exitpriority=10)
