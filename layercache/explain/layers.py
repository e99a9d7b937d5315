"""Explains one layer: what each tier has of it, and the plan that a read would follow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from layercache.errors import BackendError, NotFoundError
from layercache.explain.explanation import HeldBlob, LayerExplanation, Route, TierState
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED
from layercache.resolver.layer_state import LayerState
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.plan import Way
    from layercache.resolver.resolver import Resolver
    from layercache.sources.origin import BlobSource
    from layercache.tiers.tier import Tier

FORMS: tuple[Form, ...] = (COMPRESSED, UNCOMPRESSED)


class LayerExplainer:
    """Looks at tiers, and reads no blob. ``asked`` are the ``tiers`` as requests see them, in that order."""

    def __init__(self, tiers: Sequence[Tier], asked: Sequence[Tier], resolver: Resolver) -> None:
        self._tiers = tuple(zip(tiers, asked, strict=True))
        self._resolver = resolver

    def explain(self, identity: LayerIdentity, source: BlobSource | None) -> LayerExplanation:
        states = [self._look(tier, asked, identity) for tier, asked in self._tiers]
        layer = LayerState(identity, source)
        held = {
            (asked, blob.name): blob.size
            for (_, asked), state in zip(self._tiers, states, strict=True)
            for blob in state.held
        }
        routes = {form: self._route(layer, form, held) for form in FORMS}
        claim = identity.claim
        size, tar_size = identity.size, identity.uncompressed_size
        return LayerExplanation(
            digest=identity.digest,
            diff_id=identity.diff_id,
            computed=identity.computed,
            size=claim.size if size is None and claim else size,
            uncompressed_size=claim.uncompressed_size if tar_size is None and claim else tar_size,
            tiers=tuple(states),
            compressed=routes[COMPRESSED],
            uncompressed=routes[UNCOMPRESSED],
        )

    def _look(self, tier: Tier, asked: Tier, identity: LayerIdentity) -> TierState:
        names = _names(identity)
        sizes: dict[Hash, int] = {}
        for name in dict.fromkeys(name for form in FORMS for name in names[form]):
            with suppress(NotFoundError):
                sizes[name] = asked.blobs.stat(name).size
        held = [HeldBlob(name, form, sizes[name]) for form in FORMS for name in names[form] if name in sizes]
        facts = [] if identity.digest is None else asked.facts.inflates_to(identity.digest, claims=True)
        failure = asked.failure
        missing = {
            form: self._why(tier, asked, names[form], identity, form)
            for form in FORMS
            if failure is None and all(blob.form != form for blob in held)
        }
        return TierState(
            tier=tier.name,
            remote=tier.remote,
            failure=failure.message if failure else "",
            held=tuple(held),
            associations=tuple(facts),
            missing=missing,
        )

    def _why(self, tier: Tier, asked: Tier, names: list[Hash], identity: LayerIdentity, form: Form) -> str:
        """Why a tier does not have a form."""
        policy, size = tier.policy, identity.size_of(form)
        if not names:
            return "its name is not known: it was never inflated"
        if any(_is_quarantined(tier, name) for name in names):
            return "quarantined: its bytes were wrong"
        if not policy.stores(form):
            not_here = f"not stored here: keep={policy.keep_option}"
            return "the tier is read-only" if policy.readonly else not_here
        if asked.write_failure is not None:
            return f"the tier cannot be written to: {asked.write_failure.message}"
        if size is not None and not tier.blobs.fits(size):
            return f"bigger than the tier: max_size={policy.max_size}"
        facts = [] if identity.digest is None else asked.facts.inflates_to(identity.digest, claims=True)
        if form == UNCOMPRESSED and not any(fact.computed for fact in facts):
            return "never inflated here"
        return "evicted or removed: its association is left" if facts else "never stored here"

    def _route(self, layer: LayerState, form: Form, held: dict[tuple[Tier, Hash], int]) -> Route | None:
        """The first way of the plan that leads to bytes which are there."""
        requests = 0
        for way in self._resolver.ways(layer, form):
            if way.tier is not None and (way.tier.failure or (way.tier, way.name) in self._wrong):
                continue
            requests += way.remote
            if way.tier is None:
                route = _route(way, form, layer.identity, layer.identity.size, requests)
                leased = self._resolver.leases.tier_for(way, layer.identity.size)
                return replace(route, lease=leased.name) if leased else route
            size = _size_there(way, held)
            if size is not None:
                return _route(way, form, layer.identity, size, requests)
        return None

    @property
    def _wrong(self) -> set[tuple[Tier, Hash]]:
        return self._resolver.keeper.wrong


def _names(identity: LayerIdentity) -> dict[Form, list[Hash]]:
    """Every name of each form, also of those that only a claim leads to."""
    tars: list[Hash] = [identity.diff_id] if identity.diff_id else []
    return {COMPRESSED: list(identity.digests()), UNCOMPRESSED: tars}


def _size_there(way: Way, held: dict[tuple[Tier, Hash], int]) -> int | None:
    assert way.tier is not None, "a source holds everything"
    if way.inside is None:
        return held.get((way.tier, way.name))
    with suppress(NotFoundError):
        return way.tier.blobs.stat(way.inside.fact.digest).size
    return None


def _route(way: Way, form: Form, identity: LayerIdentity, size: int | None, requests: int) -> Route:
    inflated = (way.claimed or form != way.form or way.inside is not None) and not (
        identity.plain and way.inside is None
    )
    return Route(
        place=way.place,
        stored=way.form,
        size=size,
        requests=requests,
        inflates=identity.uncompressed_size if inflated else 0,
        claimed=way.claimed,
    )


def _is_quarantined(tier: Tier, name: Hash) -> bool:
    if isinstance(tier, BackendTier):
        with suppress(NotFoundError, BackendError):
            tier.backend.stat(keys.quarantine(keys.blob(name)))
            return True
    return False
