"""Builds a real image of several layers from Python and its standard library."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import sys
import sysconfig
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from layercache.oci.annotations import REF_NAME
from layercache.oci.descriptor import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    RootFS,
    encode,
)
from layercache.oci.digest import DiffID, Digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from _typeshed import ReadableBuffer

# Leaves out installed packages, compiled files and test suites.
_LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """A layer under both its names; ``size`` is the tar's, in bytes. The blob's is in the descriptor."""

    descriptor: Descriptor
    diff_id: DiffID
    size: int


@dataclass(frozen=True, slots=True)
class BuiltImage:
    manifest: Descriptor
    layers: tuple[BuiltLayer, ...]


def build_image(folder: str, tag: str = "latest") -> BuiltImage:
    """Write an OCI image layout with one image into a folder, which is created if necessary.

    Four layers, the bottom one first: the interpreter, the extension modules, the modules, the packages; the
    last is zstd, the others are gzip. The same Python gives the same digests. Raises `OSError`.
    """
    os.makedirs(os.path.join(folder, "blobs", "sha256"), exist_ok=True)
    library = sysconfig.get_path("stdlib")
    names = [name for name in os.listdir(library) if not _is_left_out(name)]
    modules = [name for name in names if os.path.isfile(os.path.join(library, name))]
    packages = [name for name in names if name not in (*modules, "lib-dynload")]
    parts = {
        "the interpreter": (_interpreter(), OCI_LAYER_GZIP),
        "extension modules": (_below(library, ["lib-dynload"]), OCI_LAYER_GZIP),
        "modules": (_below(library, modules), OCI_LAYER_GZIP),
        "packages": (_below(library, packages), OCI_LAYER_ZSTD),
    }
    layers = tuple(_build_layer(folder, files, media_type) for files, media_type in parts.values())
    config = _Config(
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        os="linux",
        config={"Cmd": ["python3"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        rootfs=RootFS(diff_ids=[layer.diff_id for layer in layers]),
        history=[{"created_by": f"layercache demo: {part}"} for part in parts],
    )
    manifest = _Manifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        config=_write_blob(folder, OCI_CONFIG, encode(config)),
        layers=[layer.descriptor for layer in layers],
    )
    image = _write_blob(folder, OCI_MANIFEST, encode(manifest), {REF_NAME: tag})
    index = _Index(schema_version=2, media_type=OCI_INDEX, manifests=[image])
    _write_file(os.path.join(folder, "index.json"), encode(index))
    _write_file(os.path.join(folder, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
    return BuiltImage(image, layers)


class _Config(msgspec.Struct, kw_only=True):
    architecture: str
    os: str
    config: dict[str, list[str]]
    rootfs: RootFS
    history: list[dict[str, str]]


# Without the defaults that the structs for reading have: a written document states no empty fields.
class _Manifest(msgspec.Struct, kw_only=True, rename="camel"):
    schema_version: int
    media_type: str
    config: Descriptor
    layers: list[Descriptor]


class _Index(msgspec.Struct, kw_only=True, rename="camel"):
    schema_version: int
    media_type: str
    manifests: list[Descriptor]


def _interpreter() -> Iterator[tuple[str, str]]:
    """Yield the files of a layer in the order of the tar: the name in the image, the path on this machine."""
    yield "usr/bin/python3", os.path.realpath(sys.executable)
    folder, name = sysconfig.get_config_vars("LIBDIR", "INSTSONAME")
    if folder and name and os.path.isfile(library := os.path.join(folder, name)):
        yield f"usr/lib/{name}", library


def _below(library: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in sorted(names):
        path = os.path.join(library, name)
        if os.path.isfile(path):
            yield f"usr/lib/{os.path.basename(library)}/{name}", path
        elif os.path.isdir(path):
            inside = [f"{name}/{below}" for below in os.listdir(path) if not _is_left_out(below)]
            yield from _below(library, inside)


def _is_left_out(name: str) -> bool:
    return name in _LEFT_OUT or name.startswith("config-")  # config-*: for rebuilding Python, 60 MB


def _build_layer(folder: str, files: Iterable[tuple[str, str]], media_type: str) -> BuiltLayer:
    unnamed = os.path.join(folder, "layer.part")
    with open(unnamed, "wb") as target:
        writer = _LayerWriter(target, media_type)
        with tarfile.open(fileobj=writer, mode="w|", bufsize=_CHUNK) as tar:
            folders: set[str] = set()
            for name, path in files:
                _add_folders(tar, os.path.dirname(name), folders)
                _add_file(tar, name, path)
        layer = writer.finish()
    os.replace(unnamed, _blob_path(folder, layer.descriptor.digest))
    return layer


def _add_folders(tar: tarfile.TarFile, folder: str, known: set[str]) -> None:
    if folder and folder not in known:
        _add_folders(tar, os.path.dirname(folder), known)
        known.add(folder)
        entry = tarfile.TarInfo(folder)  # time 0, owner 0: nothing from this machine except the files
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, name: str, path: str) -> None:
    with open(path, "rb") as source:
        status = os.fstat(source.fileno())
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
        tar.addfile(entry, source)


class _Compressor(Protocol):
    def compress(self, data: ReadableBuffer, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _LayerWriter(io.RawIOBase):
    """Takes a tar, writes the compressed blob and hashes both on the way."""

    def __init__(self, target: BinaryIO, media_type: str) -> None:
        self._target = target
        self._media_type = media_type
        self._compressor = _compressor(media_type)
        self._tar_hash, self._blob_hash = hashlib.sha256(), hashlib.sha256()
        self._tar_size = 0

    def write(self, data: ReadableBuffer) -> int:
        self._tar_hash.update(data)
        size = memoryview(data).nbytes
        self._tar_size += size
        self._emit(self._compressor.compress(data))
        return size

    def finish(self) -> BuiltLayer:
        self._emit(self._compressor.flush())
        digest = Digest.from_hasher(self._blob_hash)
        descriptor = Descriptor(media_type=self._media_type, digest=digest, size=self._target.tell())
        return BuiltLayer(descriptor, DiffID.from_hasher(self._tar_hash), self._tar_size)

    def _emit(self, data: bytes) -> None:
        self._blob_hash.update(data)
        self._target.write(data)


def _compressor(media_type: str) -> _Compressor:
    if media_type == OCI_LAYER_ZSTD:
        return zstd.ZstdCompressor(level=3)
    gzip_form = 31  # a window of 2^15 bytes (15), a gzip header and trailer around it (16)
    try:
        from isal import isal_zlib
    except ImportError:  # it is made for some architectures only
        return zlib.compressobj(1, wbits=gzip_form)
    return isal_zlib.compressobj(1, wbits=gzip_form)


def _write_blob(
    folder: str, media_type: str, data: bytes, annotations: dict[str, str] | None = None
) -> Descriptor:
    digest = Digest.of(data)
    _write_file(_blob_path(folder, digest), data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data), annotations=annotations)


def _blob_path(folder: str, digest: Digest) -> str:
    return os.path.join(folder, "blobs", digest.algorithm, digest.hex)


def _write_file(path: str, data: bytes) -> None:
    with open(path, "wb") as target:
        target.write(data)
