"""What registries hold besides plain images: each as the program that is known for it writes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fixtures.blobs import estargz, v7_tar, zstd_chunked
from servers.images import compressed, make_layer, noise

from layercache.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
)
from layercache.oci.digest import DiffID, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servers.lying import LyingRegistry

    Entry = dict[str, Any]
    Animal = Callable[["Keeper"], Entry]

EMPTY = "application/vnd.oci.empty.v1+json"
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}
DOCKERS_EMPTY = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")


class Keeper:
    """Brings documents and blobs into a registry."""

    def __init__(self, registry: LyingRegistry) -> None:
        self._registry = registry
        self._documents: dict[str, bytes] = {}

    def blob(self, data: bytes, media_type: str, /, **more: Any) -> Entry:
        self._registry.add_blob(data)
        return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data), **more}

    def config(self, tars: Sequence[bytes], media_type: str = OCI_CONFIG, **fields: Any) -> Entry:
        rootfs = {"type": "layers", "diff_ids": [DiffID.of(tar) for tar in tars]}
        return self.blob(json.dumps({**AMD64, "rootfs": rootfs, **fields}).encode(), media_type)

    def manifest(
        self, config: Entry, layers: Sequence[Entry], media_type: str = OCI_MANIFEST, **more: Any
    ) -> Entry:
        return self._document(
            media_type, {"config": config, "layers": list(layers), **more.pop("fields", {})}, **more
        )

    def index(self, *entries: Entry, **more: Any) -> Entry:
        return self._document(OCI_INDEX, {"manifests": list(entries)}, **more)

    def image(self, *tars: bytes, compression: str = "gzip", layer_type: str = "", **more: Any) -> Entry:
        kind = layer_type or {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}[compression]
        layers = [self.blob(compressed(tar, compression), kind) for tar in tars]
        return self.manifest(self.config(tars), layers, **more)

    def named(self, root: Entry) -> str:
        data = self._documents[root["digest"]]
        self._registry.add_manifest("1", root["mediaType"], data)
        return f"{self._registry.host}/app:1"

    def _document(self, media_type: str, fields: Entry, **more: Any) -> Entry:
        data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
        digest = Digest.of(data)
        self._registry.add_manifest(digest, media_type, data)
        self._documents[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}


TAR = make_layer({"etc/name": b"zoo", "noise": noise(2000)}).tar
OTHER = make_layer({"etc/other": noise(2000, 1)}).tar
STATEMENT = (
    b'{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2"}'
)


def attestations(keeper: Keeper) -> Entry:
    """docker buildx build --provenance --sbom."""
    image = keeper.image(TAR, platform=AMD64)
    predicate = {"annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}
    about = keeper.manifest(
        keeper.config([STATEMENT], **UNKNOWN),
        [keeper.blob(STATEMENT, "application/vnd.in-toto+json", **predicate)],
        platform=UNKNOWN,
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"],
        },
    )
    return keeper.index(image, about)


def signature(keeper: Keeper) -> Entry:
    """cosign sign, twice: its config has diff IDs, of what is not a tar."""
    payloads = [b'{"critical": {}}', b'{"critical": {"second": 1}}']
    kind = "application/vnd.dev.cosign.simplesigning.v1+json"
    layers = [
        keeper.blob(each, kind, annotations={"dev.cosignproject.cosign/signature": ""}) for each in payloads
    ]
    return keeper.manifest(keeper.config(payloads, os="", architecture=""), layers)


def encrypted(keeper: Keeper) -> Entry:
    """skopeo copy --encrypt-layer: the config still names the tars."""
    keys = {
        "annotations": {
            "org.opencontainers.image.enc.keys.jwe": "e30=",
            "org.opencontainers.image.enc.pubopts": "e30=",
        }
    }
    layers = [
        keeper.blob(compressed(TAR, "gzip"), OCI_LAYER_GZIP),
        keeper.blob(noise(3000, 7), f"{OCI_LAYER_GZIP}+encrypted", **keys),
        keeper.blob(noise(3000, 8), f"{OCI_LAYER}+encrypted", **keys),
    ]
    return keeper.manifest(keeper.config([TAR, OTHER, b"third"]), layers)


def chart(keeper: Keeper) -> Entry:
    """helm push, with a provenance file."""
    return keeper.manifest(
        keeper.blob(b'{"name": "chart", "version": "1.0.0"}', "application/vnd.cncf.helm.config.v1+json"),
        [
            keeper.blob(compressed(TAR, "gzip"), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
            keeper.blob(b"-----BEGIN PGP", "application/vnd.cncf.helm.chart.provenance.v1.prov"),
        ],
    )


def wasm(keeper: Keeper) -> Entry:
    module = b"\0asm\1\0\0\0"
    config = json.dumps({"architecture": "wasm", "os": "wasip1"}).encode()
    return keeper.manifest(
        keeper.blob(config, "application/vnd.wasm.config.v0+json"), [keeper.blob(module, "application/wasm")]
    )


def wasm_in_an_image(keeper: Keeper) -> Entry:
    """Docker's way: an image's config, and a module where a layer would be."""
    module = b"\0asm\1\0\0\0\0"
    layers = [keeper.blob(compressed(TAR, "gzip"), OCI_LAYER_GZIP), keeper.blob(module, "application/wasm")]
    return keeper.manifest(keeper.config([TAR, module]), layers)


def foreign(keeper: Keeper) -> Entry:
    """Windows: the base is never in the registry."""
    base = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": Digest.of(b"base"),
        "size": 4,
        "urls": ["https://go.example/base"],
    }
    layers = [base, keeper.blob(compressed(TAR, "gzip"), DOCKER_LAYER_GZIP)]
    config = keeper.config([OTHER, TAR], DOCKER_CONFIG, os="windows")
    return keeper.manifest(config, layers, DOCKER_MANIFEST)


def empty_layers(keeper: Keeper) -> Entry:
    tars = [bytes(1024), b"", b"", bytes(1024), bytes(10240), bytes(1024)]
    layers = [
        keeper.blob(DOCKERS_EMPTY, OCI_LAYER_GZIP),
        keeper.blob(compressed(b"", "gzip"), OCI_LAYER_GZIP),
        keeper.blob(b"", OCI_LAYER),
        keeper.blob(bytes(1024), OCI_LAYER),
        keeper.blob(compressed(bytes(10240), "zstd"), OCI_LAYER_ZSTD),
        keeper.blob(DOCKERS_EMPTY, OCI_LAYER_GZIP),
    ]
    return keeper.manifest(keeper.config(tars), layers)


def artefact(keeper: Keeper) -> Entry:
    """An artefact of OCI 1.1 that says what it is about, and has nothing else to say."""
    about = keeper.image(TAR)
    return keeper.manifest(
        keeper.blob(b"{}", EMPTY, data="e30="),
        [keeper.blob(b"{}", EMPTY)],
        fields={
            "artifactType": "application/vnd.example",
            "subject": about,
            "annotations": {},
        },
    )


def files(keeper: Keeper) -> Entry:
    """oras push, which used to call an empty config an image's."""
    return keeper.manifest(
        keeper.blob(b"{}", OCI_CONFIG),
        [keeper.blob(b"hello\n", "text/plain"), keeper.blob(TAR, OCI_LAYER), keeper.blob(b"", "text/plain")],
    )


