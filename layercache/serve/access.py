"""Decides who may read what, before anything is looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.value import Value, replace

if TYPE_CHECKING:
    from layercache.oci.reference import Reference
    from layercache.serve.messages import Request
    from layercache.serve.routes import Route
    from layercache.serve.upstreams import Upstreams

WHOLE_REPOSITORY = frozenset({"tags", "upload"})
"""Kinds of routes that name a repository, and no manifest or blob of it."""


class Admitted(Value, frozen=True):
    """A request whose client may have what it asks for.

    ``whole``: what is asked for, as the upstream knows it; a whole repository has the tag "latest"; None if
    the path names no repository. ``user``: the client's name for the access log; "" for anybody.
    """

    request: Request
    route: Route
    whole: Reference | None = None
    user: str = ""

    @property
    def reference(self) -> Reference:
        """What is asked for, on a path that names a repository."""
        assert self.whole is not None, "the route names a repository"
        return self.whole


class Access:
    """Admits requests. Thread-safe."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    def check(self, request: Request, route: Route) -> Admitted:
        """Admit a request, or raise `RegistryError`: 401, 403 or 404. May wait for the upstream."""
        if not route.name:
            return Admitted(request, route)
        asked = replace(route, reference="latest") if route.kind in WHOLE_REPOSITORY else route
        return Admitted(request, route, self._upstreams.reference(request, asked))

    def remembered(self, request: Request, route: Route) -> Admitted | None:
        """As `check`, from memory; None if that has to wait, or would raise."""
        return self.check(request, route)
