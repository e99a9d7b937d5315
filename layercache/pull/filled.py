"""The cache that a pull fills, as far as a pull needs to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from layercache.errors import LayercacheError
    from layercache.events import Event
    from layercache.images.image import Image
    from layercache.tiers.tier import Tier


class FilledCache(Protocol):
    """Part of `layercache.Cache`, which stands above this package: its `pull` is a thin method."""

    tiers: tuple[Tier, ...]

    def image(self, name: str, *, platform: str | None = None) -> Image: ...

    def platforms(
        self, name: str, *, missing: Callable[[LayercacheError], object] | None = None
    ) -> list[Image]: ...

    def tags(self, repository: str) -> list[str]: ...

    def watch(self, watcher: Callable[[Event], object]) -> AbstractContextManager[None]: ...

    def expecting(self, layers: int) -> AbstractContextManager[Callable[[], None]]: ...
