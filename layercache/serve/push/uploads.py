"""Uploads of blobs: monolithic, in chunks, or mounted from another repository (distribution-spec, "Push")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError, InvalidNameError
from layercache.oci.digest import Digest
from layercache.serve.messages import Answer, RegistryError

if TYPE_CHECKING:
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Headers, Request
    from layercache.serve.push.intake import BlobIntake
    from layercache.serve.push.mounts import Mounts
    from layercache.serve.push.sessions import Session, Sessions
    from layercache.serve.routes import Route

# The spec's is only the two numbers; some clients write it as in a response.
_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?")


class Uploads:
    """Answers ``/v2/<name>/blobs/uploads/<id>``.

    ``limit``: bytes of a blob at most, None for any.
    """

    def __init__(self, sessions: Sessions, intake: BlobIntake, mounts: Mounts, *, limit: int | None) -> None:
        self._sessions = sessions
        self._intake = intake
        self._mounts = mounts
        self._limit = limit

    def answer(self, admitted: Admitted) -> Answer:
        """What became of a request. Raises `RegistryError`, 507 where the disk is full."""
        try:
            return self._answer(admitted)
        except OSError as error:
            why = f"the upload could not be written: {error.strerror or error}"
            raise RegistryError(507, "UNAVAILABLE", why) from error

    def _answer(self, admitted: Admitted) -> Answer:
        request, route, repository = admitted.request, admitted.route, admitted.reference.repository
        if request.method == "POST" and not route.reference:
            return self._begin(request, route, repository)
        with self._sessions.held(repository, route.reference) as session:
            match request.method:
                case "GET" | "HEAD":
                    return Answer(204, _progress(route, route.reference, session.size))
                case "PATCH":
                    self._append(request, route, session)
                    return Answer(202, _progress(route, route.reference, session.size))
                case "PUT":
                    digest = _digest(request.query.get("digest", ""))
                    self._append(request, route, session)
                    return self._finish(route, repository, session, digest)
                case "DELETE":
                    session.remove()
                    return Answer(204)
        raise RegistryError(405, "UNSUPPORTED", f"{request.method} is not supported here")

    def _begin(self, request: Request, route: Route, repository: str) -> Answer:
        """Begin an upload. With ``digest`` the body is all of it, with ``mount`` perhaps none is needed."""
        if mount := request.query.get("mount"):
            mounted = _digest(mount)
            if (blob := self._mounts.find(request, mounted)) and self._intake.link(repository, blob):
                return _created(route, mounted)
        whole = request.query.get("digest")
        digest = _digest(whole) if whole else None
        identifier = self._sessions.begin(repository)
        if digest is None:
            return Answer(202, _progress(route, identifier, 0))
        with self._sessions.held(repository, identifier) as session:
            try:
                self._append(request, route, session)
                return self._finish(route, repository, session, digest)
            finally:
                session.remove()  # no client was given its id

    def _append(self, request: Request, route: Route, session: Session) -> None:
        """Add the body of a request, if it follows what has come so far."""
        begun = session.size
        stated = request.headers.get("content-range", "")
        length = _length_of(stated, begun, route) if stated else None
        if request.body is None:
            return
        came = session.append(request.body, self._limit)
        if length is not None and came != length:
            session.cut(begun)
            raise RegistryError(
                400, "SIZE_INVALID", f"{came} bytes came of the range {stated}, which has {length}"
            )

    def _finish(self, route: Route, repository: str, session: Session, digest: Digest) -> Answer:
        """Store what has come, if it has this digest. Bytes of another digest end the upload."""
        try:
            self._intake.store(session.path, repository, digest)
        except DigestMismatchError as error:
            session.remove()
            raise RegistryError(400, "DIGEST_INVALID", error.message) from error
        session.remove()
        return _created(route, digest)


def _digest(text: str) -> Digest:
    try:
        return Digest(text)
    except InvalidNameError as error:
        raise RegistryError(400, "DIGEST_INVALID", error.message) from error


def _length_of(stated: str, begun: int, route: Route) -> int:
    """The bytes of a chunk by its Content-Range, which must begin where the last one ended."""
    found = _RANGE.fullmatch(stated)
    if not found or int(found[2]) < int(found[1]):
        raise RegistryError(400, "BLOB_UPLOAD_INVALID", f"not a Content-Range of a chunk: {stated[:80]!r}")
    if int(found[1]) != begun:
        raise RegistryError(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the next chunk begins at {begun}, not at {found[1]}",
            headers=_progress(route, route.reference, begun),
        )
    return int(found[2]) - int(found[1]) + 1


def _progress(route: Route, identifier: str, size: int) -> Headers:
    return [
        ("location", f"/v2/{route.name}/blobs/uploads/{identifier}"),
        ("range", f"0-{max(size - 1, 0)}"),
        ("docker-upload-uuid", identifier),
    ]


def _created(route: Route, digest: Digest) -> Answer:
    location = ("location", f"/v2/{route.name}/blobs/{digest}")
    return Answer(201, [location, ("docker-content-digest", digest)])
