"""OCI's JSON documents: descriptors, image manifests, indexes; and what their media types mean.

Only the fields that layercache acts on are typed. Documents are kept and passed on byte for byte, so
nothing that is not named here is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from layercache.errors import FormatError, InvalidNameError
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.value import convert, json_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
OCTETS = "application/octet-stream"

MEDIA_TYPE_MAX = 255
"""Characters of a media type at most: 127 on each side of the slash (RFC 6838, 4.2)."""

DOCUMENT_MAX = 4 << 20
"""Bytes of a manifest, an index or a config at most, unless configured (distribution-spec, "Pushing
Manifests"): they are held in memory."""

INDEX_SHARE = 16
"""How many times as big as any other document index.json may be: it lists a whole cache."""

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})

NO_COMPRESSION = "none"
GZIP = "gzip"
ZSTD = "zstd"

# image-spec layer.md, and Docker's "Image Manifest Version 2, Schema 2"; a foreign type inflates as its twin.
_LAYERS = {
    OCI_LAYER: NO_COMPRESSION,
    OCI_LAYER_GZIP: GZIP,
    OCI_LAYER_ZSTD: ZSTD,
    DOCKER_LAYER: NO_COMPRESSION,
    DOCKER_LAYER_GZIP: GZIP,
    DOCKER_LAYER_ZSTD: ZSTD,
    "application/vnd.oci.image.layer.nondistributable.v1.tar": NO_COMPRESSION,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": ZSTD,
    "application/vnd.docker.image.rootfs.foreign.diff.tar": NO_COMPRESSION,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": GZIP,
}

# What a layer is called by how it is compressed, in each of the two families.
OCI_LAYER_OF = {NO_COMPRESSION: OCI_LAYER, GZIP: OCI_LAYER_GZIP, ZSTD: OCI_LAYER_ZSTD}
DOCKER_LAYER_OF = {NO_COMPRESSION: DOCKER_LAYER, GZIP: DOCKER_LAYER_GZIP, ZSTD: DOCKER_LAYER_ZSTD}


def compression_of(media_type: str) -> str | None:
    """How a layer of this media type is compressed; None if the type is not a layer's, or does not say."""
    return _LAYERS.get(media_type)


def layer_type(stated: str, compression: str) -> str:
    """The media type of a layer that is compressed so: the stated one where it agrees, else its twin."""
    if compression_of(stated) == compression:
        return stated
    return (DOCKER_LAYER_OF if stated.startswith(DOCKER_LAYER) else OCI_LAYER_OF)[compression]


def is_layer(media_type: str) -> bool:
    """Whether a blob of this type may hold a layer: it has a layer's type, or a generic one."""
    return media_type in _LAYERS or media_type == OCTETS


def is_foreign(media_type: str) -> bool:
    """Whether the blob is non-distributable: part of an image, but not served by its registry."""
    return "nondistributable" in media_type or ".foreign." in media_type


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """image-spec image-index.md, "platform"."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")

    def __str__(self) -> str:
        text = "/".join(part for part in (self.os, self.architecture, self.variant) if part)
        return text if text.isprintable() else ascii(text)  # the author of an image chose it


SizeInBytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """image-spec descriptor.md: media type, digest and size in bytes of a blob."""

    media_type: str = OCTETS
    digest: Digest
    size: SizeInBytes
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str = ""


class UncheckedDescriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of a descriptor that facts need. The digest may be any text: checking it while decoding would
    call Python for each, and a listing decodes twice as many as it uses.
    """

    media_type: str = OCTETS
    digest: str
    size: SizeInBytes
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """image-spec manifest.md, and Docker's schema 2."""

    schema_version: int = 2
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor] = []
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """image-spec image-index.md, and Docker's manifest list."""

    schema_version: int = 2
    media_type: str = ""
    manifests: list[Descriptor] = []
    annotations: dict[str, str] | None = None

    @property
    def documents(self) -> list[Descriptor]:
        """The entries that are manifests or indexes themselves."""
        return [entry for entry in self.manifests if entry.media_type in INDEXES | MANIFESTS]

    @property
    def blobs(self) -> list[Descriptor]:
        """The other entries: BuildKit exports a build's cache as an index of layers."""
        return [entry for entry in self.manifests if entry.media_type not in INDEXES | MANIFESTS]


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    type: str | None = "layers"
    diff_ids: list[DiffID] | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """image-spec config.md: the part that names the layers' tars and the platform."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    rootfs: RootFS | None = None

    @property
    def diff_ids(self) -> list[DiffID]:
        """The names of the layers' tars, lowest first; empty where the config names none."""
        return (self.rootfs.diff_ids if self.rootfs else None) or []

    @property
    def platform(self) -> Platform:
        return Platform(architecture=self.architecture, os=self.os, variant=self.variant)


DocumentT = TypeVar("DocumentT", bound=msgspec.Struct)

