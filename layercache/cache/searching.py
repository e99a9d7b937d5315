"""Searches images for files in threads, each image in one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.files.find import FileSearch
from layercache.files.globs import Glob
from layercache.pull.opening import open_images
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.files.merged import ImageFile
    from layercache.images.image import Image
    from layercache.pull.filled import FilledCache


class Searched(Value, frozen=True):
    """An image that was searched, and the files in it that match, sorted by their paths.

    ``error``: why it was not; then ``image`` is None if it could not even be opened.
    """

    name: str
    image: Image | None
    files: tuple[ImageFile, ...] = ()
    error: LayercacheError | None = None


def search(
    cache: FilledCache,
    names: Sequence[str],
    patterns: Sequence[str],
    *,
    platform: str | None,
    jobs: int,
    progress: Callable[[int, int], object],
) -> Iterator[Searched]:
    """See `Cache.find`."""
    opened = open_images(cache, names, platform, jobs)
    for each in opened:
        yield from (Searched(each.name, None, error=error) for error in each.errors)
    images = [image for each in opened for image in each.images]
    globs = [Glob(pattern) for pattern in patterns]
    finder = FileSearch(
        [image.files() for image in images], lambda path: any(glob.matches(path) for glob in globs)
    )
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="find")
    progress(0, len(images))
    try:
        for number, found in enumerate(pool.map(partial(_searched, finder), images), 1):
            progress(number, len(images))
            yield found
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _searched(finder: FileSearch, image: Image) -> Searched:
    try:
        return Searched(image.name, image, tuple(finder.files(image.files())))
    except LayercacheError as error:
        return Searched(image.name, image, error=error)
