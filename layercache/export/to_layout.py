"""Exports an image to an OCI layout: first each blob, then ``index.json``, which is replaced atomically."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from layercache.errors import ConfigError, DigestMismatchError, FormatError, SourceError
from layercache.export.files import appearing, copy_checked, until_right
from layercache.export.layout_index import LAYOUT_MARKER, empty_index
from layercache.oci.annotations import REF_NAME
from layercache.oci.descriptor import DOCUMENT_MAX, INDEX_SHARE, NOT_VALID
from layercache.oci.forms import COMPRESSED
from layercache.sources.file_section import read_file
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.export.contents import Contents, Document
    from layercache.export.layout_index import EntryNames
    from layercache.layer import Layer
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest


class LayoutTarget:
    """An existing layout keeps its other entries and blobs."""

    one_platform: ClassVar[bool] = False

    def __init__(self, path: str, names: EntryNames) -> None:
        self._path = path
        self._names = names

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write everything; return how many blobs were written, and how many bytes."""
        self._prepare()
        written = [self._put(each) for each in (*contents.configs.values(), *contents.manifests)]
        for digest, layer in contents.layers.items():
            size = contents.sizes[digest]
            if self._has(digest, size):
                seen(size)
                continue
            put = partial(self._put_layer, digest, size, layer, seen)
            written.append(until_right(layer, COMPRESSED, put))
        self._list(contents.root.descriptor)
        sizes = [size for size in written if size]
        return len(sizes), sum(sizes)

    def _put_layer(self, digest: Digest, size: int, layer: Layer, seen: Callable[[int], object]) -> int:
        done = 0

        def passed(count: int) -> None:
            nonlocal done
            done += count
            seen(count)

        try:
            with layer.compressed() as stream, self._blob(digest) as file:
                return copy_checked(stream, digest, size, file.write, passed)
        except DigestMismatchError:
            seen(-done)
            raise

    def _prepare(self) -> None:
        path = self._path
        if os.path.exists(path) and not os.path.isdir(path):
            raise ConfigError(
                f"cannot write {path}: it is not a folder, and an OCI layout is one",
                hint=f"as one file it is oci-archive:{path}",
            )
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise SourceError(f"cannot write {path}: {error.strerror}") from error
        marker = os.path.join(path, "oci-layout")
        with self._alone():
            if os.path.isfile(marker):
                return
            if os.listdir(path):
                hint = "name an OCI layout, or a folder that does not exist yet"
                raise SourceError(f"{path} is not an OCI layout", hint=hint)
            with appearing(marker) as file:
                file.write(LAYOUT_MARKER)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a lock, so that no other export changes the layout."""
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _put(self, document: Document) -> int:
        if self._has(document.descriptor.digest, len(document.data)):
            return 0
        with self._blob(document.descriptor.digest) as file:
            file.write(document.data)
        return len(document.data)

    def _has(self, digest: Digest, size: int) -> bool:
        path = self._path_of(digest)
        return os.path.isfile(path) and os.path.getsize(path) == size

    @contextmanager
    def _blob(self, digest: Digest) -> Iterator[Any]:
        path = self._path_of(digest)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # Not in blobs/: other tools fail on unknown names there.
        with appearing(path, beside=self._path) as file:
            yield file

    def _path_of(self, digest: Digest) -> str:
        return os.path.join(self._path, "blobs", digest.algorithm, digest.hex)

    def _list(self, root: Descriptor) -> None:
        """Add the image to index.json; an entry of the same name is replaced."""
        with self._alone():
            index = self._index()
            others = [each for each in index["manifests"] if not self._is_replaced(each, root)]
            index["manifests"] = [*others, self._names.entry(root)]
            with appearing(os.path.join(self._path, "index.json")) as file:
                file.write(msgspec.json.encode(index, enc_hook=str))

    def _index(self) -> dict[str, Any]:
        path = os.path.join(self._path, "index.json")
        if not os.path.exists(path):
            return empty_index()
        try:
            data = read_file(path, DOCUMENT_MAX * INDEX_SHARE, path)
            index: dict[str, Any] = json_decoder(dict[str, Any]).decode(data)
        except NOT_VALID as error:
            raise FormatError(f"{path} is not an index: {error}") from error
        entries = index.setdefault("manifests", [])
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise FormatError(f"{path} is not an index: its manifests are not a list of descriptors")
        return index

    def _is_replaced(self, entry: dict[str, Any], root: Descriptor) -> bool:
        annotations = entry.get("annotations")  # of another tool, and kept as they are
        name = annotations.get(REF_NAME, "") if isinstance(annotations, dict) else ""
        ref = self._names.ref
        return bool(name == ref and (ref or entry.get("digest") == root.digest))
