"""What is read of a tier that others write to is bounded: facts, bytes and requests."""

from __future__ import annotations

import json
import os
import threading
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pytest
from fixtures.stores import Store, fact, write

from layercache import NotFoundError
from layercache.backend import SMALL_OBJECT
from layercache.errors import FormatError
from layercache.oci.descriptor import DOCUMENT_MAX, INDEX_SHARE, OCI_INDEX, Descriptor, encode
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers import keys
from layercache.tiers.association import FACTS_MAX
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.documents import find_document
from layercache.tiers.image_refs import contents
from layercache.tiers.layout.index_json import read_index
from layercache.tiers.layout.tier import LayoutTier
from layercache.tiers.policy import Policy
from layercache.tiers.record import Record
from layercache.upkeep import verify
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from layercache.backend import Reader

DIFF_ID = DiffID(f"sha256:{'cd' * 32}")
DIGEST = Digest(f"sha256:{'ab' * 32}")
IMAGE = "images/host/name/_tags/latest"
HUGE = 40 << 20


def nth(number: int) -> Digest:
    return Digest(Hash.of(b"%d" % number))


@dataclass
class Metered(Store):
    """Counts the bytes that are taken out of it. ``crowd``: so many must be opening at once."""

    taken: int = 0
    crowd: threading.Barrier | None = None

    def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
        reader = super().open(key, start, end)
        if self.crowd is not None:
            self.crowd.wait(60)
        return _Meter(self, reader)


class _Meter:
    def __init__(self, store: Metered, reader: Reader) -> None:
        self._store = store
        self._reader = reader
        self.size = reader.size

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size)
        self._store.taken += len(data)
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        raise AssertionError("small things are read by read()")

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def padded(document: bytes, size: int) -> bytes:
    """The same JSON, so many bytes bigger."""
    return document[:-1] + b',"x":"' + b"a" * size + b'"}'


FACT = fact(DIGEST, DIFF_ID, 9, tar_size=9)

BY_KEY: dict[str, tuple[Hash, Callable[[BackendTier], object]]] = {
    "by digest": (DIGEST, lambda tier: tier.facts.inflates_to(DIGEST)),
    "by diff ID": (DIFF_ID, lambda tier: tier.facts.made_from(DIFF_ID)),
    "of a pair": (DIGEST, lambda tier: tier.facts.get(DIGEST, DIFF_ID, computed=True) or []),
    "listed": (DIGEST, lambda tier: list(tier.facts.scan())),
}


@pytest.mark.parametrize("where", BY_KEY)
@pytest.mark.parametrize("store", ["memory", "disk"])
def test_a_huge_record_says_nothing_is_not_read_and_is_replaced(
    tmp_path: Path, where: str, store: str
) -> None:
    name, ask = BY_KEY[where]
    record = Record(Hash(name), (FACT,)).encode()
    backend = Metered(MemoryBackend()) if store == "memory" else LocalBackend(str(tmp_path))
    tier = BackendTier(backend, Policy())
    write(tier, keys.record(name), padded(record, SMALL_OBJECT - len(record) - 7))
    assert ask(tier)
    write(tier, keys.record(name), padded(record, HUGE))
    tracemalloc.start()
    try:
        assert ask(tier) == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    if isinstance(backend, Metered):
        assert backend.taken <= 2 * SMALL_OBJECT
    tier.facts.record(FACT)
    assert ask(tier)


def test_a_huge_tag_names_nothing_and_is_not_read() -> None:
    backend = Metered(MemoryBackend())
    tier = BackendTier(backend, Policy())
    write(tier, IMAGE, padded(encode(Descriptor(media_type=OCI_INDEX, digest=DIGEST, size=9)), HUGE))
    with pytest.raises(NotFoundError):
        tier.images.get(IMAGE)
    assert list(tier.images.scan()) == []
    assert backend.taken == 0
    assert [each.problem for each in verify(tier)] == [f"the reference has more than {SMALL_OBJECT} bytes"]


