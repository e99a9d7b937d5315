"""Tars and images with all kinds of entries, and what a folder on disk has, to compare."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

from servers.images import Layer, compressed, make_image, write_layout

from layercache.oci.descriptor import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

if TYPE_CHECKING:
    from pathlib import Path

    import layercache

TYPES = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}

MTIME = 1_600_000_000


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """A member's header; a name that ends in "/" is a folder."""
    member = tarfile.TarInfo(name.rstrip("/"))
    member.type = tarfile.DIRTYPE if name.endswith("/") and kind == tarfile.REGTYPE else kind
    member.mode = 0o755 if member.isdir() else 0o644
    member.mtime = MTIME
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def symlink(name: str, target: str) -> tarfile.TarInfo:
    return info(name, tarfile.SYMTYPE, linkname=target)


def hardlink(name: str, target: str) -> tarfile.TarInfo:
    return info(name, tarfile.LNKTYPE, linkname=target)


def make_tar(*members: str | tarfile.TarInfo | tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    """A tar of members: a name (a folder, or an empty file), a header, or one of these with its bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in members:
            head, data = each if isinstance(each, tuple) else (each, b"")
            member = info(head) if isinstance(head, str) else head
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def layout_of(folder: Path, *tars: bytes, compression: str = "gzip") -> str:
    """An OCI layout with an image of these tars, lowest first; its reference for `Cache.image`."""
    layers = [Layer(tar, compressed(tar, compression), TYPES[compression]) for tar in tars]
    return f"oci:{write_layout(folder, {'latest': make_image(layers)})}:latest"


def image_of(
    cache: layercache.Cache, folder: Path, *tars: bytes, compression: str = "gzip"
) -> layercache.Image:
    return cache.image(layout_of(folder, *tars, compression=compression))


def on_disk(folder: Path | str) -> dict[str, tuple[Any, ...]]:
    """Everything in a folder: its kind, mode, owner, time and size or target, and the hash of a file."""
    found: dict[str, tuple[Any, ...]] = {}
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            status = os.lstat(path)
            told: list[Any] = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
            if not stat.S_ISLNK(status.st_mode):
                told.append(status.st_mtime_ns)
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    told += [status.st_size, status.st_nlink, hashlib.file_digest(file, "sha256").hexdigest()]
            elif stat.S_ISLNK(status.st_mode):
                told.append(os.readlink(path))
            elif not stat.S_ISDIR(status.st_mode):
                told.append(status.st_rdev)
            found[os.path.relpath(path, folder)] = tuple(told)
    return found