def layer_as_an_attachment(keeper: Keeper) -> Entry:
    """One blob that is a layer to an image, and to an artefact beside it a file."""
    blob = compressed(TAR, "gzip")
    attached = keeper.manifest(keeper.blob(b"{}", EMPTY), [keeper.blob(blob, "application/gzip")])
    return keeper.index(keeper.image(TAR, platform=AMD64), attached, keeper.image(OTHER, platform=ARM64))


def nested(keeper: Keeper) -> Entry:
    inner = keeper.index(keeper.image(OTHER, platform=ARM64), keeper.image(TAR, OTHER, platform=AMD64))
    return keeper.index(keeper.image(TAR, platform={"os": "linux", "architecture": "s390x"}), inner)


def schema_2(keeper: Keeper) -> Entry:
    layers = [keeper.blob(compressed(tar, "gzip"), DOCKER_LAYER_GZIP) for tar in (TAR, OTHER)]
    return keeper.manifest(keeper.config([TAR, OTHER], "application/octet-stream"), layers, DOCKER_MANIFEST)


def lazily_pulled(keeper: Keeper) -> Entry:
    """estargz and zstd:chunked, with their tables of contents."""
    (gzip_blob, gzip_tar), (zstd_blob, zstd_tar) = (
        make({"a": noise(3000, 3), "b": b"b" * 5000})
        for make in (lambda each: estargz(each, 1000), zstd_chunked)
    )
    toc = {"annotations": {"containerd.io/snapshot/stargz/toc.digest": Digest.of(b"toc")}}
    chunked = {"annotations": {"io.github.containers.zstd-chunked.manifest-position": "1:2:3:1"}}
    layers = [
        keeper.blob(gzip_blob, OCI_LAYER_GZIP, **toc),
        keeper.blob(zstd_blob, OCI_LAYER_ZSTD, **chunked),
    ]
    return keeper.manifest(keeper.config([gzip_tar, zstd_tar]), layers)


