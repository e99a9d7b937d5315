"""What fsspec reports of a file."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layercache.files.merged import ImageFile, ImageFiles

_FORMATS = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,  # to a file of a layer below, which is not there
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "character": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
}
_TYPES = {"file": "file", "directory": "directory", "symlink": "link"}


def details(files: ImageFiles, found: ImageFile, name: str, *, listed: bool = False) -> dict[str, Any]:
    """Describe a file under the name that fsspec has for it.

    A symbolic link is described as what it leads to; one that leads nowhere has the type "link", and, in a
    listing, so has one to a folder. ``mtime`` and ``created`` are seconds since the epoch, as a tar has no
    other time. ``sha256`` is empty for what is not a file.
    """
    link = found.entry if found.entry.type == "symlink" else None
    led = (files.get(found.path) or found) if link else found
    entry = led.entry
    kind = _TYPES.get(entry.type, "other")
    told: dict[str, Any] = {
        "name": name,
        "size": entry.size,
        "type": "link" if link and listed and kind == "directory" else kind,
        "mode": _FORMATS[entry.type] | entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime / 10**9,
        "created": entry.mtime / 10**9,
        "sha256": entry.sha256,
        "islink": link is not None,
    }
    if link:
        told["destination"] = link.link
    return told
