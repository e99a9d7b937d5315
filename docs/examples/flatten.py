"""Flatten an image into a folder, as the root file system of a container or a chroot.

sudo python flatten.py debian:12 /srv/debian
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import layercache

if TYPE_CHECKING:
    from layercache import Cache


def flatten(cache: Cache, name: str, folder: Path) -> list[str]:
    """Write the image's files; return what this user may not write: devices, without root."""
    is_root = os.geteuid() == 0
    image = cache.image(name)
    image.extract(folder, owners=is_root, devices=is_root, set_id=True)
    environment = image.config.get("config", {}).get("Env", [])
    Path(f"{folder}.env").write_text("".join(f"{line}\n" for line in environment))
    return [file.path for file in image.files() if not os.path.lexists(folder / file.path)]


def main(name: str, folder: str, cache_url: str | None = None) -> int:
    with layercache.open(cache_url) as cache:
        missing = flatten(cache, name, Path(folder))
    print("\n".join(f"not written: {path}" for path in missing) or f"{name} is in {folder}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
