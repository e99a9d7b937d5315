"""Takes the paths of requests apart, by the grammar of the distribution-spec. Any other path is no route.

The grammar has no "..", no empty component and no "%": so there is nothing to normalize, and no trick.
"""

from __future__ import annotations

import re
from functools import lru_cache

from layercache.value import Value

PATH_MAX = 1024
"""Characters of the longest path that has a route, and some more."""

REMEMBERED = 8192
"""Paths that are not taken apart again: those that were asked for last."""

_NAME = r"(?P<name>[a-z0-9][a-zA-Z0-9._/:-]{0,510})"
_TAG_OR_DIGEST = r"(?P<reference>[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,200})"
_ROUTES = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("base", r"/v2/?"),
        ("catalog", r"/v2/_catalog"),
        ("tags", rf"/v2/{_NAME}/tags/list"),
        ("manifest", rf"/v2/{_NAME}/manifests/{_TAG_OR_DIGEST}"),
        ("upload", rf"/v2/{_NAME}/blobs/uploads/(?P<reference>[A-Za-z0-9_.=-]{{0,200}})"),
        ("blob", rf"/v2/{_NAME}/blobs/{_TAG_OR_DIGEST}"),
        ("referrers", rf"/v2/{_NAME}/referrers/{_TAG_OR_DIGEST}"),
        ("token", r"/token"),
        ("health", r"/healthz"),
        ("ready", r"/readyz"),
        ("metrics", r"/metrics"),
        ("page", r"/(?:ui/[a-z0-9_./-]{0,100})?"),
    )
)


class Route(Value, frozen=True):
    """What a path stands for. ``name``: of a repository, ``reference``: a tag, a digest or an upload's id."""

    kind: str
    name: str = ""
    reference: str = ""


def route(path: str) -> Route | None:
    """The route of a path; None if it has none."""
    return _route(path) if len(path) <= PATH_MAX else None  # long ones are not kept in memory


@lru_cache(REMEMBERED)
def _route(path: str) -> Route | None:
    for kind, pattern in _ROUTES:
        if found := pattern.fullmatch(path):
            return Route(kind, **found.groupdict())
    return None
