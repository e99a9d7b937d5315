"""The tier that a URL names: on a backend, or of another kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.backend import BackendURL, open_backend
from layercache.backend.capabilities import LocalPath
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.folder import refuse_other
from layercache.tiers.format import upgrade_command
from layercache.tiers.gate import gated
from layercache.tiers.guarded import guarded
from layercache.tiers.policy import REGISTRY, take_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Backend
    from layercache.registry.settings import RegistrySettings
    from layercache.tiers.policy import Policy
    from layercache.tiers.tier import Tier


def open_tier(
    url: str,
    *,
    nearest: bool,
    registries: Callable[[], RegistrySettings] | None = None,
    max_document_size: int = DOCUMENT_MAX,
) -> Tier:
    """The tier that a URL names: the options of its kind, and those of `take_policy`.

    ``registries`` says how registries are reached, and is called when one is first asked.
    ``max_document_size``: bytes of a manifest, an index or a config that is read there, at most. Raises
    `ConfigError`, also for a folder that holds other files and is not a cache. A store's format is asked for
    when the tier is first used.
    """
    policy, rest = take_policy(BackendURL.parse(url), nearest=nearest, max_document_size=max_document_size)
    if rest.scheme == REGISTRY:
        from layercache.tiers.registry.opening import open_registry_tier

        return open_registry_tier(rest, policy, registries)
    backend = open_backend(rest, also=(REGISTRY,))
    refuse_other(backend)
    return tier_on(gated(guarded(backend), partial(upgrade_command, rest)), policy)


def tier_on(backend: Backend, policy: Policy) -> BackendTier:
    """The tier on a backend. A folder that is only read may be an OCI image layout that other tools made."""
    if policy.readonly and isinstance(backend, LocalPath):
        from layercache.tiers.layout.tier import LayoutTier

        return LayoutTier(backend, policy)
    return BackendTier(backend, policy)
