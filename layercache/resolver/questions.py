"""What one look-up asks the tiers: of a remote one, the record and the blob of a name at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.resolver.responses import Responses
    from layercache.tiers.association import Association
    from layercache.tiers.concurrently import FanOut
    from layercache.tiers.tier import Tier

    Facts = tuple[list[Association], list[Association]]

_ALONE = 2
"""Names of blobs that are asked for one after the other: that of the look-up, and what it should lead to."""


class Questions:
    """Asks for one look-up, in one thread. A remote tier, where each answer takes a round trip, is asked
    nothing twice; one on this machine is asked each time, as that costs less than to remember.

    ``reading``: a blob that a remote tier has will be read, so it is opened rather than only asked for, and
    is then in ``responses``.
    """

    def __init__(self, tiers: Sequence[Tier], at_once: FanOut, *, reading: bool) -> None:
        self.responses: Responses | None = None
        self._tiers = tiers
        self._at_once = at_once
        self._reading = reading
        self._facts: dict[tuple[Tier, Hash], Facts] = {}
        self._blobs: dict[tuple[Tier, Hash], bool] = {}
        self._left_out: Hash | None = None

    def leave_out(self, name: Hash) -> None:
        """Do not ask for the blob of this name along with its record."""
        self._left_out = name

    def about(self, tier: Tier, name: Hash) -> Facts:
        """As `FactStore.about`. A remote tier is asked for the blob of this name at the same time, unless a
        nearer one has it.
        """
        if not tier.remote:
            return tier.facts.about(name)
        if (facts := self._facts.get((tier, name))) is None:
            facts = self._facts[tier, name] = self._ask(tier, name)
        return facts

    def inflates_to(self, tier: Tier, digest: Digest) -> list[Association]:
        """As `FactStore.inflates_to`, and as `about` asks it."""
        return self.about(tier, digest)[0] if tier.remote else tier.facts.inflates_to(digest)

    def claims(self, tier: Tier, diff_id: DiffID) -> list[Association]:
        """The blobs that inflate to a tar, computed and claimed."""
        if tier.remote and not tier.policy.trusted:
            return self.about(tier, diff_id)[1]  # has the claims in any case
        return tier.facts.made_from(diff_id, claims=True)

    def has(self, tier: Tier, name: Hash) -> bool:
        """Whether a tier has the blob."""
        if not tier.remote:
            return tier.blobs.has(name)
        if (there := self._blobs.get((tier, name))) is None:
            there = self._blobs[tier, name] = self._look(tier, name)
        return there

    def was_found(self, tier: Tier, name: Hash) -> bool:
        """Whether a remote tier has answered that it has the blob. It is not asked for that."""
        return self._blobs.get((tier, name), False)

    def first(self, tier: Tier, names: Sequence[Hash]) -> Hash | None:
        """The first of the names that is a blob in the tier.

        Whoever can write to a far tier can write down many digests of blobs that are not there. So behind the
        first of them, the others are asked for at once.
        """
        if not tier.remote:
            for name in names:
                if tier.blobs.has(name):
                    return name
            return None
        for number, name in enumerate(names):
            if number == _ALONE:
                self._look_for_all(tier, names[number:])
            if self.has(tier, name):
                return name
        return None

    def give_up(self) -> None:
        """Close what was opened: the look-up has failed."""
        if self.responses is not None:
            self.responses.close()

    def _ask(self, tier: Tier, name: Hash) -> Facts:
        nearer_tiers = self._tiers[: self._tiers.index(tier)]
        if name == self._left_out or any(self.has(nearer, name) for nearer in nearer_tiers):
            return tier.facts.about(name)
        facts = self._at_once.start(partial(tier.facts.about, name))
        self.has(tier, name)
        return facts()

    def _look_for_all(self, tier: Tier, names: Sequence[Hash]) -> None:
        unasked = [name for name in dict.fromkeys(names) if (tier, name) not in self._blobs]
        if len(unasked) > 1:
            found = self._at_once(*(partial(tier.blobs.has, name) for name in unasked))
            self._blobs.update(zip(((tier, name) for name in unasked), found, strict=True))

    def _look(self, tier: Tier, name: Hash) -> bool:
        if not self._reading:
            return tier.blobs.has(name)
        if self.responses is None:
            from layercache.resolver.responses import Responses  # a look-up on this machine needs none

            self.responses = Responses()
        try:
            self.responses.hold(tier, name, tier.blobs.open(name))
        except NotFoundError:
            self.responses.note_absent(tier, name)
            return False
        return True
