"""Images of made layers in the storage of a real docker-registry, and the registry that serves them."""

from __future__ import annotations

import json
import platform
import shutil
from typing import TYPE_CHECKING

from benchmarks.layers import Files, MadeLayer, make_layer

from layercache.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from layercache.digest import Digest

if TYPE_CHECKING:
    import contextlib
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

    def layers_of(self, count: int, tar_size: int) -> list[MadeLayer]:
        return [self.layer(tar_size, number) for number in range(count)]

    @property
    def registry(self) -> Registry:
        """The one that serves the images, started when it is first asked for."""
        if self._registry is None:
            from servers.registry import Registry

            self._registry = self._stack.enter_context(Registry(self._folder / "registry"))
        return self._registry

    def _publish(self, repository: str, layers: list[MadeLayer]) -> str:
        config = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created_by": "benchmark"} for _ in layers],
        }
        config_digest, config_size = self._store(json.dumps(config).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config_digest, "size": config_size},
            "layers": [
                {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        }
        digest, _ = self._store(json.dumps(manifest).encode())
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

    def _store(self, data: bytes) -> tuple[Digest, int]:
        digest = Digest.of(data)
        self._place(digest).write_bytes(data)
        return digest, len(data)

    def _place(self, digest: Digest) -> Path:
        folder = self._storage / "blobs" / "sha256" / digest.hex[:2] / digest.hex
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "data"


def _link(folder: Path, digest: Digest) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").write_text(digest)


def missing(*programs: str) -> list[str]:
    """Those that are not installed."""
    return [program for program in programs if shutil.which(program) is None]
