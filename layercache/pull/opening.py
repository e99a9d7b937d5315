"""Opens many images in parallel: each costs a few round trips, so one after the other would take long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.oci.platforms import ALL
from layercache.oci.reference import canonical
from layercache.pull.patterns import expand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.images.image import Image
    from layercache.pull.filled import FilledCache


@dataclass(slots=True)
class Opened:
    """The images that a name leads to, one for each platform; and what failed: the name itself, or some of
    its platforms.
    """

    name: str
    images: list[Image] = field(default_factory=list)
    errors: list[LayercacheError] = field(default_factory=list)


def open_images(cache: FilledCache, names: Iterable[str], platform: str | None, jobs: int) -> list[Opened]:
    """Open images, several in parallel, and return them in the order of their names, each image once.

    A name can be a pattern of tags. An error is recorded, and the other images are opened.
    """
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="open")
    try:
        found: dict[str, Opened] = {}
        for opened in pool.map(partial(_expand, cache), dict.fromkeys(names)):
            for each in opened:
                found.setdefault(canonical(each.name), each)
        return list(pool.map(partial(_open, cache, platform), found.values()))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _expand(cache: FilledCache, name: str) -> list[Opened]:
    try:
        return [Opened(each) for each in expand(cache, name)]
    except LayercacheError as error:
        return [Opened(name, errors=[error])]


def _open(cache: FilledCache, platform: str | None, opened: Opened) -> Opened:
    if not opened.errors:
        try:
            if platform == ALL:
                opened.images += cache.platforms(opened.name, missing=opened.errors.append)
            else:
                opened.images.append(cache.image(opened.name, platform=platform))
        except LayercacheError as error:
            opened.errors.append(error)
    return opened
