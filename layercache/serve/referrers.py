"""What refers to a manifest: signatures, attestations, bills of materials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layercache.oci.descriptor import OCI_INDEX
from layercache.serve.listings import Listings
from layercache.serve.messages import RegistryError, json_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.cache import Cache
    from layercache.oci.referrers import Listed
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Answer
    from layercache.serve.questions import Questions
    from layercache.serve.settings import ServeSettings

OVERHEAD = 1024
"""Bytes of memory that a descriptor takes beside its text, roughly."""

FILTERED = ("oci-filters-applied", "artifactType")


class Referrers:
    """Answers ``/v2/<name>/referrers/<digest>``, whether the upstream has that API or not. Thread-safe."""

    def __init__(self, cache: Cache, questions: Questions, settings: ServeSettings) -> None:
        self._images = cache.registry_images()
        self._lists: Listings[Listed] = Listings(
            "referrers",
            questions,
            settings,
            lambda each: len(msgspec.json.encode(each)) + OVERHEAD,
            "NAME_UNKNOWN",
        )

    def answer(self, admitted: Admitted) -> Answer:
        """An index; an empty one if nothing refers to the manifest, or there is no such manifest."""
        if admitted.reference.digest is None:
            raise RegistryError(400, "DIGEST_INVALID", f"{admitted.route.reference} is not a digest")
        listed, headers = self._lists.find(admitted, self._images.referrers, self._images.cached_referrers)
        if kind := admitted.request.query.get("artifactType"):
            listed = [each for each in listed if each.get("artifactType") == kind]
            headers = [*headers, FILTERED]
        return listed_referrers(listed, headers)


def listed_referrers(listed: Sequence[Listed], headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """The index that lists these."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    return json_answer(index, [*headers], media_type=OCI_INDEX)
