"""What tiers have at hand: the near part of a plan, which takes no more than an `open`."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from layercache.resolver.entries import Entries
from layercache.resolver.finder import Finder
from layercache.resolver.plan import Way, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layercache.backend import Reader
    from layercache.events import Observers
    from layercache.oci.forms import Form
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.tier_writer import TierWriter
    from layercache.tiers.tier import Tier

    Deliver = Callable[[LayerState, Way, Reader, Iterator[Way]], Reader]


class Near:
    """Looks layers up, and opens what is near. Thread-safe: it has no state that changes."""

    def __init__(
        self, tiers: Sequence[Tier], keeper: TierWriter, observers: Observers, *, verify_always: bool
    ) -> None:
        self.all = tiers
        self.keeper = keeper
        self.observers = observers
        self.verify_always = verify_always
        self.entries = Entries(keeper, observers, verify_always=verify_always)
        self.finder = Finder(tiers, keeper.refuted)
        # Nearest tiers, whose bytes nobody keeps on their way: the first that can be written to, and those
        # before it, if all of them need no second look.
        readonly = sum(1 for _ in takewhile(lambda tier: tier.policy.readonly, tiers))
        trusted = tuple(takewhile(lambda tier: tier.policy.trusted, tiers[: readonly + 1]))
        self.tiers = () if verify_always else trusted or tuple(tiers[:1])

    def plan(self, layer: LayerState, form: Form) -> Iterator[Way]:
        """The ways to a form, without those for which a far tier would have to be asked first."""
        return plan(layer.identity, form, self.all, self.tiers, layer.source)

    def open(self, layer: LayerState, form: Form, deliver: Deliver) -> Reader | None:
        """The form by the near part of the plan. ``deliver`` is given what a tier has that is not trusted."""
        ways = self.plan(layer, form)
        for way in ways:
            if not way.near:
                return None
            if reader := self.entries.open(layer, way):
                if way.trusted:
                    return self.entries.hit(layer, way, reader)
                return deliver(layer, way, reader, ways)
        return None
