"""Images of made layers in the storage of a real docker-registry, and the registry that serves them."""

from __future__ import annotations

import json
import platform
import shutil
from typing import TYPE_CHECKING

from benchmarks.layers import Files, MadeLayer, make_layer

from layercache.oci.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence
    from pathlib import Path

    from servers.registry import Registry

_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}


class Images:
    """Layers and images that are made when the first case asks for them, and served on loopback.

    Blobs are put straight into the registry's storage, where its own pushing would only copy them.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._storage = folder / "registry" / "storage" / "docker" / "registry" / "v2"
        self._loose = folder / "layers"
        self._loose.mkdir(parents=True)
        self._files: Files | None = None
        self._layers: dict[tuple[int, int, str], MadeLayer] = {}
        self._images: dict[tuple[int, int], str] = {}
        self._registry: Registry | None = None

    def layer(self, tar_size: int, number: int = 0, media_type: str = OCI_LAYER_GZIP) -> MadeLayer:
        """A layer whose tar has about so many bytes, in a file."""
        key = (tar_size, number, media_type)
        if key not in self._layers:
            self._files = self._files or Files()
            self._layers[key] = make_layer(self._files, self._loose, number, tar_size, media_type)
        return self._layers[key]

    def image(self, count: int, tar_size: int) -> str:
        """The reference of an image of so many layers. Needs docker-registry."""
        key = (count, tar_size)
        if key not in self._images:
            layers = [self.layer(tar_size, number) for number in range(count)]
            self._images[key] = self._publish(f"bench/{count}x{tar_size}", layers)
        return f"{self.registry.host}/{self._images[key]}"

    def layout(self, count: int, tar_size: int) -> Path:
        """An OCI image layout with an image of so many layers, named latest."""
        root = self._folder / f"layout-{count}x{tar_size}"
        if not root.exists():
            blobs = root / "blobs" / "sha256"
            blobs.mkdir(parents=True)
            layers = [self.layer(tar_size, number) for number in range(count)]
            config, manifest = _documents(layers)
            for data in (config, manifest):
                (blobs / Digest.of(data).hex).write_bytes(data)
            for layer in layers:
                (blobs / layer.digest.hex).hardlink_to(layer.path)
            entry = {"mediaType": OCI_MANIFEST, "digest": Digest.of(manifest), "size": len(manifest)}
            entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
            (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
            (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return root

    @property
    def registry(self) -> Registry:
        """The one that serves the images, started when it is first asked for."""
        if self._registry is None:
            from servers.registry import Registry

            self._registry = self._stack.enter_context(Registry(self._folder / "registry"))
        return self._registry

    def _publish(self, repository: str, layers: list[MadeLayer]) -> str:
        config_digest, digest = map(self._store, _documents(layers))
        for layer in layers:
            if not (place := self._place(layer.digest)).exists():
                place.hardlink_to(layer.path)
        names = self._storage / "repositories" / repository
        for blob in [config_digest, *(layer.digest for layer in layers)]:
            _link(names / "_layers" / "sha256" / blob.hex, blob)
        _link(names / "_manifests" / "revisions" / "sha256" / digest.hex, digest)
        _link(names / "_manifests" / "tags" / "latest" / "current", digest)
        _link(names / "_manifests" / "tags" / "latest" / "index" / "sha256" / digest.hex, digest)
        return f"{repository}:latest"

    def _store(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self._place(digest).write_bytes(data)
        return digest

    def _place(self, digest: Digest) -> Path:
        folder = self._storage / "blobs" / "sha256" / digest.hex[:2] / digest.hex
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "data"


def _documents(layers: Sequence[MadeLayer]) -> tuple[bytes, bytes]:
    """The config and the manifest of an image of these layers."""
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created_by": "benchmark"} for _ in layers],
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
        "layers": [
            {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size} for layer in layers
        ],
    }
    return config, json.dumps(manifest).encode()


def _link(folder: Path, digest: Digest) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").write_text(digest)


def missing(*programs: str) -> list[str]:
    """Those that are not installed."""
    return [program for program in programs if shutil.which(program) is None]
