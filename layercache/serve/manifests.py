"""Manifests and indexes, by tag and by digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import NotFoundError
from layercache.serve.messages import Answer, RegistryError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.access import Admitted
    from layercache.serve.referrals import Referrals


class Manifests:
    """Answers ``/v2/<name>/manifests/<reference>``."""

    def __init__(self, cache: Cache, referrals: Referrals) -> None:
        self._cache = cache
        self._referrals = referrals

    def answer(self, admitted: Admitted) -> Answer:
        reference = admitted.reference
        try:
            descriptor, data = self._cache.manifest(str(reference))
        except NotFoundError as error:
            raise RegistryError(404, "MANIFEST_UNKNOWN", error.message) from error
        self._referrals.note(reference, data)
        headers = [
            ("content-type", descriptor.media_type),
            ("content-length", str(len(data))),
            ("docker-content-digest", descriptor.digest),
            ("etag", f'"{descriptor.digest}"'),
        ]
        return Answer(200, headers, data)