def build_cache(keeper: Keeper) -> Entry:
    """docker buildx build --cache-to type=registry: an index of layers."""
    keeper.image(TAR)
    config = keeper.blob(b'{"layers": [], "records": []}', "application/vnd.buildkit.cacheconfig.v0")
    uncompressed = {"annotations": {"containerd.io/uncompressed": DiffID.of(TAR)}}
    return keeper.index(keeper.blob(compressed(TAR, "gzip"), OCI_LAYER_GZIP, **uncompressed), config)


def build_cache_as_an_image(keeper: Keeper) -> Entry:
    """The same with image-manifest=true."""
    config = keeper.blob(b'{"layers": [], "records": []}', "application/vnd.buildkit.cacheconfig.v0")
    return keeper.manifest(config, [keeper.blob(compressed(TAR, "zstd"), OCI_LAYER_ZSTD)])


def mislabelled(keeper: Keeper) -> Entry:
    layers = [
        keeper.blob(TAR, OCI_LAYER_GZIP),
        keeper.blob(compressed(OTHER, "gzip"), OCI_LAYER),
        keeper.blob(compressed(TAR, "zstd"), DOCKER_LAYER_GZIP),
    ]
    return keeper.manifest(keeper.config([TAR, OTHER, TAR]), layers)


def old_tar(keeper: Keeper) -> Entry:
    """Its header is of 1979, and its checksum was summed of signed bytes."""
    tar = bytearray(v7_tar())
    tar[:4] = "käse".encode("latin-1")
    tar[148:156] = b" " * 8
    tar[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in tar[:512])
    plain = bytes(tar)
    layers = [keeper.blob(plain, OCI_LAYER), keeper.blob(compressed(plain, "gzip"), OCI_LAYER_GZIP)]
    return keeper.manifest(keeper.config([plain, plain]), layers)


def without_diff_ids(keeper: Keeper) -> Entry:
    config = keeper.blob(json.dumps({**AMD64, "rootfs": None}).encode(), OCI_CONFIG)
    return keeper.manifest(config, [keeper.blob(compressed(TAR, "gzip"), OCI_LAYER_GZIP)])


def without_platforms(keeper: Keeper) -> Entry:
    return keeper.index(
        keeper.image(TAR), keeper.manifest(keeper.config([OTHER], **ARM64), [keeper.blob(OTHER, OCI_LAYER)])
    )


ANIMALS: dict[str, Animal] = {
    each.__name__: each
    for each in (
        *(attestations, signature, encrypted, chart, wasm, wasm_in_an_image, foreign, empty_layers, artefact),
        *(files, layer_as_an_attachment, nested, schema_2, lazily_pulled, build_cache),
        *(build_cache_as_an_image, mislabelled, old_tar, without_diff_ids, without_platforms),
    )
}
