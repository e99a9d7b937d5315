"""A tier looked at, of whatever kind it is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from layercache.doctor.backend_probe import StoreProbe
from layercache.doctor.check import SECONDS, Answer, Subject
from layercache.tiers.backend_tier import BackendTier

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.doctor.probe import Probe
    from layercache.tiers.tier import Tier


def check_tier(url: str, open: Callable[[], Tier], *, seconds: float = SECONDS) -> Subject:
    """All that can be said of a tier, in some seconds; what was written is removed, also when interrupted."""
    subject = Subject(url, "tier")
    opened: list[Tier] = []

    def begin() -> Answer:
        tier = open()
        opened.append(tier)
        policy = tier.policy
        believed = "trusted" if policy.trusted else "not trusted"
        access = "read-only" if policy.readonly else "read and write"
        return Answer(f"keeps {policy.keep}, {access}, {believed}")

    if not subject.run("configured", begin, seconds):
        return subject
    tier = opened[0]
    subject.name = tier.name
    probe = _probe(tier)
    try:
        probe.run(subject, seconds)
    finally:
        # What has not answered before may not answer now: that is not waited for either.
        clearing = threading.Thread(target=probe.clear, name="check", daemon=True)
        clearing.start()
        clearing.join(seconds)
    return subject


def _probe(tier: Tier) -> Probe[Any]:
    if isinstance(tier, BackendTier):
        return StoreProbe(tier)
    from layercache.doctor.registry_probe import RegistryProbe
    from layercache.tiers.registry.tier import RegistryTier

    assert isinstance(tier, RegistryTier)
    return RegistryProbe(tier)
