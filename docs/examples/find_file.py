"""Search for one file in many images, several at a time; layers that they share are read once.

python find_file.py usr/lib/os-release debian:12 ubuntu:24.04 …
"""

from __future__ import annotations

import sys

import layercache


def main(path: str, images: list[str], cache_url: str | None = None) -> int:
    """Print each image with the SHA-256 of the file there."""
    found = 0
    with layercache.open(cache_url) as cache:
        for searched in cache.find(images, f"/{path}"):
            if searched.error:
                raise searched.error
            digests = [file.entry.sha256 for file in searched.files]
            print(f"{''.join(digests) or 'not there':<64}  {searched.name}")
            found += len(digests)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
