"""Decides who may read what, before anything is looked up."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import msgspec

from layercache.config.serve import split_readers, split_writers
from layercache.errors import ConfigError, NotFoundError
from layercache.images.hosted import HOSTED
from layercache.oci.repository_pattern import RepositoryPattern, any_matches
from layercache.registry.credentials import DeniedError
from layercache.serve.clients import Clients, Identity
from layercache.serve.messages import READS, Answer, RegistryError
from layercache.serve.rights import Rights
from layercache.value import Value, replace

if TYPE_CHECKING:
    from layercache.images.registry_images import RegistryImages
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.messages import Request
    from layercache.serve.questions import Questions
    from layercache.serve.routes import Route
    from layercache.serve.settings import ServeSettings
    from layercache.serve.upstreams import Upstreams

WHOLE_REPOSITORY = frozenset({"tags", "upload"})
"""Kinds of routes that name a repository, and no manifest or blob of it."""

EVERY_USER = "*"

UNCHECKED = "token"
"""The kind of the route that is answered before a client is known."""

REMEMBERED = 8192
"""Repositories that are not looked for in the list of upstreams again: those that were asked for last."""

TOKEN_LIFETIME = 3600
"""Seconds after which a client asks for a new token. It is the same again."""


class Admitted(Value, frozen=True):
    """A request whose client may have what it asks for.

    ``whole``: what is asked for, as the upstream knows it; a whole repository has the tag "latest"; None if
    the path names no repository. ``user``: the client's name for the access log; "" for anybody.
    ``registries``: what reaches the upstream with the client's own credentials; None: the mirror's are used.
    ``public``: everybody may read the repository, as its upstream said not long ago.
    """

    request: Request
    route: Route
    whole: Reference | None = None
    user: str = ""
    registries: RegistryClient | None = None
    public: bool = False

    @property
    def reference(self) -> Reference:
        """What is asked for, on a path that names a repository."""
        assert self.whole is not None, "the route names a repository"
        return self.whole


class Access:
    """Admits requests. Thread-safe.

    A client must be one of the mirror's users, if it has users. The repository must be listed. Then a rule of
    the configuration must allow the client to read it, or the upstream: everybody, or this client by its own
    credentials. Raises `ConfigError`.
    """

    def __init__(
        self,
        settings: ServeSettings,
        upstreams: Upstreams,
        questions: Questions,
        images: RegistryImages,
    ) -> None:
        self._upstreams = upstreams
        self._clients = Clients(settings)
        self._rights = Rights(images, questions, settings)
        self._matches_list = lru_cache(REMEMBERED)(partial(any_matches, settings.listed))
        self._readers = tuple(split_readers(each) for each in settings.readers)
        self._writers = tuple(split_writers(each) for each in settings.writers)
        _check_users(settings, self._clients)

    def check(self, request: Request, route: Route) -> Admitted:
        """Admit a request, or raise `RegistryError`: 401, 403 or 404. May wait for the upstream.

        Raises `SourceError` where the upstream must be asked, and does not answer.
        """
        if (admitted := self.at_once(request, route)) is not None:
            return admitted
        identity = self._clients.identify(request)
        reference = self._reference(request, route)
        try:
            registries = self._rights.check(reference, route.kind, identity.credential)
        except DeniedError as error:
            raise self._refused(request, identity, reference, error) from error
        except NotFoundError as error:
            code = "BLOB_UNKNOWN" if route.kind == "blob" else "MANIFEST_UNKNOWN"
            raise RegistryError(404, code, error.message) from error
        public = registries is None and self._rights.is_public(reference)
        return Admitted(request, route, reference, identity.user, registries, public=public)

    def at_once(self, request: Request, route: Route) -> Admitted | None:
        """As `check`; None if the upstream has to be asked."""
        if route.kind == UNCHECKED:
            return Admitted(request, route)
        return self._decided(request, route, self._clients.identify(request))

    def remembered(self, request: Request, route: Route) -> Admitted | None:
        """As `at_once`; None also if a password has to be checked, which takes a moment."""
        identity = self._clients.remembered(request)
        return self._decided(request, route, identity) if identity else None

    def _decided(self, request: Request, route: Route, identity: Identity) -> Admitted | None:
        if not route.name:
            if (
                route.kind == "base"
                and self._takes_credentials
                and not request.headers.get("authorization", "")
            ):
                raise self._clients.unauthorized(request, "get a token, which needs no password")
            return Admitted(request, route, user=identity.user)
        reference = self._reference(request, route)
        if request.method not in READS and not self._is_writer(identity.user, reference):
            raise RegistryError(403, "DENIED", f"{identity.user} may not push to {reference.repository}")
        public = self._rights.is_public(reference)
        if public or self._is_reader(identity.user, reference):
            return Admitted(request, route, reference, identity.user, public=public)
        if identity.credential and self._rights.is_allowed(reference, identity.credential):
            registries = self._rights.acting(identity.credential, reference.registry)
            return Admitted(request, route, reference, registries=registries)
        return None

    def token(self, admitted: Admitted) -> Answer:
        """The token that stands for credentials, as the Docker Registry token specification has it.

        It is given to everybody: credentials are checked where they are used.
        """
        token = self._clients.token(admitted.request)
        body = msgspec.json.encode({"token": token, "access_token": token, "expires_in": TOKEN_LIFETIME})
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        return Answer(200, [*headers, ("cache-control", "no-store")], body)

    def repository(self, request: Request, route: Route) -> str:
        """The upstream's repository that a request is about, for messages; "" for none."""
        try:
            return str(self._reference(request, route)) if route.name else ""
        except RegistryError:
            return ""

    def lists(self, admitted: Admitted, reference: Reference) -> bool:
        """Whether lists show a repository to a client: if it is known that it may read that."""
        is_listed = reference.registry == HOSTED or self._matches_list(reference)
        return is_listed and (self._is_reader(admitted.user, reference) or self._rights.was_public(reference))

    def _reference(self, request: Request, route: Route) -> Reference:
        asked = replace(route, reference="latest") if route.kind in WHOLE_REPOSITORY else route
        reference = self._upstreams.reference(request, asked)
        if reference.registry != HOSTED and not self._matches_list(reference):
            raise RegistryError(
                403,
                "DENIED",
                f"{reference.name} is not among the upstreams of this mirror (upstreams in [serve])",
            )
        return reference

    def _is_writer(self, user: str, reference: Reference) -> bool:
        """Whether a user may push to a hosted repository, and delete what is there."""
        return not self._writers or any(
            fnmatchcase(reference.repository, pattern) and (EVERY_USER in users or user in users)
            for pattern, users in self._writers
        )

    def _is_reader(self, user: str, reference: Reference) -> bool:
        """Whether a user may read a repository whatever its upstream says, if it has one."""
        return reference.registry == HOSTED or any(
            pattern.matches(reference) and (EVERY_USER in users or user in users)
            for pattern, users in self._readers
        )

    @property
    def _takes_credentials(self) -> bool:
        """Whether credentials may make a difference: there are repositories that not everybody may read."""
        everything = RepositoryPattern("*")
        return not any(pattern == everything and EVERY_USER in users for pattern, users in self._readers)

    def _refused(
        self, request: Request, identity: Identity, reference: Reference, error: DeniedError
    ) -> RegistryError:
        """As the upstream says: to a client without credentials 401, which asks for some."""
        if identity.user:
            message = f"{reference.name} is not public, and {identity.user} is not among its readers here"
            return RegistryError(403, "DENIED", message)
        if error.status == 401:
            scope = f"repository:{reference.repository}:pull"
            return self._clients.unauthorized(request, error.message, scope)
        return RegistryError(403, "DENIED", error.message)


def _check_users(settings: ServeSettings, clients: Clients) -> None:
    """Refuse rules for users that there are not: nobody could ever be one of them."""
    rules = [("readers", text) for text in settings.readers] + [
        ("writers", text) for text in settings.writers
    ]
    for key, text in rules:
        _, users = (split_readers if key == "readers" else split_writers)(text)
        if unknown := users - clients.users - {EVERY_USER}:
            raise ConfigError(
                f"{key}: {text}: there is no user {min(unknown)}",
                hint="users are those of the files htpasswd and tokens; * stands for everybody",
            )
