"""Blobs, by digest and by diff ID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.serve.messages import AnyAnswer, FileAnswer, RegistryError, StreamAnswer

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.access import Admitted
    from layercache.serve.referrals import Referrals


class Blobs:
    """Answers ``/v2/<name>/blobs/<digest or diff ID>``."""

    def __init__(self, cache: Cache, referrals: Referrals) -> None:
        self._cache = cache
        self._referrals = referrals

    def answer(self, admitted: Admitted) -> AnyAnswer:
        reference = admitted.reference
        if reference.digest is None:
            raise RegistryError(400, "DIGEST_INVALID", f"{admitted.route.reference} is not a digest")
        descriptor = self._referrals.find(reference, reference.digest)
        if descriptor is None:
            raise RegistryError(
                404, "BLOB_UNKNOWN", f"no manifest of {reference.name} refers to {admitted.route.reference}"
            )
        layer = self._cache.layer(descriptor.digest, size=descriptor.size, repository=reference.name)
        headers = [
            ("content-type", "application/octet-stream"),
            ("content-length", str(descriptor.size)),
            ("docker-content-digest", descriptor.digest),
        ]
        if (path := layer.path("compressed")) is not None:
            return FileAnswer(200, headers, path, 0, descriptor.size)
        try:
            return StreamAnswer(200, headers, layer.compressed())
        except NotFoundError as error:
            raise RegistryError(404, "BLOB_UNKNOWN", error.message) from error
