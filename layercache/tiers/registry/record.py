"""A record in a registry: an artefact that holds the blob of a name, and has the record as an annotation.

A registry has no names that we could choose but tags, and drops every blob that no manifest refers to. So
each hash that a cache knows has one small image manifest, tagged with it::

    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
     "artifactType": "application/vnd.dev.layercache.name.v1+json",
     "config": <the empty blob>,
     "layers": [<the blob of this name>],                     the empty blob where it is not there
     "annotations": {
        "dev.layercache.name": "sha256:...",
        "org.opencontainers.image.created": "...",            when the blob came
        "dev.layercache.record": "{…}"}}                       as any other store has it

Earlier versions wrote the computed and the claimed facts into two annotations. Those are read, too.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from layercache.errors import FormatError, InvalidNameError
from layercache.oci.descriptor import NOT_VALID, OCI_MANIFEST, OCTETS, Descriptor, Manifest, decode, encode
from layercache.oci.digest import Digest, Hash
from layercache.tiers.association import Association
from layercache.tiers.record import Record
from layercache.value import json_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME_TYPE = "application/vnd.dev.layercache.name.v1+json"
IMAGE_TYPE = "application/vnd.dev.layercache.image.v1+json"

NAME = "dev.layercache.name"
RECORD = "dev.layercache.record"
IMAGE = "dev.layercache.image"
IMAGE_DESCRIPTOR = "dev.layercache.image.descriptor"
CREATED = "org.opencontainers.image.created"

EMPTY_DATA = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = Descriptor(media_type=EMPTY_TYPE, digest=Digest.of(EMPTY_DATA), size=len(EMPTY_DATA))
"""image-spec manifest.md, "Guidance for an Empty Descriptor"."""

_TAG_HEX = 64
"""Digits of a hash that a tag has room for (it has 128 characters): all of a sha256, half of a sha512."""

_NAME_TAG = re.compile(rf"(?:sha256|sha512)-[0-9a-f]{{{_TAG_HEX}}}")
_IMAGE_TAG = re.compile(r"image-[0-9a-f]{64}")


def tag_of(name: Hash) -> str:
    """The tag of a name's record."""
    return f"{name.algorithm}-{name.hex[:_TAG_HEX]}"


def is_name_tag(tag: str) -> bool:
    return _NAME_TAG.fullmatch(tag) is not None


def image_tag_of(key: str) -> str:
    """The tag of an image's record: a reference may be longer than a tag, and has other characters."""
    return f"image-{Digest.of(key.encode()).hex}"


def is_image_tag(tag: str) -> bool:
    return _IMAGE_TAG.fullmatch(tag) is not None


def manifest_tag_of(digest: Hash) -> str:
    """The tag that keeps an image's manifest or index, and each child of an index."""
    return f"manifest-{tag_of(digest)}"


class _Artefact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    schema_version: int
    media_type: str
    artifact_type: str
    config: Descriptor = msgspec.field(default_factory=lambda: EMPTY)
    layers: list[Descriptor]
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class NameRecord:
    """``size`` in bytes of the blob of this name; None where the registry does not hold it.

    ``published``: when the blob came, in seconds since the epoch; 0 where that is not known.
    """

    record: Record
    size: int | None = None
    published: float = 0.0

    @property
    def name(self) -> Hash:
        return self.record.name

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing, as where there is none."""
        return self.size is None and not self.record

    @classmethod
    def decode(cls, data: bytes, tag: str) -> NameRecord:
        """What a tag's manifest says of its name. Raises `FormatError` for what is not a record of it.

        A record that is torn says nothing, but the blob is there.
        """
        manifest = decode(data, Manifest, f"the record {tag}")
        annotations = manifest.annotations or {}
        try:
            name = Hash(annotations.get(NAME, ""))
        except InvalidNameError as error:
            raise FormatError(f"the record {tag} names nothing") from error
        if manifest.artifact_type != NAME_TYPE or tag_of(name) != tag:
            raise FormatError(f"{tag} is not a record of a name")
        held = [layer for layer in manifest.layers if layer.digest == name and layer.media_type != EMPTY_TYPE]
        record = _earlier(annotations, name)
        with suppress(FormatError):
            record = record.merge(Record.decode(annotations.get(RECORD, "").encode(), name))
        return cls(record, held[0].size if held else None, _seconds(annotations.get(CREATED, "")))

    def encode(self) -> bytes:
        annotations = {NAME: str(self.name)}
        if self.published:
            annotations[CREATED] = datetime.fromtimestamp(self.published, UTC).isoformat()
        if self.record:
            annotations[RECORD] = self.record.encode().decode()
        return artefact(NAME_TYPE, annotations, [] if self.size is None else [self._blob])

    @property
    def _blob(self) -> Descriptor:
        own = [fact.media_type for fact in self.record.as_digest]
        return Descriptor(media_type=own[0] if own else OCTETS, digest=Digest(self.name), size=self.size or 0)


def artefact(kind: str, annotations: dict[str, str], blobs: Iterable[Descriptor]) -> bytes:
    """An image manifest of no image: it holds these blobs, so that no garbage collection takes them."""
    return encode(
        _Artefact(
            schema_version=2,
            media_type=OCI_MANIFEST,
            artifact_type=kind,
            layers=list(blobs) or [EMPTY],
            annotations=annotations,
        )
    )


def image_record(key: str, descriptor: Descriptor) -> bytes:
    """What a reference names. The image's own blobs are held by their names' records."""
    return artefact(IMAGE_TYPE, {IMAGE: key, IMAGE_DESCRIPTOR: encode(descriptor).decode()}, [])


def read_image(data: bytes) -> tuple[str, Descriptor]:
    """The key of an image and what it named. Raises `FormatError`."""
    manifest = decode(data, Manifest, "an image's record")
    annotations = manifest.annotations or {}
    if manifest.artifact_type != IMAGE_TYPE or IMAGE not in annotations:
        raise FormatError("the tag of an image is not a record of one")
    text = annotations.get(IMAGE_DESCRIPTOR, "")
    return annotations[IMAGE], decode(text.encode(), Descriptor, "what an image's record names")


def _earlier(annotations: Mapping[str, str], name: Hash) -> Record:
    """The record as earlier versions wrote it. A fact that is torn, or about other names, is not a fact."""
    record = Record(name)
    for key, computed in (("dev.layercache.computed", True), ("dev.layercache.claimed", False)):
        if key not in annotations:
            continue
        try:
            parts = json_decoder(list[msgspec.Raw]).decode(annotations[key].encode())
        except NOT_VALID:
            continue
        for part in parts:
            with suppress(FormatError, InvalidNameError):
                fact = Association.of(decode(bytes(part), Descriptor, "a fact"), computed=computed)
                if name in (fact.digest, fact.diff_id):
                    record = record.merge(Record(name, (fact,)))
    return record


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