def test_a_record_holds_a_few_of_thousands_of_facts_and_can_still_be_read() -> None:
    tier = BackendTier(Metered(MemoryBackend()), Policy())
    for number in range(4 * FACTS_MAX):
        tier.facts.record(fact(nth(number), DIFF_ID, 9, computed=number % 2 == 0, tar_size=9))
        tier.facts.record(fact(DIGEST, DiffID(nth(number)), 9, computed=False))
        tier.facts.refute(fact(nth(-number), DIFF_ID, 9))
    assert len(tier.facts.made_from(DIFF_ID, claims=True)) == 2 * FACTS_MAX
    assert len(tier.facts.about(Hash(DIFF_ID))[1]) == 2 * FACTS_MAX, "so many of each kind"
    assert len(tier.facts.inflates_to(DIGEST)) == FACTS_MAX
    assert all(each.computed for each in tier.facts.made_from(DIFF_ID))


def test_all_that_is_known_of_a_name_is_one_request() -> None:
    backend = Metered(MemoryBackend())
    tier = BackendTier(backend, Policy())
    for number in range(8):
        tier.facts.record(fact(nth(number), DIFF_ID, 9, tar_size=9))
    backend.asked.clear()
    assert len(tier.facts.about(Hash(DIFF_ID))[1]) == 8
    assert [action for action, _ in backend.asked if action != "read"] == ["open"]


def test_records_of_a_far_tier_are_listed_at_once() -> None:
    """All of eight readers must be there before any goes on."""
    backend = Metered(MemoryBackend())
    tier = BackendTier(backend, Policy())
    for number in range(4):
        tier.facts.record(fact(nth(number), DiffID(nth(-number - 1)), 9, tar_size=9))
    backend.crowd = threading.Barrier(8)
    assert len(list(tier.facts.scan())) == 4
    tier.close()


# Documents and the layout's own files


@pytest.mark.parametrize("key", [keys.INDEX, keys.OCI_LAYOUT])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path), None])
def test_a_layouts_file_that_is_none_is_passed_over(
    tmp_path: Path, key: str, make: Callable[[Path], None] | None
) -> None:
    path = tmp_path / key
    if make is not None:
        make(path)
    else:
        with open(path, "wb") as file:
            file.truncate(DOCUMENT_MAX * INDEX_SHARE + 1)
    backend = LocalBackend(str(tmp_path))
    assert read_index(BackendTier(backend, Policy())) == ([], [])
    assert list(LayoutTier(backend, Policy(readonly=True)).images.scan()) == []


def test_a_layout_that_claims_thousands_of_blobs_for_one_tar_is_believed_a_few(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path))
    entries = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": str(nth(number)),
            "size": 1,
            "annotations": {"dev.ggcr.cache.diffid": str(DIFF_ID)},
        }
        for number in range(500)
    ]
    write(BackendTier(backend, Policy()), keys.INDEX, json.dumps({"manifests": entries}).encode())
    for number in range(500):
        write(BackendTier(backend, Policy()), keys.blob(nth(number)), b"x")
    tier = LayoutTier(backend, Policy(readonly=True))
    assert len(tier.facts.made_from(DIFF_ID)) == FACTS_MAX


def test_a_huge_blob_that_a_tag_calls_a_manifest_is_not_read() -> None:
    backend = Metered(MemoryBackend())
    tier = BackendTier(backend, Policy(max_document_size=1000))
    blob = b"{" + b" " * 1000 + b"}"
    name = Digest.of(blob)
    write(tier, keys.blob(name), blob)
    root = Descriptor(media_type=OCI_INDEX, digest=name, size=len(blob))
    assert list(contents(tier.blobs.open, root, tier.policy.max_document_size)) == [(name, True)]
    with pytest.raises(FormatError, match="at most 1000 are read") as caught:
        find_document([tier], name)
    assert "max_document_size" in caught.value.hint
    assert backend.taken == 0
    wider = BackendTier(backend, Policy(max_document_size=2000))
    assert find_document([wider], name) == blob
