"""One cache, whatever is done to it: nothing wrong is served, and what must be found is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.layers import Layer, flipped, put, read, sample
from fixtures.stores import Fetch, assert_sound, blobs, content, evict, near, open_cache, write_blob
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import layercache
from layercache import DigestMismatchError, NotFoundError
from layercache.tiers import keys
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.oci.digest import Hash
    from layercache.tiers.association import Association

LAYERS = [sample(seed, compression, 700) for seed in (1, 2) for compression in ("gzip", "zstd", "none")]
TARS: dict[str, Layer] = {layer.diff_id: layer for layer in LAYERS}
BYTES: dict[str, bytes] = {layer.digest: layer.blob for layer in LAYERS} | {
    name: layer.tar for name, layer in TARS.items()
}
layers = st.sampled_from(LAYERS)
names = st.sampled_from(sorted(BYTES))
forms = st.sampled_from(["compressed", "uncompressed"])


class AnyOrder(RuleBasedStateMachine):
    """The model: which blobs stand there, which of them are cut, and which facts were learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryBackend()
        self.cache: Cache = self.opened()
        self.there: set[str] = set()
        self.cut: set[str] = set()
        self.facts: set[Association] = set()

    def opened(self) -> Cache:
        return open_cache(near(self.store))

    def teardown(self) -> None:
        self.cache.close()

    @rule(layer=layers)
    def put(self, layer: Layer) -> None:
        made = put(self.cache, layer.blob)
        assert (made.digest, made.diff_id) == (layer.digest, layer.diff_id)
        self.keep(layer.digest, layer.diff_id)
        assert layer.digest in self.leading_to(layer.diff_id, computed=True)

    @rule(layer=layers, form=forms)
    def fill(self, layer: Layer, form: str) -> None:
        asked = self.cache.layer(
            layer.digest, diff_id=layer.diff_id, size=len(layer.blob), fetch=Fetch(layer.blob)
        )
        asked.fill(form)  # type: ignore[arg-type]
        if form == "compressed":
            self.keep(layer.digest)
        else:
            # The blob is kept along where it had to be fetched, and not where the tar was there.
            self.keep(layer.diff_id)
        assert layer.digest in self.leading_to(layer.diff_id)

    @rule(name=names, form=forms)
    def get(self, name: str, form: str) -> None:
        digests = self.leading_to(name) if name in TARS else [name]
        tars = {layer.diff_id for layer in LAYERS if self.computed(layer) and layer.digest in digests}
        whole = self.there - self.cut
        try:
            found = self.cache.get(name)
            got = read(found.compressed() if form == "compressed" else found.uncompressed())
        except (NotFoundError, layercache.IntegrityError) as error:
            if form == "compressed":
                assert not whole & set(digests), error  # noqa: PT017  # the model says when it may fail
            else:
                assert not whole & (set(digests) | tars | ({name} & TARS.keys())), error  # noqa: PT017
        else:
            layer = next(layer for layer in LAYERS if name in (layer.digest, layer.diff_id))
            if form == "uncompressed":
                assert got == layer.tar
            else:
                assert got in {BYTES[each] for each in [*digests, name]}
                assert name in TARS or got == BYTES[name]
        self.look()

    @rule(name=names)
    def contains(self, name: str) -> None:
        forms = {name, *self.leading_to(name)}
        forms |= {layer.diff_id for layer in LAYERS if layer.digest == name and self.computed(layer)}
        assert (name in self.cache) == bool(forms & self.there)

    @rule(name=names)
    def delete(self, name: str) -> None:
        digests = self.leading_to(name)
        gone = {name, *digests}
        for layer in LAYERS:
            if layer.digest == name and name in self.leading_to(layer.diff_id):
                gone |= set() if set(self.leading_to(layer.diff_id)) - {name} else {layer.diff_id}
        try:
            self.cache.delete(name)
        except NotFoundError:
            assert name not in self.there
            assert not self.there & set(digests)
        else:
            assert name not in self.cache or name in TARS
        assert not gone & blobs(self.cache.tiers[0])
        self.there -= gone
        self.cut -= gone
        self.facts = {fact for fact in self.facts if fact.digest not in gone}
        assert not {fact for fact in self.found() if fact.digest in gone}
        self.look()

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        evict(self.cache.tiers[0], self.hash(name))
        self.there.discard(name)
        self.cut.discard(name)

    @precondition(lambda self: self.there)
    @rule(data=st.data(), longer=st.booleans())
    def change_the_size_of_a_blob(self, data: st.DataObject, longer: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        changed = BYTES[name] + b"\0" if longer else BYTES[name][:-1]
        write_blob(self.cache.tiers[0], self.hash(name), changed)
        self.cut.add(name)

    @rule(layer=layers)
    def put_a_broken_one(self, layer: Layer) -> None:
        if layer.digest not in TARS:
            with pytest.raises(layercache.FormatError):
                put(self.cache, layer.blob[:-30])

    @rule(layer=layers)
    def fetch_wrong_bytes(self, layer: Layer) -> None:
        fetch = Fetch()
        fetch.blobs[layer.digest] = flipped(layer.blob)
        asked = self.cache.layer(layer.digest, fetch=fetch)
        try:
            assert read(asked.compressed()) == layer.blob
        except DigestMismatchError:
            assert layer.digest not in self.there - self.cut
        self.look()

    @rule()
    def reopen(self) -> None:
        self.cache.close()
        self.cache = self.opened()

    @invariant()
    def nothing_is_there_that_should_not_be(self) -> None:
        found = {str(name) for name in blobs(self.cache.tiers[0])}
        assert found == self.there
        if not self.cut:
            assert_sound(self.cache.tiers[0])
        facts = self.found()
        for fact in facts:
            layer = next(layer for layer in LAYERS if layer.digest == fact.digest)
            assert (fact.diff_id, fact.size) == (layer.diff_id, len(layer.blob))
            assert fact.uncompressed_size in (None, len(layer.tar))
        pairs = {(fact.digest, fact.diff_id) for fact in facts}
        assert {(fact.digest, fact.diff_id) for fact in self.facts} <= pairs, "a fact went"
        assert {fact for fact in self.facts if fact.computed} <= facts, "a claim has replaced a computed fact"
        self.facts = facts

    def hash(self, name: str) -> Hash:
        return layercache.Digest(name)

    def found(self) -> set[Association]:
        return set(self.cache.tiers[0].facts.scan())

    def leading_to(self, name: str, *, computed: bool = False) -> list[str]:
        return sorted(
            {fact.digest for fact in self.found() if fact.diff_id == name and fact.computed >= computed}
        )

    def computed(self, layer: Layer) -> bool:
        return layer.digest in self.leading_to(layer.diff_id, computed=True)

    def keep(self, *kept: str) -> None:
        for name in kept:
            self.there.add(name)
            self.look()

    def look(self) -> None:
        """What a read put aside or made again: nothing but whole blobs may come, nothing but cut ones go."""
        found = {str(name) for name in blobs(self.cache.tiers[0])}
        for name in self.there - found:
            assert name in self.cut, f"{name} went"
        held = content(self.cache.tiers[0])
        for name in found:
            if held[keys.blob(self.hash(name))] == BYTES[name]:
                self.cut.discard(name)
            else:
                assert name in self.cut
        self.there = found
        self.cut &= found


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=25, derandomize=True)
