"""Checks of a tier of any kind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from layercache.doctor.backend_probe import StoreProbe
from layercache.doctor.check import SECONDS, Answer, Examination, Subject
from layercache.tiers.backend.tier import BackendTier

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.doctor.probe import Probe
    from layercache.tiers.tier import Tier


def check_tier(url: str, open: Callable[[], Tier], *, seconds: float = SECONDS) -> Subject:
    """Run all checks of a tier. Test data is removed at the end, even if interrupted."""
    examination = Examination(url, "tier")
    opened: list[Tier] = []

    def begin() -> Answer:
        tier = open()
        opened.append(tier)
        policy = tier.policy
        trust = "trusted" if policy.trusted else "not trusted"
        access = "read-only" if policy.readonly else "read and write"
        stores = "compressed and indexes" if policy.indexed else policy.keep
        return Answer(f"stores {stores}, {access}, {trust}")

    if not examination.run("configured", begin, seconds):
        return examination.subject()
    tier = opened[0]
    examination.name = tier.name
    probe = _probe(tier)
    try:
        probe.run(examination, seconds)
    finally:
        # A store that timed out before may time out again, so cleaning up has a timeout as well.
        clearing = threading.Thread(target=probe.clear, name="check", daemon=True)
        clearing.start()
        clearing.join(seconds)
    return examination.subject()


def _probe(tier: Tier) -> Probe[Any]:
    if isinstance(tier, BackendTier):
        return StoreProbe(tier)
    from layercache.doctor.registry_probe import RegistryProbe
    from layercache.tiers.registry.tier import RegistryTier

    assert isinstance(tier, RegistryTier)
    return RegistryProbe(tier)
