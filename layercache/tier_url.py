"""The tier that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import BackendURL, LocalPath, open_backend
from layercache.backend_tier import BackendTier
from layercache.layout_tier import LayoutTier
from layercache.policy import take_policy

if TYPE_CHECKING:
    from layercache.backend import Backend
    from layercache.policy import Policy


def open_tier(url: str, *, nearest: bool) -> BackendTier:
    """The tier that a URL names: the backend's options, and those of `take_policy`. Raises `ConfigError`.

    A folder that is only read may be an OCI image layout that other tools made.
    """
    policy, rest = take_policy(BackendURL.parse(url), nearest=nearest)
    return tier_on(open_backend(rest), policy)


def tier_on(backend: Backend, policy: Policy) -> BackendTier:
    may_be_foreign = policy.readonly and isinstance(backend, LocalPath)
    return LayoutTier(backend, policy) if may_be_foreign else BackendTier(backend, policy)
