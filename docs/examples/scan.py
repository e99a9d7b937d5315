"""A scanner over an image: which Debian or Alpine packages it has, and which files anybody may take over.

python scan.py debian:12
"""

from __future__ import annotations

import json
import re
import stat
import sys
from typing import TYPE_CHECKING, TypedDict

import layercache

if TYPE_CHECKING:
    from layercache import Image


class Finding(TypedDict):
    image: str
    packages: dict[str, str]
    world_writable: list[str]
    set_id: list[str]


DATABASES = {
    "var/lib/dpkg/status": r"^Package: (\S+)\n(?:\S.*\n| .*\n)*?Version: (\S+)",
    "lib/apk/db/installed": r"^P:(\S+)\nV:(\S+)",
}


def scan(image: Image) -> Finding:
    packages: dict[str, str] = {}
    files = image.files()
    for path, pattern in DATABASES.items():
        if files.get(path):
            with image.open(path) as database:
                packages |= dict(re.findall(pattern, database.read().decode(), re.MULTILINE))
    regular = [file.entry for file in files if file.entry.type == "file"]
    return Finding(
        image=image.name,
        packages=packages,
        world_writable=[entry.path for entry in regular if entry.mode & stat.S_IWOTH],
        set_id=[entry.path for entry in regular if entry.mode & (stat.S_ISUID | stat.S_ISGID)],
    )


def main(name: str, cache_url: str | None = None) -> None:
    with layercache.open(cache_url) as cache:
        print(json.dumps(scan(cache.image(name)), indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:3])
