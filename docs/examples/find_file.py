"""Search for one file in many images, each image in a thread; layers that they share are read once.

python find_file.py usr/lib/os-release debian:12 ubuntu:24.04 …
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import layercache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache import Cache


def find(cache: Cache, path: str, images: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each image, and the SHA-256 of the file there; empty if it has none."""
    names = list(images)
    with ThreadPoolExecutor(8) as pool:
        yield from zip(names, pool.map(partial(digest_of, cache, path), names), strict=True)


def digest_of(cache: Cache, path: str, image: str) -> str:
    found = cache.image(image).files().get(path)
    return found.entry.sha256 if found else ""


def main(path: str, images: list[str], cache_url: str | None = None) -> int:
    with layercache.open(cache_url) as cache:
        found = list(find(cache, path, images))
    for image, digest in found:
        print(f"{digest or 'not there':<64}  {image}")
    return 0 if any(digest for _, digest in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
