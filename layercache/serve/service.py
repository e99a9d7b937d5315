"""What one worker serves: finds the handler of a request, and turns errors into the distribution-spec's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import LayercacheError, NotFoundError
from layercache.serve.access import Access, Admitted
from layercache.serve.blobs import Blobs
from layercache.serve.catalog import Catalog
from layercache.serve.errors import registry_error
from layercache.serve.health import ALIVE, Readiness
from layercache.serve.held_files import HeldFiles
from layercache.serve.manifests import Manifests
from layercache.serve.messages import API_VERSION, READS, Answer, AnyAnswer, Later, RegistryError, Request
from layercache.serve.metrics import Metrics
from layercache.serve.push.hosting import Hosting, hosted_by, is_hosted, require_hosted
from layercache.serve.questions import Questions
from layercache.serve.referrals import Referrals
from layercache.serve.referrers import Referrers, listed_referrers
from layercache.serve.routes import route
from layercache.serve.tags import Tags
from layercache.serve.tally import Tally
from layercache.serve.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.serve.page.page import Page
    from layercache.serve.routes import Route
    from layercache.serve.settings import ServeSettings


class Service:
    """Answers requests from a cache. Thread-safe, as all its parts are."""

    def __init__(
        self,
        cache: Cache,
        settings: ServeSettings,
        metrics: Metrics | None = None,
        page: Callable[[Access], Page] | None = None,
    ) -> None:
        self.cache = cache
        self.settings = settings
        self._questions = Questions(settings.max_requests)
        referrals = Referrals(cache, self._questions, settings)
        files = self._files = HeldFiles()
        self._hosting = Hosting(cache, settings, referrals, self._admit, files) if settings.hosts else None
        names = self._hosting.names if self._hosting else None
        self._access = Access(
            settings, Upstreams(cache, settings, names), self._questions, cache.registry_images()
        )
        self._manifests = Manifests(cache, referrals, self._questions, settings)
        self._blobs = Blobs(cache, referrals, files, redirect=settings.redirect)
        self._catalog = Catalog(cache, self._access)
        self._tags = Tags(cache, self._questions, settings)
        self._referrers = Referrers(cache, self._questions, settings)
        self._metrics = metrics or Metrics(Tally(lambda: cache.counters))
        self.page = page(self._access) if page else None
        # Whoever probes has no credentials.
        self._probes = {"health": lambda: ALIVE, "ready": Readiness(cache.tiers[0]).answer}
        # Handlers get only what was admitted: whatever they look up for it, the client may read.
        self._handlers: dict[str, Callable[[Admitted], AnyAnswer]] = {
            "base": self._base,
            "token": self._access.token,
            "manifest": self._manifests.answer,
            "blob": self._blobs.answer,
            "catalog": self._catalog.answer,
            "tags": lambda admitted: Later(partial(self._tags.answer, admitted)),
            "referrers": lambda admitted: Later(partial(self._referrers.answer, admitted)),
            "metrics": lambda admitted: self._metrics.answer(admitted.request),
        }
        if self.page:
            self._handlers["page"] = self.page.answer

    def quick(self, request: Request) -> AnyAnswer | None:
        """The answer, if that is known without waiting for anything; else None: call `answer`."""
        if request.path == "/healthz":
            return ALIVE
        found = route(request.path)
        if found is None or found.kind != "manifest" or request.method not in READS:
            return None
        if self._hosting is not None and not self._hosting.names.is_settled(request, found.name):
            return None
        try:
            admitted = self._access.remembered(request, found)
            return None if admitted is None or is_hosted(admitted) else self._manifests.quick(admitted)
        except RegistryError as error:
            return error.answer()

    def answer(self, request: Request) -> AnyAnswer:
        """The answer, which may wait for tiers and upstreams."""
        return self._safely(partial(self._found, request), request)

    def _found(self, request: Request) -> AnyAnswer:
        found = route(request.path)
        if found is not None and found.kind in self._probes:
            return self._probes[found.kind]()
        if found is None:
            raise RegistryError(404, "NOT_FOUND", f"no such path: {request.path[:200]}")
        if request.method not in READS:
            require_hosted(self._hosting, request, found)
        admitted = self._access.at_once(request, found)
        if admitted is None:
            return Later(partial(self._checked, request, found))
        return self._handled(admitted)

    def _checked(self, request: Request, found: Route) -> AnyAnswer:
        try:
            admitted = self._access.check(request, found)
        except RegistryError as error:
            if error.status == 404 and found.kind == "referrers":
                return listed_referrers([])  # clients take a 404 for a registry without this list
            raise
        return self._handled(admitted)

    def _handled(self, admitted: Admitted) -> AnyAnswer:
        request, found = admitted.request, admitted.route
        if is_hosted(admitted):
            return hosted_by(self._hosting).answer(admitted)
        if found.kind not in self._handlers:
            raise RegistryError(404, "NOT_FOUND", f"no such path: {request.path[:200]}")
        return self._handlers[found.kind](admitted)

    def close(self) -> None:
        if self.page:
            self.page.close()
        self._questions.close()
        self._files.close()
        self.cache.close()

    def _admit(self, request: Request, route: Route) -> Admitted:
        return self._access.check(request, route)

    def _base(self, admitted: Admitted) -> Answer:  # noqa: ARG002
        body = b"{}"
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), API_VERSION]
        return Answer(200, headers, body)

    def _safely(self, find: Callable[[], AnyAnswer], request: Request) -> AnyAnswer:
        """What is found, or the error that it ends in; also of what is found later."""
        try:
            answer = find()
        except RegistryError as error:
            return error.answer()
        except LayercacheError as error:
            self._note(error, request)
            return registry_error(error).answer()
        return Later(partial(self._safely, answer.find, request)) if isinstance(answer, Later) else answer

    def _note(self, error: LayercacheError, request: Request) -> None:
        """Show an error on the page, unless it is that something does not exist."""
        if self.page and not isinstance(error, NotFoundError):
            found = route(request.path)
            self.page.activity.failed(
                error, repository=self._access.repository(request, found) if found else ""
            )
