"""A limited tier, whatever is done to it: it holds what a plain list of names in order of use says."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from fixtures.stocked import data_of, on_disk
from fixtures.stores import blobs, fact
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys

LIMIT = 1000
DATA = [data_of(seed, size) for seed, size in enumerate((60, 150, 240, 330, 400, 700, 1001))]
NAMES = [Hash.of(data) for data in DATA]
MADE_FROM = {NAMES[1]: NAMES[0], NAMES[4]: NAMES[2]}
"""Which of them are tars, and the blobs that inflate to them."""
numbers = st.sampled_from(range(len(DATA)))


class LimitedTier(RuleBasedStateMachine):
    """The model: what is there, in order of use, and what of it was used since time passed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.tier = on_disk(self.folder / "cache", max_size=LIMIT)
        for tar, blob in MADE_FROM.items():
            self.tier.facts.record(fact(Digest(blob), DiffID(tar), 1))
        self.begun = time.time()
        self.uses = 0
        self.there: list[Hash] = []
        self.young: set[Hash] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(number=numbers)
    def put(self, number: int) -> None:
        name, data = NAMES[number], DATA[number]
        self.tier.blobs.put(name, data)
        if name not in self.there and len(data) <= LIMIT:
            self.evict(LIMIT - len(data), goal=LIMIT * 9 // 10 - len(data))
            self.was_used(name)

    @rule(number=numbers)
    def use(self, number: int) -> None:
        name = NAMES[number]
        if name in self.there:
            self.tier.blobs.open(name).close()
            if name not in self.young:
                self.was_used(name)

    @rule()
    def time_passes(self) -> None:
        """An hour: the files grow older."""
        for name in self.there:
            self.set_time(name, os.stat(self.path(name)).st_mtime - 3600)
        self.young.clear()

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        """Behind the count's back."""
        self.tier.blobs.delete(NAMES[number])
        if NAMES[number] in self.there:
            self.there.remove(NAMES[number])

    @invariant()
    def what_is_there_is_what_the_model_says(self) -> None:
        assert blobs(self.tier) == set(self.there)
        assert self.size() <= LIMIT

    def evict(self, limit: int, goal: int) -> None:
        if self.size() <= limit:
            return
        order = sorted(self.there, key=lambda name: MADE_FROM.get(name) not in self.there)
        for young, wanted in ((False, max(0, goal)), (True, limit)):
            for name in order:
                if self.size() > wanted and (name in self.young) == young:
                    self.there.remove(name)

    def was_used(self, name: Hash) -> None:
        if name in self.there:
            self.there.remove(name)
        self.there.append(name)
        self.young.add(name)
        assert os.stat(self.path(name)).st_mtime > self.begun - 1, "its time was refreshed"
        # File systems tell times apart only when some milliseconds lie between: the order is made plain here.
        self.uses += 1
        self.set_time(name, self.begun - 30 + self.uses / 100)

    def size(self) -> int:
        return sum(len(DATA[NAMES.index(name)]) for name in self.there)

    def set_time(self, name: Hash, then: float) -> None:
        os.utime(self.path(name), (then, then))

    def path(self, name: Hash) -> str:
        return str(self.folder / "cache" / keys.blob(name))


TestLimitedTier = LimitedTier.TestCase
TestLimitedTier.settings = settings(max_examples=60, stateful_step_count=30)
