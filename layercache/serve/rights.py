"""Whom upstreams let read their repositories: asked for, and remembered for a while."""

from __future__ import annotations

import hashlib
import math
import secrets
import threading
import time
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError, SourceError
from layercache.registry.credentials import DeniedError, Login
from layercache.registry.http import discard
from layercache.registry.repository import Repository
from layercache.serve.remembered import Remembered
from layercache.sources.registry import RegistrySource
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.images.registry_images import RegistryImages
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.registry.credential import Credential
    from layercache.serve.questions import Questions
    from layercache.serve.settings import ServeSettings

REMEMBERED = 20_000
"""Answers that are remembered of each kind: those that were given last."""
CLIENTS_AGE = 3600.0
"""Seconds for which credentials and their tokens are kept for the next request."""


class Refusal(Value, frozen=True):
    """What an upstream says to somebody who may not read something: 401, 403 or 404, and why."""

    status: int
    message: str


class Rights:
    """Asks upstreams whether somebody may read a repository. Thread-safe.

    Anybody is asked for first: what everybody may read needs no credentials, and is fetched with the mirror's
    own. Only for the rest a client's credentials are sent, to the upstream and the token server that it
    names. What is remembered of them is a hash with a salt.
    """

    def __init__(self, images: RegistryImages, questions: Questions, settings: ServeSettings) -> None:
        self._images = images
        self._questions = questions
        self._age = settings.access_age
        self._refusal_age = settings.missing_age
        self._patience = settings.upstream_timeout
        self._salt = secrets.token_bytes(32)
        # By repository: when everybody was last found to be allowed to read it (monotonic seconds;
        # -inf: before this process began).
        self._public: Remembered[float] = Remembered(REMEMBERED)
        # By repository: nothing says that it is public.
        self._unrecorded: Remembered[bool] = Remembered(REMEMBERED)
        # By client and repository, a refusal of what is absent also by what was asked for.
        self._allowed: Remembered[bool] = Remembered(REMEMBERED)
        self._refused: Remembered[Refusal] = Remembered(REMEMBERED)
        # Held while a client is made: who asks is told apart by it, so each credential has one.
        self._making = threading.Lock()
        self._clients: Remembered[RegistryClient] = Remembered(REMEMBERED)

    def is_public(self, reference: Reference) -> bool:
        """Whether everybody was found to be allowed to read the repository, not long ago."""
        found = self._public.get(reference.name)
        return found is not None and time.monotonic() - found < self._age

    def was_public(self, reference: Reference) -> bool:
        """Whether everybody was ever found to be allowed to read the repository, and not refused since.

        What was found before this process began is recorded in trusted tiers.
        """
        if self._public.get(reference.name) is not None:
            return True
        if self._unrecorded.get(reference.name) or self._refused.get(("", reference.name)):
            return False
        recorded = self._images.was_public(reference)
        if recorded:
            self._public.put(reference.name, -math.inf, math.inf)
        else:
            self._unrecorded.put(reference.name, True, self._refusal_age)
        return recorded

    def is_allowed(self, reference: Reference, credential: Credential) -> bool:
        """Whether the upstream was found to let these credentials read the repository, not long ago."""
        return bool(self._allowed.get((self._who(credential), reference.name)))

    def check(self, reference: Reference, kind: str, credential: Credential | None) -> RegistryClient | None:
        """Ask whether a client may read something of a repository, which ``kind`` of route asks for.

        Returns what reaches the upstream with the client's credentials; None if it needs none. Raises
        `DeniedError` and `NotFoundError` as the upstream answers; what everybody may read stays so while it
        does not answer, anything else is `SourceError` then.
        """
        refusal = self._ask_for_anybody(reference, kind)
        if refusal is None:
            return None
        if credential is not None:
            refusal = self._ask(self._who(credential), reference, kind, credential)
            if refusal is None:
                return self.acting(credential, reference.registry)
        if refusal.status == 404:
            raise NotFoundError(refusal.message)
        raise DeniedError(refusal.message, status=refusal.status)

    def _ask_for_anybody(self, reference: Reference, kind: str) -> Refusal | None:
        try:
            known = self.was_public(reference)
            refusal = self._ask("", reference, kind, None, patience=self._patience if known else None)
        except SourceError:
            if not self.was_public(reference):
                raise
            return None
        if refusal is None:
            self._public.put(reference.name, time.monotonic(), math.inf)
        elif refusal.status != 404:
            self._public.forget(reference.name)
        return refusal

    def _ask(
        self,
        who: str,
        reference: Reference,
        kind: str,
        credential: Credential | None,
        *,
        patience: float | None = None,
    ) -> Refusal | None:
        """What the upstream says, or said a moment ago; None: it allows it.

        ``patience``: seconds for which it is waited for, since what it said before may stand.
        """
        looked = time.monotonic()
        place, thing = (who, reference.name), (who, reference.name, reference.selector)
        if (known := self._refused.get(place) or self._refused.get(thing)) is not None:
            return known
        if self._allowed.get(place):  # since this one was waiting for another answer
            return None
        client = self.acting(credential, reference.registry)

        def asked() -> Refusal | None:
            # Remembered before the question is closed, so that none who comes then asks again.
            refusal = _ask(client, reference, kind)
            if refusal is None:
                self._allowed.put(place, True, self._age)
            else:
                self._refused.put(thing if refusal.status == 404 else place, refusal, self._refusal_age)
            return refusal

        return self._questions.ask(
            ("rights", kind, *thing[1:]),
            reference.registry,
            asked,
            looked=looked,
            patience=patience,
            whose=client,
        )

    def acting(self, credential: Credential | None, registry: str) -> RegistryClient:
        """What sends these credentials to a registry. It is kept, with the tokens that it was given."""
        key = (self._who(credential), registry)

        def find(asked: str, _repository: str) -> Login:
            return Login(credential if asked == registry else None)

        with self._making:
            client = self._clients.get(key)
            if client is None:
                client = self._images.client().on_behalf(find)
                self._clients.put(key, client, CLIENTS_AGE)
        return client

    def _who(self, credential: Credential | None) -> str:
        if credential is None:
            return ""
        return hashlib.blake2b(credential.basic.encode(), key=self._salt, digest_size=16).hexdigest()


def _ask(client: RegistryClient, reference: Reference, kind: str) -> Refusal | None:
    """Read as little of a repository as shows that this is allowed. Raises `SourceError`."""
    asking = client.without_retries()
    try:
        if kind == "manifest":
            RegistrySource(asking, reference).root()
            return None
        if kind == "blob" and reference.digest is not None:
            repository = Repository(asking, reference.registry, reference.repository)
            if repository.has_blob(reference.digest):
                return None
        # A diff ID, which upstreams do not know, or what is only cached, or the repository as a whole.
        discard(asking.request("GET", reference, "tags/list?n=1", {}))
    except DeniedError as error:
        return Refusal(error.status, error.message)
    except NotFoundError as error:
        return Refusal(404, error.message)
    return None
