"""Manifests of hosted repositories: read, pushed and deleted, by tag and by digest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import FormatError, InvalidNameError, NotFoundError
from layercache.images.hosted import HOSTED
from layercache.oci.descriptor import INDEXES, MANIFESTS
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference
from layercache.serve.messages import Answer, RegistryError
from layercache.serve.push import pushed
from layercache.serve.push.claims import record_claims
from layercache.serve.ranges import is_match
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.cache import Cache
    from layercache.images.hosted import HostedImages
    from layercache.oci.descriptor import Descriptor
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Request
    from layercache.serve.push.blobs import HostedBlobs
    from layercache.serve.push.contents import Contents
    from layercache.serve.push.pushed import Pushed

TAGS_MAX = 100
"""Tags of one request at most."""


class HostedManifests:
    """Answers ``/v2/<name>/manifests/<reference>``. ``limit``: bytes of a manifest at most."""

    def __init__(
        self,
        cache: Cache,
        images: HostedImages,
        contents: Contents,
        blobs: HostedBlobs,
        *,
        limit: int,
    ) -> None:
        self._cache = cache
        self._images = images
        self._contents = contents
        self._blobs = blobs
        self._limit = limit

    def answer(self, admitted: Admitted) -> Answer:
        match admitted.request.method:
            case "GET" | "HEAD":
                return self._get(admitted)
            case "PUT":
                return self._put(admitted)
            case "DELETE":
                return self._delete(admitted.reference)
        raise RegistryError(405, "UNSUPPORTED", f"{admitted.request.method} is not supported here")

    def _get(self, admitted: Admitted) -> Answer:
        image = self._named(admitted.reference)
        etag = f'"{image.digest}"'
        headers = [("docker-content-digest", image.digest), ("etag", etag)]
        if is_match(admitted.request.headers.get("if-none-match", ""), etag):
            return Answer(304, headers)
        try:
            data = self._images.document(image.digest)
        except NotFoundError as error:
            raise RegistryError(404, "MANIFEST_UNKNOWN", error.message) from error
        kind = [("content-type", image.media_type), ("content-length", str(len(data)))]
        return Answer(200, [*kind, *headers], data)

    def _named(self, reference: Reference) -> Descriptor:
        try:
            image = self._images.get(keys.image_key(reference))
        except NotFoundError as error:
            raise RegistryError(404, "MANIFEST_UNKNOWN", error.message) from error
        if image.media_type not in INDEXES | MANIFESTS:  # somebody else has written that
            raise FormatError(f"{reference} has the mediaType {image.media_type[:80]!r}")
        return image

    def _put(self, admitted: Admitted) -> Answer:
        request, reference = admitted.request, admitted.reference
        data = self._body(request)
        digest = reference.digest or Digest.of(data)
        if reference.digest and Digest.of(data, digest.algorithm) != digest:
            raise RegistryError(
                400, "DIGEST_INVALID", f"the bytes of the manifest do not have the digest {digest}"
            )
        try:
            manifest = pushed.read(data, digest, request.headers.get("content-type", ""))
        except (FormatError, InvalidNameError) as error:
            raise RegistryError(400, "MANIFEST_INVALID", error.message) from error
        self._require_contents(reference, manifest)
        tags = self._tags(request, reference)
        by_digest = Reference(HOSTED, reference.repository, digest=digest)
        names = [keys.image_key(each) for each in (by_digest, *tags)]
        self._images.put(names, manifest.image, data)
        self._contents.note_change(reference.repository)
        record_claims(self._cache, self._images, manifest, data)
        return Answer(201, _created(admitted.route.name, manifest, tags))

    def _body(self, request: Request) -> bytes:
        parts, size = [], 0
        for part in request.body or ():
            parts.append(part)
            size += len(part)
            if size > self._limit:
                raise RegistryError(413, "MANIFEST_INVALID", f"a manifest may have {self._limit} bytes here")
        return b"".join(parts)

    def _tags(self, request: Request, reference: Reference) -> list[Reference]:
        """The tags that the manifest gets: that of the path, or those of the query."""
        if reference.digest is None:
            return [reference]
        if len(request.tags) > TAGS_MAX:
            raise RegistryError(414, "UNSUPPORTED", f"at most {TAGS_MAX} tags a request")
        try:
            return [Reference(HOSTED, reference.repository, tag) for tag in request.tags]
        except InvalidNameError as error:
            raise RegistryError(400, "MANIFEST_INVALID", error.message) from error

    def _require_contents(self, reference: Reference, manifest: Pushed) -> None:
        """Raise `RegistryError` unless the repository has what the manifest refers to.

        That the cache has a blob does not count: by its digest alone nobody gets another repository's.
        """
        missing = [blob for blob in manifest.blobs if not self._has_blob(reference, blob)]
        if manifest.documents:
            there = {each.image.digest for each in self._contents.manifests(reference.repository)}
            missing += [each for each in manifest.documents if each.digest not in there]
        if missing:
            names = ", ".join(each.digest for each in missing[:3])
            raise RegistryError(
                400,
                "MANIFEST_BLOB_UNKNOWN",
                f"{reference.repository} lacks {len(missing)} of what the manifest refers to: {names}",
                detail=[{"digest": each.digest} for each in missing[:100]],
            )

    def _has_blob(self, reference: Reference, blob: Descriptor) -> bool:
        found = self._blobs.known(reference, blob.digest)
        if found is None or blob.digest not in self._cache:
            return False
        if found.size != blob.size:
            raise RegistryError(
                400, "MANIFEST_INVALID", f"{blob.digest} has {found.size} bytes, not {blob.size}"
            )
        return True

    def _delete(self, reference: Reference) -> Answer:
        """Remove a tag; or a manifest with all of its tags. What it refers to is left to eviction."""
        self._named(reference)
        names = [keys.image_key(reference)]
        if reference.digest is not None:
            names += self._tags_of(reference.repository, reference.digest)
        self._images.forget(names)
        self._contents.note_change(reference.repository)
        return Answer(202)

    def _tags_of(self, repository: str, digest: Digest) -> Iterator[str]:
        folder = keys.image_tag(HOSTED, repository, "")
        for key in self._images.within(folder):
            with suppress(NotFoundError):  # another client has just removed it
                if self._images.get(key).digest == digest:
                    yield key


def _created(name: str, manifest: Pushed, tags: list[Reference]) -> list[tuple[str, str]]:
    digest = manifest.image.digest
    headers = [("location", f"/v2/{name}/manifests/{digest}"), ("docker-content-digest", digest)]
    if manifest.subject:
        headers.append(("oci-subject", manifest.subject))
    if tags:
        headers.append(("oci-tag", ", ".join(each.selector for each in tags)))
    return headers
