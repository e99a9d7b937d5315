"""Which backends need a guard (`layercache.tiers.guard`): all that have an SDK under them, and plug-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import IN_THE_BOX
from layercache.backend.opening import package_of
from layercache.tiers.gate import Gate

if TYPE_CHECKING:
    from layercache.backend import Backend

_PLAIN = frozenset(IN_THE_BOX[scheme].partition(":")[0] for scheme in ("file", "memory"))
"""Modules of backends without an SDK under them, whose own readers count: they need no guard."""


def guarded(backend: Backend) -> Backend:
    """The backend with a guard around it, if it needs one, which has the capabilities that it has."""
    if isinstance(backend, Gate) or package_of(backend) in _PLAIN:
        return backend
    from layercache.tiers.guard import with_guard  # a cache on this machine needs none

    return with_guard(backend)
