"""A client that pushes to a mirror's service in this process, as skopeo and others do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from servers.asking import Answered, ask

from layercache.oci.descriptor import OCI_MANIFEST
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.images import Image, ImageIndex

    from layercache.serve.service import Service

    Start = Callable[..., "Pusher"]
    """Starts a writable mirror; keywords are settings, the rest are tiers."""


@dataclass
class Pusher:
    """Pushes to a mirror in this process, as clients do."""

    service: Service

    def begin(self, repository: str = "team/app", **query: str) -> str:
        """Begin an upload; return its location."""
        answered = self.get("blobs/uploads/", "POST", repository, **query)
        assert answered.status == 202, answered
        return answered.headers["location"]

    def send(self, location: str, data: bytes, at: str | None = None) -> Answered:
        """Send a chunk, whose Content-Range is ``at``."""
        headers = {} if at is None else {"content-range": at}
        return ask(self.service, location, "PATCH", body=data, headers=headers)

    def finish(self, location: str, digest: str, data: bytes | None = None) -> Answered:
        return ask(self.service, location, "PUT", body=data, digest=digest)

    def blob(self, data: bytes, repository: str = "team/app", algorithm: str = "sha256") -> Digest:
        """Upload a blob."""
        digest = Digest.of(data, algorithm)
        answered = self.finish(self.begin(repository), digest, data)
        assert answered.status == 201, answered
        return digest

    def manifest(
        self, data: bytes, name: str, kind: str = OCI_MANIFEST, repository: str = "team/app"
    ) -> Answered:
        """Push a manifest by tag or digest; ``name`` may have a query."""
        headers = {"content-type": kind}
        return ask(self.service, f"/v2/{repository}/manifests/{name}", "PUT", body=data, headers=headers)

    def image(self, image: Image | ImageIndex, tag: str, repository: str = "team/app") -> None:
        """Push an image or an index with all of it, the index last."""
        for blob in image.blobs.values():
            self.blob(blob, repository)
        for digest, (kind, data) in reversed(image.documents.items()):
            name = tag if digest == image.descriptor.digest else digest
            assert self.manifest(data, name, kind, repository).status == 201

    def get(self, path: str, method: str = "GET", repository: str = "team/app", **query: str) -> Answered:
        more = f"{'&' if '?' in path else '?'}{urlencode(query)}" if query else ""
        return ask(self.service, f"/v2/{repository}/{path}{more}", method)
