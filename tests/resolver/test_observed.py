"""Observers see the bytes of each pass once, in order; nothing that they do harms the pass."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import flipped, large, put, read
from fixtures.stores import Fetch, FetchedStream, far, near, open_cache, write_blob

from layercache import DigestMismatchError, Event, FormatError, LayercacheError
from layercache.oci.digest import DiffID, Digest
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, Form

if TYPE_CHECKING:
    from layercache.oci.digest import Hash

pytestmark = pytest.mark.usefixtures("driven")

ASKERS = 8
LAYER = large(7, "gzip")


@dataclass
class Seen:
    """Notes all that it sees of one pass; raises in the method ``raising``, if that is given."""

    name: Hash | None
    form: Form
    size: int | None
    raising: str = ""
    seen: bytearray = field(default_factory=bytearray)
    found: list[Hash] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def saw(self) -> tuple[bytes, list[str]]:
        """All bytes, and the hash that they have."""
        return bytes(self.seen), [str(found) for found in self.found]

    def data(self, chunk: bytes, /) -> None:
        assert not self.over.is_set()
        self.seen += chunk
        self._raise("data")

    def end(self, found: Hash, /) -> None:
        assert not self.over.is_set()
        self.found.append(found)
        self.over.set()
        self._raise("end")

    def failed(self, error: BaseException, /) -> None:
        assert not self.over.is_set()
        self.errors.append(error)
        self.over.set()
        self._raise("failed")

    def _raise(self, method: str) -> None:
        if method == self.raising:
            raise RuntimeError("a fault in an observer")


def serving(data: bytes) -> Fetch:
    """A source that gives these bytes for the layer, whatever they are."""
    source = Fetch()
    source.blobs[LAYER.digest] = data
    return source


class Passes(list[Seen]):
    """A factory that keeps the observers it has made."""

    raising = ""

    def __call__(self, name: Hash | None, form: Form, size: int | None) -> Seen:
        self.append(Seen(name, form, size, self.raising))
        return self[-1]

    def of(self, form: Form) -> Seen:
        [found] = [each for each in self if each.form == form]
        return found


@pytest.fixture
def passes() -> Passes:
    return Passes()


def test_however_many_ask_an_observer_gets_the_tar_and_the_blob_once(passes: Passes) -> None:
    source = Fetch(LAYER.blob)
    with open_cache(near(keep="both")) as cache, cache.observe(passes):

        def ask(_: int) -> bytes:
            return read(cache.layer(LAYER.digest, fetch=source).uncompressed())

        first = cache.layer(LAYER.digest, fetch=source).uncompressed()  # on its way while the others come
        with ThreadPoolExecutor(ASKERS) as pool:
            tars = list(pool.map(ask, range(ASKERS)))
        assert read(first) == LAYER.tar
        assert tars == [LAYER.tar] * ASKERS
        tar, blob = passes.of(UNCOMPRESSED), passes.of(COMPRESSED)
        assert tar.saw == (LAYER.tar, [LAYER.diff_id])
        assert blob.saw == (LAYER.blob, [LAYER.digest])
        assert blob.name == LAYER.digest
        ask(0)  # the nearest tier has it now: nothing passes
        assert len(passes) == 2


def test_the_end_comes_before_anybody_has_the_last_byte(passes: Passes) -> None:
    layer = large(8, "gzip")
    with open_cache(near(keep="both")) as cache, cache.observe(passes):
        asked = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=Fetch(layer.blob))
        with asked.uncompressed() as stream:
            got = 0
            while part := stream.read(1000):
                got += len(part)
                if got == len(layer.tar):
                    assert passes.of(UNCOMPRESSED).found == [layer.diff_id]
        assert passes.of(UNCOMPRESSED).name == layer.diff_id


@pytest.mark.parametrize("form", [COMPRESSED, UNCOMPRESSED])
def test_bytes_that_no_tier_keeps_are_observed_too(passes: Passes, form: Form) -> None:
    with open_cache(near(readonly=True)) as cache, cache.observe(passes):
        asked = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        read(asked.uncompressed() if form == UNCOMPRESSED else asked.compressed())
    wanted = {COMPRESSED: (LAYER.blob, LAYER.digest), UNCOMPRESSED: (LAYER.tar, LAYER.diff_id)}[form]
    assert passes.of(form).saw == (wanted[0], [wanted[1]])


def test_what_is_put_is_observed_though_it_has_no_name_yet(passes: Passes) -> None:
    with open_cache(near(keep="both")) as cache, cache.observe(passes):
        put(cache, LAYER.blob)
    tar, blob = passes.of(UNCOMPRESSED), passes.of(COMPRESSED)
    assert (tar.name, blob.name) == (None, None)
    assert tar.saw == (LAYER.tar, [LAYER.diff_id])
    assert blob.saw == (LAYER.blob, [LAYER.digest])


def test_what_comes_from_a_far_tier_is_observed(passes: Passes) -> None:
    tiers = [near(keep="both"), far()]
    write_blob(tiers[1], LAYER.digest, LAYER.blob)
    with open_cache(*tiers) as cache, cache.observe(passes):
        assert read(cache.layer(LAYER.digest).compressed()) == LAYER.blob
    assert passes.of(COMPRESSED).saw == (LAYER.blob, [LAYER.digest])
    assert passes.of(COMPRESSED).size == len(LAYER.blob)


@pytest.mark.parametrize("readonly", [False, True])
def test_wrong_bytes_never_end(passes: Passes, readonly: bool) -> None:
    wrong = LAYER.blob[:-8] + bytes(8)
    with open_cache(near(keep="both", readonly=readonly)) as cache, cache.observe(passes):
        layer = cache.layer(LAYER.digest, fetch=serving(wrong))
        with pytest.raises(DigestMismatchError):
            read(layer.compressed())
    blob = passes.of(COMPRESSED)
    assert blob.found == []
    assert [type(error) for error in blob.errors] == [DigestMismatchError]


def test_a_blob_that_is_longer_than_stated_never_ends(passes: Passes) -> None:
    long = LAYER.blob + bytes(200_000)
    with open_cache(near(keep="both")) as cache, cache.observe(passes):
        asked = cache.layer(LAYER.digest, size=len(LAYER.blob), fetch=serving(long))
        with pytest.raises(DigestMismatchError):
            read(asked.compressed())
        assert passes.of(COMPRESSED).over.wait(60), "the thread that drives it notices soon"
    assert passes.of(COMPRESSED).found == []
    assert len(passes.of(COMPRESSED).errors) == 1


def test_a_tar_that_breaks_off_fails_and_its_blob_ends(passes: Passes) -> None:
    broken = flipped(LAYER.blob, -5)  # the checksum of the gzip stream
    with open_cache(near(keep="both")) as cache, cache.observe(passes), pytest.raises(FormatError):
        read(cache.layer(Digest.of(broken), fetch=Fetch(broken)).uncompressed())
    assert passes.of(COMPRESSED).found == [Digest.of(broken)]
    tar = passes.of(UNCOMPRESSED)
    assert tar.found == []
    assert [type(error) for error in tar.errors] == [FormatError]


def test_a_false_diff_id_never_ends(passes: Passes) -> None:
    with open_cache(near(keep="both")) as cache, cache.observe(passes):
        asked = cache.layer(LAYER.digest, diff_id=DiffID.of(b"other"), fetch=Fetch(LAYER.blob))
        with pytest.raises(DigestMismatchError):
            read(asked.uncompressed())
    assert passes.of(UNCOMPRESSED).found == []
    assert len(passes.of(UNCOMPRESSED).errors) == 1


def test_a_pass_that_its_last_reader_leaves_fails(passes: Passes) -> None:
    left = threading.Event()

    class Stopping(FetchedStream):
        def read(self, size: int | None = -1, /) -> bytes:
            assert self.tell() < 50_000 or left.wait(60)
            return super().read(size)

    with open_cache(near(keep="both")) as cache, cache.observe(passes):
        layer = cache.layer(LAYER.digest, fetch=lambda _: Stopping(LAYER.blob))
        with layer.compressed() as stream:
            assert stream.read(1) == LAYER.blob[:1]
        left.set()
        blob = passes.of(COMPRESSED)
        assert blob.over.wait(60), "the thread that drives it notices soon"
    assert blob.found == []
    assert [str(error) for error in blob.errors] == ["the pass was given up before its end"]


@pytest.mark.parametrize("raising", ["data", "end"])
@pytest.mark.parametrize("readonly", [False, True])
def test_an_observer_that_raises_is_dropped_and_harms_nobody(
    passes: Passes, raising: str, readonly: bool
) -> None:
    passes.raising, others, events = raising, Passes(), list[Event]()
    with open_cache(near(keep="both", readonly=readonly)) as cache:
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        with cache.observe(passes), cache.observe(others), cache.watch(events.append):
            assert read(layer.uncompressed()) == LAYER.tar
    assert {len(each.errors) for each in passes} == {0}, "it was dropped"
    if raising == "data":
        assert {len(each.found) for each in passes} == {0}
        assert 0 < len(passes.of(UNCOMPRESSED).seen) < len(LAYER.tar)
    assert others.of(UNCOMPRESSED).saw == (LAYER.tar, [LAYER.diff_id])
    reports = [event for event in events if event.kind == "failed"]
    assert [event.where for event in reports] == ["an observer"] * 2  # one for each form
    assert {event.note for event in reports} == {"RuntimeError: a fault in an observer"}


def test_an_observer_that_raises_when_a_pass_fails_leaves_the_error_as_it_is(passes: Passes) -> None:
    passes.raising = "failed"
    with open_cache(near(keep="both")) as cache, cache.observe(passes):
        layer = cache.layer(LAYER.digest, fetch=serving(LAYER.blob[:-8] + bytes(8)))
        with pytest.raises(DigestMismatchError):
            read(layer.compressed())
    assert len(passes.of(COMPRESSED).errors) == 1


def test_a_factory_that_raises_is_reported_and_harms_nobody(passes: Passes) -> None:
    def broken(name: Hash | None, form: Form, size: int | None) -> Seen:
        raise LayercacheError("no observer today")

    events: list[Event] = []
    with open_cache(near(keep="both")) as cache, cache.watch(events.append):
        layer = cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob))
        with cache.observe(broken), cache.observe(passes):
            assert read(layer.compressed()) == LAYER.blob
    assert passes.of(COMPRESSED).found == [LAYER.digest]
    [report] = [event for event in events if event.kind == "failed"]
    assert report.note == "LayercacheError: no observer today"


def test_a_factory_may_leave_a_pass_alone_and_nothing_is_seen_after_its_block(passes: Passes) -> None:
    def tars(name: Hash | None, form: Form, size: int | None) -> Seen | None:
        return passes(name, form, size) if form == UNCOMPRESSED else None

    other = large(9, "gzip")
    with open_cache(near(keep="both")) as cache:
        with cache.observe(tars):
            read(cache.layer(LAYER.digest, fetch=Fetch(LAYER.blob)).uncompressed())
        read(cache.layer(other.digest, fetch=Fetch(other.blob)).uncompressed())
    assert [each.form for each in passes] == [UNCOMPRESSED]
