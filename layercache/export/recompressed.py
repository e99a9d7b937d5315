"""An image whose layers are compressed again: new layers, manifests and indexes; configs and diff IDs stay.

What is about a layer's or a manifest's old bytes is left out: annotations by which lazy pulling finds files
inside a blob, and attestations, which name the manifest that they are about by its digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from layercache.export.contents import Contents, Document
from layercache.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEXES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_OF,
    OCI_MANIFEST,
    ZSTD,
    Descriptor,
    Index,
    Manifest,
    compression_of,
    decode,
    decode_object,
    is_foreign,
    layer_type,
)
from layercache.oci.digest import Digest
from layercache.streams.compress import Compression

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.layer import Layer

ABOUT = "vnd.docker.reference.digest"
"""Annotation of an index's entry: the digest of the manifest that an attestation is about (BuildKit)."""

_OF_THE_BLOB = (
    "containerd.io/snapshot/",
    "io.containers.estargz.",
    "io.containers.zstd-chunked.",
    "io.github.containers.zstd-chunked.",
)
"""Prefixes of annotations about a layer's compressed bytes: eStargz, zstd:chunked, and other snapshotters."""

_TO_OCI = {DOCKER_CONFIG: OCI_CONFIG, DOCKER_MANIFEST: OCI_MANIFEST, DOCKER_LIST: OCI_INDEX}


@dataclass(slots=True)
class Recompressed:
    """Compresses the layers of one image. ``every``: also those that are compressed in this way already.

    An image of Docker's schema 2, which has no zstd, becomes one of OCI.
    """

    compression: Compression
    every: bool
    omitted: set[Digest] = field(default_factory=set, init=False)
    """Attestations that were left out, since they are about a manifest that was replaced."""
    _done: int = field(default=0, init=False)
    _passed: Callable[[], object] = field(default=lambda: None, init=False)
    _made: dict[Digest, Layer] = field(default_factory=dict, init=False)
    _replaced: dict[Digest, Document] = field(default_factory=dict, init=False)

    @classmethod
    def parse(cls, text: str) -> Recompressed:
        """``zstd`` or ``gzip``; with a level it is meant for all layers. Raises `ValueError`."""
        return cls(Compression.parse(text), every=":" in text)

    def contents(self, old: Contents, progress: Callable[[int, int], object]) -> Contents:
        """Compress the layers, and store them in the nearest tier that keeps them; return the new image.

        ``progress`` is called with the bytes of tars that are done, and of all as far as they are known.
        Raises as `Layer.compress` does.
        """
        total = sum(layer.uncompressed_size or layer.size or 0 for layer in old.layers.values())
        self._passed = lambda: progress(self._done, max(total, self._done))
        for document in old.manifests:
            if document.descriptor.media_type not in INDEXES:
                self._replace(document, self._manifest(document, old))
        for document in old.manifests:
            if document.descriptor.media_type in INDEXES:
                self._replace(document, self._index(document))
        manifests = [
            self._replaced.get(each.descriptor.digest, each)
            for each in old.manifests
            if each.descriptor.digest not in self.omitted
        ]
        return self._gathered(old, manifests)

    def _replace(self, document: Document, fields: dict[str, Any] | None) -> None:
        if fields is None:
            return
        data = msgspec.json.encode(fields)
        media_type = fields.get("mediaType") or document.descriptor.media_type
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
        self._replaced[document.descriptor.digest] = Document(descriptor, data)

    def _manifest(self, document: Document, old: Contents) -> dict[str, Any] | None:
        """The manifest with the new layers; None where it has nothing to compress."""
        fields = decode_object(document.data, f"the manifest {document.descriptor.digest}")
        to_oci = self.compression.kind == ZSTD and document.descriptor.media_type == DOCKER_MANIFEST
        layers = [self._layer(each, old, to_oci=to_oci) for each in fields.get("layers") or ()]
        if layers == fields.get("layers"):
            return None
        fields["layers"] = layers
        if to_oci:
            fields["mediaType"] = OCI_MANIFEST
            config = fields["config"]
            fields["config"] = config | {"mediaType": _TO_OCI.get(config["mediaType"], config["mediaType"])}
        return fields

    def _layer(self, described: dict[str, Any], old: Contents, *, to_oci: bool) -> dict[str, Any]:
        """What the new manifest says of a layer: other blobs, and foreign layers, stay as they are."""
        media_type, wanted = described["mediaType"], self.compression.kind
        compression = compression_of(media_type)
        if compression is None or is_foreign(media_type):
            return described
        if compression == wanted and not self.every:
            return described | {"mediaType": OCI_LAYER_OF[wanted]} if to_oci else described
        layer = self._compressed(Digest(described["digest"]), old)
        media_type = OCI_LAYER_OF[wanted] if to_oci else layer_type(media_type, wanted)
        described = {name: value for name, value in described.items() if name != "data"}
        if annotations := described.pop("annotations", None):
            kept = {name: text for name, text in annotations.items() if not name.startswith(_OF_THE_BLOB)}
            described |= {"annotations": kept} if kept else {}
        return described | {"mediaType": media_type, "digest": str(layer.digest), "size": layer.size}

    def _compressed(self, digest: Digest, old: Contents) -> Layer:
        if digest not in self._made:
            kind, level = self.compression.kind, self.compression.level
            layer = old.layers[digest]
            self._made[digest] = layer.compress(kind, level=level, everywhere=False, progress=self._pass)
        return self._made[digest]

    def _pass(self, size: int) -> None:
        self._done += size
        self._passed()

    def _index(self, document: Document) -> dict[str, Any] | None:
        """The index with the new manifests; None where it lists none of them."""
        fields = decode_object(document.data, f"the index {document.descriptor.digest}")
        entries = []
        for entry in fields.get("manifests") or ():
            if (entry.get("annotations") or {}).get(ABOUT) in self._replaced:
                self.omitted.add(Digest(entry["digest"]))
                continue
            if (new := self._replaced.get(entry["digest"])) is not None:
                described = new.descriptor
                entry |= {"mediaType": described.media_type, "digest": str(described.digest)}
                entry |= {"size": described.size}
            entries.append(entry)
        if not self._replaced:
            return None
        fields["manifests"] = entries
        kinds = {entry.get("mediaType") for entry in entries}
        if fields.get("mediaType") == DOCKER_LIST and kinds & {OCI_MANIFEST, OCI_INDEX}:
            fields["mediaType"] = OCI_INDEX
        return fields

    def _gathered(self, old: Contents, manifests: list[Document]) -> Contents:
        """What the new manifests name."""
        new = Contents(manifests[-1], manifests)
        layers = old.layers | {layer.digest: layer for layer in self._made.values()}
        for document in manifests:
            what = str(document.descriptor.digest)
            if document.descriptor.media_type in INDEXES:
                blobs = decode(document.data, Index, what).blobs
            else:
                manifest = decode(document.data, Manifest, what)
                config, blobs = manifest.config.digest, manifest.layers
                new.configs[config] = old.configs[config]
                if config in old.images:
                    new.images[config] = old.images[config]
            for blob in blobs:
                if is_foreign(blob.media_type):
                    new.foreign.add(blob.digest)
                else:
                    new.layers.setdefault(blob.digest, layers[blob.digest])
                    new.sizes[blob.digest] = blob.size
        return new
