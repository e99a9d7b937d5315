"""The registry tier that a URL names: ``oci://registry/repository?option=value``."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from layercache.oci.reference import Reference
from layercache.registry.client import RegistryClient
from layercache.registry.settings import RegistrySettings
from layercache.tiers.registry.tier import RegistryTier

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import BackendURL
    from layercache.tiers.policy import Policy
    from layercache.tiers.tier import Tier


@dataclass(frozen=True)
class Options:
    """What a URL says of how its registry is reached; the rest is as for every registry."""

    timeout: float | None = None
    plain_http: bool = False
    insecure: bool = False
    ca_file: str | None = None

    def applied(self, settings: RegistrySettings, registry: str) -> RegistrySettings:
        own = (registry,)
        return replace(
            settings,
            connect_timeout=self.timeout or settings.connect_timeout,
            read_timeout=self.timeout or settings.read_timeout,
            plain_http=settings.plain_http + own * self.plain_http,
            insecure=settings.insecure + own * self.insecure,
            ca_file=os.path.expanduser(self.ca_file) if self.ca_file else settings.ca_file,
        )


def open_registry_tier(
    url: BackendURL, policy: Policy, settings: Callable[[], RegistrySettings] | None = None
) -> Tier:
    """Nothing is asked of the registry yet. Raises `ConfigError`, and `InvalidNameError` for its name."""
    options = url.options(Options)
    reference = Reference(url.netloc, url.path.strip("/"), "latest")

    def client() -> RegistryClient:
        return RegistryClient(
            options.applied(settings() if settings else RegistrySettings(), reference.registry)
        )

    return RegistryTier(reference, policy, client)
