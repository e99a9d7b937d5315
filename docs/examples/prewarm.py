"""A job of CI that fills a cache before the others begin: the images of a list, as a lock file has them.

python prewarm.py s3://team-layers/ci images.txt images.lock
"""

from __future__ import annotations

import sys

import layercache
from layercache.pull import read_list, write_lock


def main(url: str, listed: str, lock: str) -> int:
    with layercache.open(url) as cache:
        pulled = cache.pull(read_list(listed), failed=lambda error: print(error, file=sys.stderr))
        done = cache.counters
    if pulled.failed:
        print(f"{len(pulled.failed)} of {len(pulled.opened)} images failed", file=sys.stderr)
        return 1
    changed = write_lock(lock, pulled.references)
    print(f"{len(pulled.images)} images: {done.hits} layers were there, {done.fetched_bytes} bytes came")
    print(f"{lock} is {'new' if changed else 'unchanged'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