NOT_VALID = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for bytes that are not the JSON that was wanted.

Text that is not UTF-8 and a number of thousands of digits are a `ValueError`, deep nesting is a
`RecursionError`.
"""


def decode(data: bytes, kind: type[DocumentT], what: str) -> DocumentT:
    """Read a JSON document, in which null stands for what is absent.

    Raises `FormatError`, which calls the document ``what``.
    """
    document: DocumentT
    try:
        try:
            document = json_decoder(kind, dec_hook=_decode_hash).decode(data)
        except msgspec.ValidationError:  # null, perhaps, as programs in Go write an empty list
            document = convert(without_nulls(json_decoder().decode(data)), kind, dec_hook=_decode_hash)
    except NOT_VALID as error:
        raise FormatError(f"{what} is not a valid {kind.__name__.lower()}: {error}") from error
    return document


def without_nulls(value: Any) -> Any:
    """Decoded JSON whose objects have no field that is null."""
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def decode_object(data: bytes, what: str) -> dict[str, Any]:
    """All fields of a JSON object. Raises `FormatError`, which calls the object ``what``."""
    fields: Any
    try:
        fields = json_decoder().decode(data)
    except NOT_VALID as error:
        raise FormatError(f"{what} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise FormatError(f"{what} is not a JSON object")
    return fields


def image_config(kind: str, described: Descriptor, data: bytes) -> ImageConfig | None:
    """The config of a manifest of this kind; None where it is not an image's.

    In schema 2 a config is an image's whatever its media type: Docker 1.10 wrote octet-stream. Raises
    `FormatError` for a config that should be an image's and cannot be read.
    """
    stated = described.media_type in (OCI_CONFIG, DOCKER_CONFIG)
    if not stated and kind != DOCKER_MANIFEST:
        return None
    try:
        return decode(data, ImageConfig, f"the config {described.digest}")
    except FormatError:
        if stated:
            raise
        return None


def claimed_diff_ids(manifest: Manifest, config: ImageConfig | None) -> list[DiffID | None]:
    """The diff ID that the config states for each blob of the manifest; None for what is not a layer.

    A config without diff IDs claims nothing, nor does one of another length where some blobs are not layers.
    Raises `FormatError` for a config of another length than the image has layers.
    """
    named = config.diff_ids if config else []
    are_layers = [is_layer(blob.media_type) for blob in manifest.layers]
    if len(named) == len(are_layers):
        return [diff_id if layer else None for diff_id, layer in zip(named, are_layers, strict=True)]
    if named and all(are_layers):
        raise FormatError(
            f"{manifest.config.digest} has {len(named)} diff IDs, but there are {len(are_layers)} layers",
            hint="the image is wrong: build or push it again",
        )
    return [None] * len(are_layers)


def index_of(entries: Iterable[Descriptor]) -> bytes:
    """An index of these entries. The same entries give the same bytes."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    return msgspec.json.encode(document, enc_hook=str)


def encode(document: msgspec.Struct | dict[str, object]) -> bytes:
    return msgspec.json.encode(document, enc_hook=str)


def media_type_of(data: bytes, stated: str, what: str) -> str:
    """The media type of a manifest or index: the document's own, else the stated one, else by its fields.

    Raises `FormatError` where the two contradict each other (image-spec manifest.md, "mediaType"), and for a
    type that no document has: a mirror passes it on, and a browser would run what is said to be text/html.
    """
    fields = decode_object(data, what)
    own = fields.get("mediaType")
    stated = stated.partition(";")[0].strip()
    known = INDEXES | MANIFESTS | DOCKER_SCHEMA_1
    if isinstance(own, str) and own:
        if stated in known and stated != own:
            raise FormatError(f"{what} is served as {stated} but its mediaType is {own}")
        if not _is_application(own):
            raise FormatError(f"{what} has the mediaType {own[:80]!r} (expected application/…)")
        return own
    if stated in known:
        return stated
    if fields.get("schemaVersion") == 1:
        return "application/vnd.docker.distribution.manifest.v1+json"
    return OCI_INDEX if "manifests" in fields and not _is_manifest(fields) else OCI_MANIFEST


def _is_application(kind: str) -> bool:
    """Whether it is of the form of RFC 6838, 4.2, as far as that matters in a header."""
    plain = kind.isascii() and kind.isprintable() and " " not in kind
    return plain and kind.startswith("application/") and len(kind) <= MEDIA_TYPE_MAX


def _is_manifest(fields: dict[str, Any]) -> bool:
    return fields["manifests"] is None and fields.get("config") is not None


def _decode_hash(kind: type[Any], value: Any) -> Any:
    if issubclass(kind, Hash):
        if not isinstance(value, str):
            raise InvalidNameError(f"not a digest or diff ID: {value!r}")
        return kind(value)
    raise TypeError(f"no way to read a {kind.__name__}")
