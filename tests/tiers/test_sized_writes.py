"""A store that wants to know the size of a blob is told it, and gets the bytes again that it has lost."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fixtures.stores import Store, blobs, content, far, near, open_cache, store_of
from servers.images import make_layer, noise

from layercache.backend import RewindError, SinkBase
from layercache.copy import Copy, Selection
from layercache.errors import BackendError
from layercache.oci.digest import Digest
from layercache.streams.readers import CHUNK, verified
from layercache.tiers import keys
from layercache.tiers.backend.blobs import REWINDS
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend, MemoryReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from layercache.backend import Reader, Sink

DATA = noise(3 * CHUNK + 77)
NAME = Digest.of(DATA)
END = len(DATA)


@dataclass
class Losing(Store):
    """``loses``: at which byte of the next blob what is lost; `END` is at the commit, before it publishes."""

    inner: MemoryBackend = field(default_factory=MemoryBackend)
    loses: list[tuple[int, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    lost: Callable[[], object] = lambda: None

    def create_sized(self, key: str, size: int) -> Sink:
        self.sizes.append(size)
        return _LosingSink(self, key, size)


class _LosingSink(SinkBase):
    def __init__(self, store: Losing, key: str, size: int) -> None:
        self._store, self._key, self._size = store, key, size
        self._data = bytearray()

    def write(self, data: ReadableBuffer, /) -> None:
        self._data += data
        if len(self._data) < self._size:
            self._lose()

    def commit(self) -> None:
        self._lose()
        assert len(self._data) == self._size
        with self._store.inner.create(self._key) as sink:
            sink.write(self._data)
            sink.commit()
        self._store.published.add(self._key)

    def abort(self) -> None:
        self._data.clear()

    def _lose(self) -> None:
        if self._store.loses and len(self._data) >= self._store.loses[0][0]:
            _, offset = self._store.loses.pop(0)
            del self._data[offset:]
            self._store.lost()
            raise RewindError(offset)


def reader() -> Reader:
    return verified(MemoryReader(DATA), NAME, END)


@pytest.mark.parametrize(
    "loses",
    [
        [],
        [(CHUNK, 0)],
        [(2 * CHUNK, 5)],
        [(END, CHUNK + 1)],
        [(END, END)],
        [(END, END - 1), (END, 0), (1, 1), (CHUNK, CHUNK)],
    ],
)
def test_bytes_that_the_store_has_lost_are_read_and_written_again(loses: list[tuple[int, int]]) -> None:
    store = Losing(loses=list(loses))
    far(store).blobs.copy(NAME, reader(), again=reader)
    assert content(store) == {keys.blob(NAME): DATA}
    assert (store.sizes, store.loses, store.did("create")) == ([END], [], [])


def test_without_a_size_or_a_way_to_read_again_the_store_is_not_told_one() -> None:
    store = Losing()
    far(store).blobs.copy(NAME, reader())
    far(store).blobs.copy(NAME, verified(MemoryReader(DATA), NAME), again=reader)
    assert store.sizes == []
    assert store.did("create") == [keys.blob(NAME)] * 2


def test_a_store_that_loses_all_again_and_again_is_given_up() -> None:
    store = Losing(loses=[(CHUNK, 0)] * 1000)
    with pytest.raises(BackendError, match="lost again and again"):
        far(store).blobs.copy(NAME, reader(), again=reader)
    assert len(store.loses) == 1000 - REWINDS - 1
    assert content(store) == {}


def test_a_rewind_in_a_write_without_a_size_is_the_stores_failure() -> None:
    class Confused(Store):
        def create(self, key: str) -> Sink:
            return _LosingSink(Losing(loses=[(1, 0)]), key, 100)

    tier = far(Confused(MemoryBackend()))
    with pytest.raises(BackendError, match="RewindError"):
        tier.blobs.copy(NAME, reader())


def test_an_upload_is_hashed_also_when_it_is_read_again(tmp_path: Path) -> None:
    """Other bytes than before, out of the nearest tier, are not published."""
    layer = make_layer({"name": b"big", "noise": noise(3 * CHUNK, 5)})
    for change in (False, True):
        path = tmp_path / str(change)
        local = LocalBackend(str(path), sync=False)

        def spoil(local: LocalBackend = local, change: bool = change) -> None:
            if change:
                with open(local.path(keys.blob(layer.digest)), "r+b") as file:
                    file.write(b"other")

        store = Losing(loses=[(2 * CHUNK, CHUNK)], lost=spoil)
        with open_cache(near(local, "compressed"), far(store, "compressed")) as cache:
            cache.put(io.BytesIO(layer.blob))
            cache.flush()
        assert store.sizes == [len(layer.blob)]
        assert blobs(store) == (set() if change else {layer.digest})


def test_every_way_into_a_far_tier_states_the_size(tmp_path: Path) -> None:
    layer = make_layer({"name": b"big", "noise": noise(3 * CHUNK, 6)})
    with open_cache(source := near()) as cache:
        cache.put(io.BytesIO(layer.blob))
    sizes = {len(layer.blob), len(layer.tar)}

    alone = near(Losing(loses=[(CHUNK, 3)]))
    with open_cache(alone) as cache:
        cache.put(io.BytesIO(layer.blob))
    copied = far(Losing(loses=[(2 * CHUNK, 0), (CHUNK, 1)]))
    Copy(source, copied, Selection(), jobs=1).run()
    for tier in (alone, copied):
        store = store_of(tier)
        assert isinstance(store, Losing)
        assert set(store.sizes) == sizes
        assert store.loses == []
        assert blobs(tier) == {layer.digest, layer.diff_id}
