"""A store of the earlier format, its upgrade, and what has to be there afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixtures.earlier import CLAIMED, DERIVED, GZIP, TAG, ZSTD, fill_earlier
from fixtures.stores import content

from layercache.tiers import format, keys
from layercache.tiers.gate import gated
from layercache.tiers.guarded import guarded
from layercache.tiers.opening import tier_on
from layercache.tiers.policy import Policy
from layercache.upkeep.upgrade import Upgrade
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.backend import Backend
    from layercache.tiers.backend.tier import BackendTier
    from layercache.upkeep.upgrade import Upgraded


def tier(backend: Backend) -> BackendTier:
    return tier_on(gated(guarded(backend), lambda: "layercache upgrade"), Policy(trusted=True))


def upgrade(backend: Backend, *, jobs: int | None = 1, dry_run: bool = False) -> Upgraded:
    return Upgrade(tier(backend), jobs=jobs, dry_run=dry_run).run()


def earlier() -> MemoryBackend:
    backend = MemoryBackend()
    fill_earlier(backend)
    return backend


def assert_upgraded(backend: Backend) -> None:
    """All that was known is known, and nothing else is there than should be."""
    found = content(backend)
    assert found[format.KEY] == format.MARKER
    assert [key for key in found if key.startswith(format.EARLIER)] == []
    assert found[DERIVED] == b"derived"
    assert found[TAG].startswith(b'{"mediaType"')
    names = [name for layer in (GZIP, ZSTD, CLAIMED) for name in (layer.digest, layer.diff_id)]
    assert sorted(key for key in found if key.startswith(keys.RECORDS)) == sorted(map(keys.record, names))
    facts = tier(backend).facts
    for layer in (GZIP, ZSTD):
        (known,) = facts.inflates_to(layer.digest)
        assert (known.diff_id, known.uncompressed_size) == (layer.diff_id, len(layer.tar))
        assert known.computed
        assert facts.made_from(layer.diff_id) == [known]
    (claim,) = facts.inflates_to(CLAIMED.digest)
    assert (claim.diff_id, claim.computed) == (CLAIMED.diff_id, False), "a claim stays one"
