"""Manifests and indexes, by tag and by digest."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import BackendError, IntegrityError, NotFoundError, SourceError
from layercache.images.tags import SKEW, CachedManifest
from layercache.oci.descriptor import DOCKER_LIST, DOCKER_MANIFEST, INDEXES, Index, decode
from layercache.oci.reference import Reference
from layercache.registry.credentials import DeniedError
from layercache.serve.conditions import accepts, is_unchanged
from layercache.serve.messages import Answer, Later, RegistryError
from layercache.serve.provenance import HIT, MISS, STALE, STALE_WARNING
from layercache.serve.remembered import Remembered
from layercache.value import Value, replace

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Request
    from layercache.serve.questions import Questions
    from layercache.serve.referrals import Referrals
    from layercache.serve.settings import ServeSettings

log = logging.getLogger("layercache.serve")

DIGEST_AGE = 60.0
"""Seconds for which a manifest that was asked for by digest is not looked up again. It never changes, but it
may be removed from the cache, and there a look-up counts as a use."""

MEMORY = 16 << 20
"""Bytes of manifests that a worker keeps in memory, of which each one counts for itself and `OVERHEAD`."""

OVERHEAD = 2048

LEGACY_PLATFORM = "linux/amd64"
"""What clients get that know nothing of platforms."""

MISSING_MAX = 10_000
"""Names of which a worker remembers that their upstream does not have them."""


class Found(Value, frozen=True):
    """A manifest to be served. ``state``: the header that says where it is from. ``seconds``: how long that
    holds.
    """

    manifest: CachedManifest
    state: tuple[str, str]
    seconds: float


class Ready:
    """The answers that serve a manifest."""

    def __init__(self, found: Found, state: tuple[str, str]) -> None:
        descriptor, data = found.manifest.descriptor, found.manifest.data
        self._descriptor = descriptor
        self._etag = f'"{descriptor.digest}"'
        headers = [
            ("docker-content-digest", descriptor.digest),
            ("etag", self._etag),
            state,
            *([STALE_WARNING] if state == STALE else []),
        ]
        kind = [("content-type", descriptor.media_type), ("content-length", str(len(data)))]
        self._whole = Answer(200, [*kind, *headers], data)
        self._unchanged = Answer(304, headers)

    def answer(self, request: Request) -> Answer | None:
        """None if the client does not take documents of this type."""
        if not accepts(request.headers, self._descriptor.media_type):
            return None
        return self._unchanged if is_unchanged(request.headers, self._etag) else self._whole


class Manifests:
    """Answers ``/v2/<name>/manifests/<reference>``. Thread-safe."""

    def __init__(
        self, cache: Cache, referrals: Referrals, questions: Questions, settings: ServeSettings
    ) -> None:
        self._images = cache.registry_images()
        self._offline = cache.offline
        self._referrals = referrals
        self._questions = questions
        self._settings = settings
        self._memory: Remembered[Ready] = Remembered(MEMORY)
        self._missing: Remembered[str] = Remembered(MISSING_MAX)

    def quick(self, admitted: Admitted) -> Answer | None:
        """The answer, if it is in memory."""
        ready = self._memory.get(admitted.reference)
        return None if ready is None else ready.answer(admitted.request)

    def answer(self, admitted: Admitted) -> Answer | Later:
        """The answer; later where the upstream has to be asked."""
        reference, looked = admitted.reference, time.monotonic()
        if (said := self._missing.get((reference, admitted.registries))) is not None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", said)
        cached = self._cached(reference)
        known = cached if cached and self._is_known(reference, cached) else None
        if known and (seconds := self._fresh_for(reference, known)) > 0:
            return self._serve(admitted, Found(known, HIT, seconds))
        return Later(partial(self._checked, admitted, looked, cached, known))

    def _checked(
        self, admitted: Admitted, looked: float, cached: CachedManifest | None, known: CachedManifest | None
    ) -> Answer | Later:
        """The answer after the upstream was asked, at ``looked`` or later (monotonic seconds).

        ``known``: ``cached``, if it is this repository's.
        """
        reference, whose = admitted.reference, admitted.registries
        try:
            now = self._questions.ask(
                ("manifest", reference),
                reference.registry,
                partial(self._ask, admitted, new=cached is None),
                looked=looked,
                whose=whose,
                patience=self._settings.upstream_timeout if cached else None,
            )
        except NotFoundError as error:
            self._missing.put((reference, whose), error.message, self._settings.missing_age)
            raise RegistryError(404, "MANIFEST_UNKNOWN", error.message) from error
        except (SourceError, IntegrityError) as error:
            if cached is None or isinstance(error, DeniedError) or not self._belongs(reference, cached):
                raise
            log.warning("%s is served as it was last pulled: %s", reference, error.message)
            found = Found(cached, STALE, self._questions.rest(reference.registry, whose))
        else:
            unchanged = known is not None and known.descriptor.digest == now.descriptor.digest
            found = Found(now, HIT if unchanged else MISS, self._fresh_for(reference, now))
        return self._serve(admitted, found)

    def _serve(self, admitted: Admitted, found: Found) -> Answer | Later:
        reference, data = admitted.reference, found.manifest.data
        self._referrals.note(reference, data)
        again = Ready(found, STALE if found.state == STALE else HIT)
        self._memory.put(reference, again, found.seconds, weight=len(data) + OVERHEAD)
        if (answer := Ready(found, found.state).answer(admitted.request)) is not None:
            return answer
        return self._instead(admitted, found.manifest)

    def _instead(self, admitted: Admitted, manifest: CachedManifest) -> Answer | Later:
        """What a client gets that does not take documents of this type: as from docker-registry, an error.

        But one that asks for Docker's manifest by the tag of Docker's list gets that for linux/amd64.
        """
        kind, reference = manifest.descriptor.media_type, admitted.reference
        if (
            kind == DOCKER_LIST
            and not reference.digest
            and accepts(admitted.request.headers, DOCKER_MANIFEST)
        ):
            for entry in decode(manifest.data, Index, str(reference)).documents:
                if entry.platform and str(entry.platform) == LEGACY_PLATFORM:
                    chosen = Reference(reference.registry, reference.repository, digest=entry.digest)
                    return self.answer(replace(admitted, whole=chosen))
        what = "index" if kind in INDEXES else "manifest"
        message = f"the {what} is of type {kind}, which the Accept header does not name"
        raise RegistryError(404, "MANIFEST_UNKNOWN", message)

    def _ask(self, admitted: Admitted, *, new: bool) -> CachedManifest:
        """Ask the upstream, unless another process that serves the same cache has just done so."""
        reference = admitted.reference
        with self._images.turn(reference) as waited:
            cached = self._cached(reference) if waited else None
            if cached and self._is_known(reference, cached) and self._fresh_for(reference, cached) > 0:
                return cached
            descriptor, data = self._images.manifest(
                reference, new=new, public=admitted.public, client=admitted.registries
            )
            return CachedManifest(descriptor, data, time.time())

    def _cached(self, reference: Reference) -> CachedManifest | None:
        with suppress(NotFoundError, IntegrityError, BackendError):
            return self._images.cached_manifest(reference)
        return None

    def _is_known(self, reference: Reference, cached: CachedManifest) -> bool:
        """Whether it is this repository's: what is cached may be from another one, which is private."""
        return cached.trusted or self._referrals.known(reference, cached.descriptor.digest) is not None

    def _belongs(self, reference: Reference, cached: CachedManifest) -> bool:
        """Whether it seems to be this repository's, while its upstream does not say so itself.

        A tier that others write to may be wrong, and an index may list what its own repository does not have.
        """
        return cached.recorded or self._referrals.lists(reference, cached.descriptor.digest)

    def _fresh_for(self, reference: Reference, manifest: CachedManifest) -> float:
        """Seconds for which it is not checked with the upstream, nor looked up again."""
        if reference.digest or self._offline:
            return DIGEST_AGE
        age = time.time() - manifest.checked
        return self._settings.tag_age - max(age, 0.0) if age > -SKEW else 0.0
