"""Layers that contain a table, as stargz-snapshotter and containers/storage write them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fixtures.zstd import zstd
from index.tars import make, member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Entries = list[dict[str, Any]]

TYPES = {"0": "reg", "1": "hardlink", "2": "symlink", "3": "char", "4": "block", "5": "dir", "6": "fifo"}


class Blob:
    """A blob, the annotations of its descriptor, and what was read of it."""

    def __init__(self, data: bytes, annotations: dict[str, str]) -> None:
        self.data = data
        self.annotations = annotations
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, end: int) -> bytes:
        assert 0 <= start <= end <= len(self.data)
        self.reads.append((start, end))
        return self.data[start:end]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _members(tar: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes, bytes]]:
    """Each member: what it is, its headers with the padding before them, its bytes."""
    at = 0
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as opened:
        for each in opened:
            size = each.size if each.isreg() else 0
            yield each, tar[at : each.offset_data], tar[each.offset_data : each.offset_data + size]
            at = each.offset_data + size


def _entry(each: tarfile.TarInfo, content: bytes) -> dict[str, Any]:
    name = each.name + ("/" if each.isdir() else "")
    made: dict[str, Any] = {
        "name": name,
        "type": TYPES[each.type.decode()],
        "mode": each.mode,
        "uid": each.uid,
    }
    made |= {"gid": each.gid, "linkName": each.linkname, "devMajor": each.devmajor, "devMinor": each.devminor}
    made["modtime"] = datetime.fromtimestamp(int(each.mtime), UTC).isoformat().replace("+00:00", "Z")
    xattrs = {
        key.removeprefix("SCHILY.xattr."): base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
        for key, value in each.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    }
    made |= {"xattrs": xattrs, "size": len(content), "digest": sha256(content) if content else ""}
    return {key: value for key, value in made.items() if value}


def _pieces(content: bytes, chunk: int) -> list[bytes]:
    return [content[at : at + chunk] for at in range(0, len(content), chunk)]


def estargz(
    tar: bytes,
    chunk: int = 1000,
    *,
    legacy: bool = False,
    together: bool = False,
    change: Callable[[Entries], object] = lambda _: None,
) -> Blob:
    """A layer as stargz-snapshotter writes it. ``together``: several chunks in one member (innerOffset)."""
    out, pending, entries = bytearray(), b"", []
    inner = start = 0
    for each, headers, content in _members(tar):
        pending += headers
        made = _entry(each, content) | {"userName": each.uname, "groupName": each.gname}
        parts = _pieces(content, chunk)
        entries.append(made)
        for number, part in enumerate(parts):
            if number:
                entries.append({"name": each.name, "type": "chunk", "chunkOffset": chunk * number})
            if not together or not inner:
                out += gzip.compress(pending)
                pending, inner, start = b"", 0, len(out)
            else:
                inner = len(pending)
            entries[-1] |= {"offset": start, "chunkDigest": sha256(part)}
            if together and inner:
                entries[-1]["innerOffset"] = inner
            if number < len(parts) - 1:
                entries[-1]["chunkSize"] = len(part)
            pending += part
            inner = len(pending)
            if not together:
                out += gzip.compress(pending)
                pending = b""
    out += gzip.compress(pending + bytes(-len(pending) % 512)) if pending else b""
    change(entries)
    toc = json.dumps({"version": 1, "entries": entries}, indent="\t").encode()
    toc_offset = len(out)
    out += gzip.compress(make([(member("stargz.index.json"), toc)], tarfile.USTAR_FORMAT))
    extra = b"%016xSTARGZ" % toc_offset
    extra = extra if legacy else b"SG" + struct.pack("<H", len(extra)) + extra
    out += (
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
        + struct.pack("<H", len(extra))
        + extra
        + b"\x01\0\0\xff\xff"
        + bytes(8)
    )
    return Blob(bytes(out), {"containerd.io/snapshot/stargz/toc.digest": sha256(toc)})


def _skippable(data: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", len(data)) + data


def zstd_chunked(
    tar: bytes,
    chunk: int = 1000,
    *,
    containers: bool = True,
    change: Callable[[Entries], object] = lambda _: None,
) -> Blob:
    """A layer as containers/storage writes it, or (``containers=False``) as stargz-snapshotter does."""
    out, pending, entries = bytearray(), b"", []
    for each, headers, content in _members(tar):
        pending += headers
        made = _entry(each, content)
        parts = _pieces(content, chunk)
        entries.append(made)
        if parts:
            out += zstd.compress(pending)
            pending = b""
        for number, part in enumerate(parts):
            if number:
                entries.append({"name": each.name, "type": "chunk", "chunkOffset": chunk * number})
            entries[-1]["offset"] = len(out)
            if len(parts) > 1:
                entries[-1] |= {"chunkSize": len(part), "chunkDigest": sha256(part)}
                if containers and not any(part):
                    entries[-1]["chunkType"] = "zeros"
            out += zstd.compress(part)
        if parts:
            made["endOffset"] = len(out)
    out += zstd.compress(pending)
    change(entries)
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    packed = zstd.compress(toc)
    position = f"{len(out) + 8}:{len(packed)}:{len(toc)}"
    footer = struct.pack("<4Q", len(out) + 8, len(packed), len(toc), 1)
    out += _skippable(packed)
    prefix = "io.github.containers.zstd-chunked." if containers else "io.containers.zstd-chunked."
    annotations = {
        prefix + "manifest-checksum": sha256(packed),
        prefix + "manifest-position": f"{position}:1",
    }
    if containers:
        out += _skippable(footer + struct.pack("<3Q", 0, 0, 0) + b"GNUlInUx")
    else:
        annotations["containerd.io/snapshot/stargz/toc.digest"] = sha256(toc)
        out += _skippable(footer + b"GnUlInUx")
    return Blob(bytes(out), annotations)
