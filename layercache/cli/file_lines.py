"""Files as ``layercache files`` and ``find`` print them: names, a table, JSON Lines, or raw."""

from __future__ import annotations

import stat
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from layercache.cli import output
from layercache.cli.file_names import shown
from layercache.cli.table import Column

if TYPE_CHECKING:
    from layercache.cli.table import Lines
    from layercache.index.entry import FileEntry
    from layercache.oci.digest import Digest

COLUMNS = (
    Column("MODE"),
    Column("OWNER"),
    Column("SIZE", right=True),
    Column("TIME"),
    Column("LAYER"),
    Column("PATH"),
)

_BITS = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "character": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
}


def accept_any_name() -> None:
    """Write what the encoding of stdout lacks as an escape: a name out of an image may have any letter."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def cells(entry: FileEntry, layer: Digest | None, lines: Lines) -> tuple[str, ...]:
    """What a table has of a file: as ``ls -l``, and the layer that it is from."""
    mode = stat.filemode(_BITS[entry.type] | entry.mode)
    owner = (
        f"{shown(entry.user) if entry.user else entry.uid}:{shown(entry.group) if entry.group else entry.gid}"
    )
    size = ",".join(map(str, entry.device)) if entry.device else lines.size(entry.size)
    time = _time(entry.mtime // 10**9, whole=lines.whole)
    return (mode, owner, size, time, lines.hash(layer), f"{shown(entry.path)}{_link(entry)}")


def document(entry: FileEntry, layer: Digest | None) -> dict[str, object]:
    """What JSON has of a file. ``mode`` is octal, ``mtime`` seconds since 1970, xattrs are in base64."""
    import base64

    return {
        "path": entry.path,
        "type": entry.type,
        "size": entry.size,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "user": entry.user,
        "group": entry.group,
        "mtime": entry.mtime / 1e9,
        "link": entry.link or None,
        "device": entry.device,
        "xattrs": {name: base64.b64encode(value).decode() for name, value in entry.xattrs.items()},
        "sha256": entry.sha256 or None,
        "layer": layer,
    }


@lru_cache(maxsize=4096)
def _time(seconds: int, *, whole: bool) -> str:
    """A time as it is printed; those of whole trees are the same."""
    from datetime import UTC, datetime, timedelta

    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    except OverflowError:  # a tar may state any number
        return output.UNKNOWN
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if whole else f"{moment:%Y-%m-%d}"


def _link(entry: FileEntry) -> str:
    match entry.type:
        case "symlink":
            return f" -> {shown(entry.link)}"
        case "hardlink":
            return f" link to {shown(entry.link)}"  # as tar -tv
        case _:
            return ""
