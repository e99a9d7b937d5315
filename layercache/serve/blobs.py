"""Blobs, by digest and by diff ID."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import BackendError, ConfigError, NotALayerError, NotFoundError
from layercache.images.hosted import HOSTED
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.serve.blob_bodies import OCTETS, RUNS_MAX, Body, Multipart, Stretch, runs, skip
from layercache.serve.errors import registry_error
from layercache.serve.messages import (
    API_VERSION,
    Answer,
    AnyAnswer,
    FileAnswer,
    Later,
    RegistryError,
    StreamAnswer,
)
from layercache.serve.provenance import HIT, Provenance
from layercache.serve.ranges import is_match, requested
from layercache.serve.shares import Shares
from layercache.streams.byte_ranges import Span
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.layer import Layer
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.oci.reference import Reference
    from layercache.serve.access import Admitted
    from layercache.serve.held_files import HeldFiles
    from layercache.serve.messages import Headers, Pieces, Request
    from layercache.serve.repositories import Repositories

YEAR = 365 * 24 * 3600

SIGNED_FOR = 20 * 60
"""Seconds for which a client that is sent to the bucket may begin to read there."""


class Content(Value, frozen=True):
    """What a name stands for: one form of a layer, of ``size`` bytes."""

    name: Hash
    layer: Layer
    form: Form
    size: int

    def open(self, span: Span) -> BinaryIO:
        """Bytes of it, by the cheapest way."""
        opened = self.layer.compressed if self.form == COMPRESSED else self.layer.uncompressed
        return opened() if span == (0, self.size) else opened(*span)

    def follow(self, span: Span) -> BinaryIO:
        """Bytes of it, of a transfer of all of it, which is begun unless it is on its way."""
        opened = self.layer.compressed() if self.form == COMPRESSED else self.layer.uncompressed()
        try:
            skip(opened, span.start)
        except BaseException:
            opened.close()
            raise
        return opened


class Blobs:
    """Answers ``/v2/<name>/blobs/<digest or diff ID>``."""

    def __init__(
        self, cache: Cache, referrals: Repositories, files: HeldFiles, *, redirect: bool = False
    ) -> None:
        self._cache = cache
        self._files = files
        self._referrals = referrals
        self._redirect = redirect
        self._shares = Shares()

    def answer(self, admitted: Admitted) -> AnyAnswer:
        """The blob, or parts of it. Raises `RegistryError` and what reading the cache raises."""
        reference = admitted.reference
        name = reference.digest
        if name is None:
            raise RegistryError(400, "DIGEST_INVALID", f"{admitted.route.reference} is not a digest")
        descriptor = self._referrals.known(reference, name)
        if descriptor is None:
            return Later(partial(self._asked, admitted, name))
        return self._found(admitted, name, descriptor)

    def _asked(self, admitted: Admitted, name: Hash) -> AnyAnswer:
        """The blob, if the upstream says that the repository has it."""
        descriptor = self._referrals.find(admitted.reference, name, admitted.registries)
        if descriptor is None:
            raise _unknown(admitted.reference, name)
        return self._found(admitted, name, descriptor)

    def _found(self, admitted: Admitted, name: Hash, descriptor: Descriptor) -> AnyAnswer:
        request, reference = admitted.request, admitted.reference
        if is_match(request.headers.get("if-none-match", ""), _etag(name)):
            return Answer(304, _headers(name))
        upstream = None if reference.registry == HOSTED else reference.name
        layer = self._cache.layer(
            descriptor.digest, size=descriptor.size, repository=upstream, client=admitted.registries
        )
        if descriptor.digest == name:
            return self._sent(request, Content(name, layer, COMPRESSED, descriptor.size))
        if layer.computed and layer.names.diff_id == name and layer.uncompressed_size is not None:
            return self._sent(request, Content(name, layer, UNCOMPRESSED, layer.uncompressed_size))
        return Later(partial(self._made, request, reference, name, layer))

    def _made(self, request: Request, reference: Reference, name: Hash, layer: Layer) -> AnyAnswer:
        """A tar by its diff ID, of which only a claim says in which blob it is.

        It is inflated before anything is sent: a claim must not give out the tar of somebody else's image.
        """
        try:
            try:
                layer.fill("uncompressed")
            except (ConfigError, BackendError):  # no tier keeps it, or can: it is made once more to be sent
                with layer.uncompressed() as tar:
                    while tar.read(1 << 20):
                        pass
        except (NotFoundError, NotALayerError) as error:
            raise _unknown(reference, name) from error
        if layer.names.diff_id != name or layer.uncompressed_size is None:
            raise _unknown(reference, name)
        return self._sent(request, Content(name, layer, UNCOMPRESSED, layer.uncompressed_size))

    def _sent(self, request: Request, content: Content) -> AnyAnswer:
        """What is sent of a blob that may be asked for: at once, if it is at hand."""
        path = content.layer.path(content.form)
        path = path and self._files.name(path, content.size)
        if request.method == "HEAD":
            size = ("content-length", str(content.size))
            head = Answer(200, [*_headers(content.name), ("content-type", OCTETS), size])
            return head if path is not None else Later(partial(_existing, content, head))
        spans = requested(request.headers, content.size, _etag(content.name))
        if path is None or self._redirect or len(spans or ()) > 1:
            return Later(partial(self._waited_for, content, spans, path))
        return _file(content, spans, path)

    def _waited_for(self, content: Content, spans: list[Span] | None, path: str | None) -> AnyAnswer:
        """What is sent once a bucket, a far tier or the upstream has answered."""
        if self._redirect and (url := content.layer.signed_url(content.form, SIGNED_FOR)):
            digest = ("docker-content-digest", str(content.name))
            return Answer(307, [digest, ("location", url), ("cache-control", "no-store"), HIT])
        if path is not None and len(spans or ()) <= 1:
            return _file(content, spans, path)
        return self._streamed(content, spans, stored=path is not None)

    def _streamed(self, content: Content, spans: list[Span] | None, *, stored: bool) -> StreamAnswer:
        wanted = spans or [Span(0, content.size)]
        opened = content.follow if not stored and self._is_followed(content, wanted) else content.open
        if len(wanted) > 1:
            parts = Multipart(wanted, content.size, opened)
            rest: Pieces = Body(parts.pieces())
            more = [("content-type", parts.content_type), ("content-length", str(parts.size))]
        else:
            rest = Stretch(partial(opened, wanted[0]), wanted[0].size)
            more = [("content-type", OCTETS), *_of(wanted[0], content.size, part=spans is not None)]
        with Provenance(self._cache) as provenance:
            try:
                first = rest.read()  # what fails until here is an error response, and not a broken body
            except BaseException as error:
                rest.close()
                if isinstance(error, NotFoundError):
                    raise registry_error(error, "BLOB_UNKNOWN") from error
                raise
        headers = [*_headers(content.name), *more, provenance.header]
        return StreamAnswer(206 if spans else 200, headers, first, rest)

    def _is_followed(self, content: Content, spans: list[Span]) -> bool:
        """Whether parts of a blob come out of a transfer of all of it."""
        if content.form != COMPRESSED:
            return False
        read = [run for run, _ in runs(spans)]
        if len(read) > RUNS_MAX or content.layer.is_on_its_way(COMPRESSED):
            return True
        return self._shares.is_much(content.name, sum(run.size for run in read), content.size)


def _existing(content: Content, head: Answer) -> Answer:
    """The answer to a HEAD, if any tier or the upstream has the blob."""
    try:
        if content.form == COMPRESSED:
            content.layer.stat()
    except NotFoundError as error:
        raise registry_error(error, "BLOB_UNKNOWN") from error
    return head


def _file(content: Content, spans: list[Span] | None, path: str) -> FileAnswer:
    span = spans[0] if spans else Span(0, content.size)
    more = [("content-type", OCTETS), *_of(span, content.size, part=spans is not None), HIT]
    return FileAnswer(206 if spans else 200, [*_headers(content.name), *more], path, *span)


def _etag(name: Hash) -> str:
    return f'"{name}"'


def _headers(name: Hash) -> Headers:
    """What holds for every response with this blob or part of it: the bytes of a name never change."""
    return [
        ("docker-content-digest", name),
        ("etag", _etag(name)),
        ("accept-ranges", "bytes"),
        ("cache-control", f"max-age={YEAR}"),
        API_VERSION,
    ]


def _of(span: Span, size: int, *, part: bool) -> Headers:
    """How many bytes are sent, and of a part which of all."""
    length = ("content-length", str(span.size))
    return [length, ("content-range", f"bytes {span.start}-{span.end - 1}/{size}")] if part else [length]


def _unknown(reference: Reference, name: Hash) -> RegistryError:
    return RegistryError(404, "BLOB_UNKNOWN", f"{reference.name} has no blob {name}")
