"""A reader who is behind goes on in the published file: a change of that is an error, never a clean end."""

from __future__ import annotations

import io
import os
import shutil
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, BinaryIO

import pytest
from fixtures.layers import large, read, sample
from fixtures.stores import Fetch, assert_sound, far, near, open_cache

from layercache import LayercacheError
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.transfer.spool import TierSpool
from layercache_backends.local import LocalBackend
from layercache_backends.local.spool import LocalSpool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layercache.cache import Cache

pytestmark = pytest.mark.usefixtures("driven")

LAYERS = {"large": large(1), "small": sample(1)}
AT = {"at once": 0, "early": 1000, "late": -700}


def disk(folder: Path) -> BackendTier:
    return BackendTier(LocalBackend(str(folder / "near"), sync=False), Policy(trusted=True))


def flip(path: str) -> None:
    before = os.stat(path).st_mtime_ns
    while os.stat(path).st_mtime_ns == before:  # the clock of some file systems ticks every 4 ms
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            file.write(b"ROT!")


def cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def cut_at_the_end(path: str) -> None:
    os.truncate(path, os.path.getsize(path) - 1)


def empty(path: str) -> None:
    os.truncate(path, 0)


def flip_unseen(path: str) -> None:
    """As a disk does it: no time tells."""
    status = os.stat(path)
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_the_same(path: str) -> None:
    shutil.copy(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


class HalfUntil(io.BytesIO):
    """A blob whose second half comes once this has happened."""

    def __init__(self, event: threading.Event, blob: bytes) -> None:
        super().__init__(blob)
        self._event = event
        self._half = len(blob) // 2

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._half:
            self._event.wait(60)
            return super().read(size)
        return super().read(self._half)


def behind(cache: Cache, form: str, name: str, start: int) -> tuple[bytes, BinaryIO, bytes]:
    """What a slow reader has read, the reader, and all that there is, which a quick one has read."""
    layer = LAYERS[name]
    asked = cache.layer(layer.digest, fetch=Fetch(layer.blob))
    whole = layer.tar if form == "uncompressed" else layer.blob
    slow, quick = (asked.uncompressed() if form == "uncompressed" else asked.compressed() for _ in "12")
    had = slow.raw.read(start % len(whole)) if start else b""  # type: ignore[attr-defined]  # past its buffer
    assert read(quick) == whole
    return had or b"", slow, whole


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("start", AT)
@pytest.mark.parametrize(
    ("harm", "verify_always"),
    [
        *((harm, False) for harm in (flip, cut, cut_at_the_end, empty)),
        *((harm, True) for harm in (flip, flip_unseen, cut)),
    ],
)
def test_what_is_changed_in_place_under_a_reader_ends_in_an_error_or_in_right_bytes(
    tmp_path: Path, name: str, form: str, start: str, verify_always: bool, harm: Callable[[str], None]
) -> None:
    with open_cache(disk(tmp_path), verify_always=verify_always) as cache:
        had, slow, whole = behind(cache, form, name, AT[start])
        layer = LAYERS[name]
        path = cache.tiers[0].blobs.path(layer.digest if form == "compressed" else layer.diff_id)
        assert path
        harm(path)
        with slow:
            try:
                while part := slow.read(5000):
                    had += part
            except LayercacheError:
                with pytest.raises((LayercacheError, ValueError)):
                    assert slow.read(), "an error and then a clean end"
            else:
                assert had == whole
                return
        assert_sound(cache.tiers[0])
        again = cache.layer(layer.digest, fetch=Fetch(layer.blob))
        assert read(again.compressed() if form == "compressed" else again.uncompressed()) == whole


def test_what_is_changed_as_soon_as_it_has_its_name_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before whoever publishes it can look at the file once more."""
    publish = LocalSpool.publish

    def publish_and_flip(spool: LocalSpool, key: str) -> None:
        publish(spool, key)
        if key == keys.blob(LAYERS["large"].diff_id):
            monkeypatch.setattr(LocalSpool, "publish", publish)
            flip(str(tmp_path / "near" / key))

    monkeypatch.setattr(LocalSpool, "publish", publish_and_flip)
    with open_cache(disk(tmp_path)) as cache:
        layer, opened = LAYERS["large"], threading.Event()
        asked = cache.layer(layer.digest, fetch=lambda _: HalfUntil(opened, layer.blob))
        slow, quick = asked.uncompressed(), asked.uncompressed()
        opened.set()  # a reader who comes later would have the file, which is trusted by its size
        for stream in (quick, slow):
            with suppress(LayercacheError):
                assert read(stream) == layer.tar


def test_a_change_is_seen_before_the_writer_knows_that_its_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, publish, seen = TierSpool(disk(tmp_path)), LocalSpool.publish, []

    def publish_and_flip(file: LocalSpool, key: str) -> None:
        publish(file, key)
        flip(str(tmp_path / "near" / key))
        seen.append(spool.was_changed)

    monkeypatch.setattr(LocalSpool, "publish", publish_and_flip)
    with closing(spool):
        spool.write(LAYERS["small"].tar)
        spool.publish(LAYERS["small"].diff_id)
    assert seen == [True]


@pytest.mark.parametrize("verify_always", [False, True])
@pytest.mark.parametrize("harm", [os.unlink, replace_by_the_same, os.utime])
def test_a_file_that_is_removed_replaced_or_touched_keeps_its_bytes_for_who_reads_it(
    tmp_path: Path, verify_always: bool, harm: Callable[[str], None]
) -> None:
    with open_cache(disk(tmp_path), verify_always=verify_always) as cache:
        had, slow, whole = behind(cache, "uncompressed", "large", 1000)
        path = cache.tiers[0].blobs.path(LAYERS["large"].diff_id)
        assert path
        harm(path)
        assert had + read(slow) == whole
        assert cache.counters.failed == 0


@pytest.mark.parametrize("verify_always", [False, True])
def test_a_reader_who_seeks_is_judged_too(tmp_path: Path, verify_always: bool) -> None:
    with open_cache(disk(tmp_path), verify_always=verify_always) as cache:
        _, slow, whole = behind(cache, "uncompressed", "large", 1000)
        slow.seek(2000)
        assert slow.read(10) == whole[2000:2010]
        path = cache.tiers[0].blobs.path(LAYERS["large"].diff_id)
        assert path
        slow.seek(-100, os.SEEK_END)
        assert slow.read() == whole[-100:]
        flip(path)
        slow.seek(0)
        with pytest.raises(LayercacheError):
            read(slow)


@pytest.mark.parametrize("harm", [flip, cut, empty])
def test_what_is_changed_before_it_is_copied_to_a_farther_tier_is_not_spread(
    tmp_path: Path, harm: Callable[[str], None]
) -> None:
    layer = LAYERS["large"]
    tiers = [disk(tmp_path), far(), near(keep="compressed")]
    with open_cache(*tiers) as cache:
        publish = tiers[0].blobs.publish

        def publish_and_harm(name: str, spool: object, size: int) -> None:
            publish(name, spool, size)  # type: ignore[arg-type]
            path = tiers[0].blobs.path(name)  # type: ignore[arg-type]
            assert path
            harm(path)

        tiers[0].blobs.publish = publish_and_harm  # type: ignore[method-assign]
        with suppress(LayercacheError):
            read(cache.layer(layer.digest, fetch=Fetch(layer.blob)).compressed())
        cache.flush()
        for tier in tiers[1:]:
            assert_sound(tier)
