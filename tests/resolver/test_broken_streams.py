"""Streams that are abandoned, cut, too long, wrong or broken leave a whole entry or nothing."""

from __future__ import annotations

import gzip
import io
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, Layer, flipped, large, put, read, sample
from fixtures.stores import (
    Fetch,
    assert_idle,
    assert_sound,
    blobs,
    content,
    far,
    near,
    open_cache,
    write_blob,
)

from layercache import (
    ConfigError,
    DigestMismatchError,
    FormatError,
    IntegrityError,
    LayercacheError,
    LimitError,
    NotALayerError,
    SourceError,
)
from layercache.cache import Cache
from layercache.oci.digest import Digest
from layercache.resolver import fetch
from layercache.streams.limits import Limits

if TYPE_CHECKING:
    from typing import BinaryIO

    from layercache.layer import Layer as CachedLayer

SIZES = {"small": sample(1), "large": large(1), "large zstd": large(1, "zstd"), "large tar": large(1, "none")}
FORMS = ("compressed", "uncompressed")


@pytest.fixture(params=["one thread", "three threads"], autouse=True)
def driven(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass is driven by its readers, or by separate threads."""
    monkeypatch.setattr(fetch, "THREADS_FROM", 1 if request.param == "three threads" else 1 << 60)
    monkeypatch.setattr(fetch.Fetcher, "idle", lambda *_: request.param == "three threads")


def ask(layer: CachedLayer, form: str) -> BinaryIO:
    return layer.compressed() if form == "compressed" else layer.uncompressed()


def wanted(layer: Layer, form: str) -> bytes:
    return layer.blob if form == "compressed" else layer.tar


def expect_closed(fetch: Fetch) -> None:
    """What was fetched is closed; where threads read, as soon as they notice."""
    for opened in fetch.opened:
        assert opened.was_closed.wait(60)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
@pytest.mark.parametrize("source", ["origin", "far"])
def test_an_abandoned_stream_leaves_a_whole_entry_or_nothing(
    size: str, form: str, keep: str, source: str
) -> None:
    layer = SIZES[size]
    data = wanted(layer, form)
    for count in (0, 512, len(data) - 1, len(data)) if size == "large" else (1, len(data) // 2):
        tiers = [near(keep=keep), far()]  # type: ignore[arg-type]  # parametrised
        if source == "far":
            write_blob(tiers[1], layer.digest, layer.blob)
        with open_cache(*tiers) as cache:
            fetch = Fetch(layer.blob)
            stream = ask(cache.layer(layer.digest, fetch=fetch), form)
            assert stream.read(count) == data[:count]
            stream.close()
            for tier in cache.tiers:
                assert_sound(tier)
            expect_closed(fetch)
            assert read(ask(cache.layer(layer.digest, fetch=fetch), form)) == data
            for tier in cache.tiers:
                assert_sound(tier)
            assert_idle(cache)


def expect_clean_next_try(cache: Cache, layer: Layer, form: str) -> None:
    for tier in cache.tiers:
        assert_sound(tier)
        assert not blobs(tier) - {layer.digest, layer.diff_id}
    assert read(ask(cache.layer(layer.digest, fetch=Fetch(layer.blob)), form)) == wanted(layer, form)
    assert_sound(cache.tiers[0])


def fails_for_good(stream: BinaryIO, error: type[LayercacheError]) -> int:
    """The stream ends in this error, and stays there; how many bytes came before."""
    seen = 0
    with stream:
        with pytest.raises(error):  # noqa: PT012  # it is to raise before the end, wherever that is
            while part := stream.read(10_000):
                seen += len(part)
        for size in (1, 10_000, -1):
            with pytest.raises((LayercacheError, ValueError)):
                assert stream.read(size), "an error and then a clean end"
    return seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
@pytest.mark.parametrize("fault", ["short", "long", "empty", "flipped", "other", "breaks", "breaks at once"])
def test_a_source_that_lies_or_breaks_ends_in_an_error_and_leaves_nothing(
    size: str, form: str, keep: str, fault: str
) -> None:
    layer = SIZES[size]
    fetch = Fetch(layer.blob)
    fetch.blobs[layer.digest] = {
        "short": layer.blob[:-100],
        "long": layer.blob + b"\0" * 100,
        "empty": b"",
        "flipped": flipped(layer.blob, len(layer.blob) // 2),
        "other": large(2).blob,
    }.get(fault, layer.blob)
    fetch.break_after = {"breaks": len(layer.blob) // 2, "breaks at once": 0}.get(fault)
    error = SourceError if fault.startswith("breaks") else IntegrityError
    with open_cache(near(keep=keep), far()) as cache:  # type: ignore[arg-type]  # parametrised
        asked = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch)
        try:
            stream = ask(asked, form)
        except error:
            pass
        except NotALayerError:
            assert (form, fault) == ("uncompressed", "empty")
        else:
            seen = fails_for_good(stream, error)
            assert seen < len(wanted(layer, form)) or fault == "other"
        expect_closed(fetch)
        expect_clean_next_try(cache, layer, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [-1, 0, 1, 1 << 40])
def test_a_size_that_is_stated_is_enforced(form: str, size: int) -> None:
    layer = sample(1)
    with open_cache() as cache:
        lying = cache.layer(
            layer.digest, size=size if size > 1 else len(layer.blob) + size - 1, fetch=Fetch(layer.blob)
        )
        if size == 1:
            assert read(ask(lying, form)) == wanted(layer, form)
            return
        with pytest.raises(DigestMismatchError, match="instead of"):
            read(ask(lying, form))
        assert content(cache.tiers[0]) == {}


def test_wrong_bytes_of_the_stated_size_are_a_mismatch_of_the_digest() -> None:
    layer = sample(1)
    fetch = Fetch()
    fetch.blobs[layer.digest] = flipped(layer.blob)
    with open_cache() as cache:
        with pytest.raises(DigestMismatchError, match="have the hash"):
            read(cache.layer(layer.digest, size=len(layer.blob), fetch=fetch).compressed())
        assert content(cache.tiers[0]) == {}


def test_a_fetch_that_raises_is_a_source_that_failed_with_its_cause() -> None:
    with open_cache() as cache:
        asked = cache.layer(Digest.of(b"x"), fetch=Fetch())
        for form in FORMS:
            with pytest.raises(SourceError, match="no sha256") as caught:
                ask(asked, form)
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)
            assert caught.value.looked_in


def test_a_fetch_that_gives_no_stream_is_a_source_that_failed() -> None:
    with open_cache() as cache:
        asked = cache.layer(Digest.of(b"x"), fetch=lambda _: None)  # type: ignore[arg-type, return-value]
        for form in FORMS:
            with pytest.raises(SourceError):
                read(ask(asked, form))


def test_a_fetch_whose_stream_fails_to_close_has_brought_its_bytes() -> None:
    layer = sample(1)

    class Clumsy(io.BytesIO):
        def close(self) -> None:
            super().close()
            raise OSError("the connection was reset while it was closed")

    with open_cache() as cache:
        asked = cache.layer(layer.digest, fetch=lambda _: Clumsy(layer.blob))
        assert read(asked.uncompressed()) == layer.tar
        assert_sound(cache.tiers[0])
        assert read(asked.uncompressed()) == layer.tar


@pytest.mark.parametrize("form", FORMS)
def test_an_interrupt_in_the_middle_leaves_nothing_and_the_next_try_works(form: str) -> None:
    layer = large(1)

    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 50_000:
                raise KeyboardInterrupt
            return super().read(size)

    with open_cache() as cache:
        # An interrupt of a thread that reads for others is not theirs.
        in_thread = cache._resolver.passes.idle(1, None)
        with pytest.raises(LayercacheError if in_thread else KeyboardInterrupt):
            read(ask(cache.layer(layer.digest, fetch=lambda _: Interrupted(layer.blob)), form))
        assert content(cache.tiers[0]) == {}
        expect_clean_next_try(cache, layer, form)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("fault", ["cut", "flipped", "trailing"])
def test_a_broken_stream_that_is_put_leaves_nothing(compression: str, fault: str) -> None:
    layer = large(1, compression)
    broken = {"cut": layer.blob[:-20], "flipped": flipped(layer.blob), "trailing": layer.blob + b"garbage"}
    with open_cache(near(), far()) as cache:
        try:
            put(cache, broken[fault])
        except FormatError:
            assert content(cache.tiers[0]) == content(cache.tiers[1]) == {}
        else:
            assert (compression, fault) == ("zstd", "flipped"), "a zstd frame may have no checksum"
            assert_sound(cache.tiers[0])


def test_a_broken_gzip_of_the_right_digest_can_be_had_as_it_is_and_not_as_a_tar() -> None:
    broken = large(1).blob[:-20]
    digest = Digest.of(broken)
    for keep in ("both", "compressed", "uncompressed"):
        with open_cache(near(keep=keep)) as cache:
            asked = cache.layer(digest, fetch=Fetch(broken))
            fails_for_good(asked.uncompressed(), FormatError)
            assert_sound(cache.tiers[0])
            assert read(asked.compressed()) == broken
            assert asked.names.diff_id is None


def test_a_decompression_bomb_is_stopped_and_leaves_no_tar() -> None:
    bomb = gzip.compress(bytes(1 << 20))
    for limits, error in (
        (Limits(size=1 << 17), "max_inflated_size"),
        (Limits(ratio_from=1 << 17), "max_ratio"),
    ):
        cache = Cache([near()], limits=limits)
        with cache:
            with pytest.raises(LimitError, match=error):
                put(cache, bomb)
            assert content(cache.tiers[0]) == {}
            asked = cache.layer(Digest.of(bomb), fetch=Fetch(bomb))
            assert fails_for_good(asked.uncompressed(), LimitError) < 1 << 20
            assert read(asked.compressed()) == bomb
            assert_sound(cache.tiers[0])
            assert blobs(cache.tiers[0]) == {Digest.of(bomb)}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_closing_a_cache_gives_up_what_is_on_its_way(compression: str) -> None:
    layer = large(1, compression)
    tier = near()
    cache = open_cache(tier)
    stream = cache.layer(layer.digest, fetch=Fetch(layer.blob)).uncompressed()
    start = stream.read(10)
    cache.close()
    with stream, suppress(LayercacheError, ValueError):  # threads may have been quicker
        assert start + read(stream) == layer.tar
    assert_sound(tier)
    cache.close()


def test_a_put_with_no_place_to_keep_it_says_so() -> None:
    for tier in (near(readonly=True), near(keep="uncompressed")):
        with open_cache(tier) as cache, pytest.raises(ConfigError, match="no tier would keep"):
            put(cache, b"{}")
