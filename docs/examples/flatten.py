"""Flatten an image into a folder, as the root file system of a container or a chroot.

sudo python flatten.py debian:12 /srv/debian
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import layercache


def main(name: str, folder: str, cache_url: str | None = None) -> int:
    """Write the image's files, and its environment beside them. Devices and owners need root."""
    is_root = os.geteuid() == 0
    with layercache.open(cache_url) as cache:
        image = cache.image(name)
        done = image.extract(folder, owners=is_root, devices=is_root, set_id=True)
    environment = image.config.get("config", {}).get("Env", [])
    Path(f"{folder}.env").write_text("".join(f"{line}\n" for line in environment))
    print("\n".join(f"not written: {path}" for path in done.skipped) or f"{name} is in {folder}")
    return 1 if done.skipped else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
