"""What every tier promises, whatever it stands on: one suite, run on each kind."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from servers.images import make_layer, noise

from layercache.errors import DigestMismatchError, NotFoundError
from layercache.oci.descriptor import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.streams.readers import HashedReader, check_hash
from layercache.tiers import keys
from layercache.tiers.association import Association

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Reader
    from layercache.tiers.tier import Tier

GZIP = make_layer({"name": b"a layer", "noise": noise(9000)})
ZSTD = make_layer({"name": b"a layer", "noise": noise(9000)}, "zstd")
PLAIN = make_layer({"name": b"a plain one", "noise": noise(500, 1)}, "none")
ABSENT = Digest.of(b"nobody has this")


def fact_of(layer: object = GZIP, *, computed: bool = True) -> Association:
    assert isinstance(layer, type(GZIP))
    return Association(
        layer.digest,
        layer.diff_id,
        len(layer.blob),
        layer.media_type,
        len(layer.tar) if computed else None,
        computed=computed,
    )


def verified(data: bytes, name: Hash) -> Reader:
    """What a tier is filled from: a reader that judges at its end, and whose size nobody knows."""
    return HashedReader(
        io.BytesIO(data),  # type: ignore[arg-type]  # of all that a reader has, ``read`` is used
        lambda found, seen: check_hash(name, None, found, seen),
        algorithm=name.algorithm,
    )


def copy(tier: Tier, data: bytes, name: Hash | None = None) -> Hash:
    name = name or Digest.of(data)
    with verified(data, name) as reader:
        tier.blobs.copy(name, reader)
    return name


def read(tier: Tier, name: Hash, start: int = 0, end: int | None = None) -> bytes:
    with tier.blobs.open(name, start, end) as reader:
        return reader.read()


def held(tier: Tier) -> dict[Hash, int]:
    return {name: entry.size for name, entry in tier.blobs.scan()}


class TierContract:
    """Subclass it, and give a fixture ``tier`` (an empty one) and ``reopen`` (another on the same place)."""

    # Blobs

    @pytest.mark.parametrize("size", [0, 1, 5000, 1 << 20])
    def test_a_blob_is_read_as_it_was_kept(self, tier: Tier, size: int) -> None:
        data = noise(size)
        name = copy(tier, data)
        with tier.blobs.open(name) as reader:
            assert reader.size == size
            assert reader.read() == data
        assert tier.blobs.stat(name).size == size

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_a_blob_has_a_name_of_either_algorithm(self, tier: Tier, algorithm: str) -> None:
        data = noise(700)
        name = copy(tier, data, Digest.of(data, algorithm))
        assert read(tier, name) == data
        assert held(tier) == {name: 700}

    @pytest.mark.parametrize("start", [0, 1, 4999, 5000])
    def test_a_blob_is_read_from_an_offset_on(self, tier: Tier, start: int) -> None:
        data = noise(5000)
        name = copy(tier, data)
        with tier.blobs.open(name, start) as reader:
            assert reader.size == 5000 - start
            buffer = bytearray(6000)
            view, done = memoryview(buffer), 0
            while count := reader.readinto(view[done:]):
                done += count
        assert buffer[:done] == data[start:]

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 1), (0, 4999), (1000, 2000), (4999, 5000), (0, 5000), (3000, 9000)],
    )
    def test_a_range_of_a_blob_gives_these_bytes_and_no_more(self, tier: Tier, start: int, end: int) -> None:
        data = noise(5000)
        name = copy(tier, data)
        with tier.blobs.open(name, start, end) as reader:
            assert reader.size == len(data[start:end])
            assert reader.read() == data[start:end]
            assert reader.read(1) == b""

    @pytest.mark.parametrize(("start", "end"), [(0, 0), (70, 70), (5000, 5000), (5000, 6000), (8000, 9000)])
    def test_a_range_without_bytes_is_empty_and_no_error(self, tier: Tier, start: int, end: int) -> None:
        name = copy(tier, noise(5000))
        with tier.blobs.open(name, start, end) as reader:
            assert reader.size == 0
            assert reader.read() == b""

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (-1, 5), (3, 2)])
    def test_what_is_not_a_range_is_a_value_error(self, tier: Tier, start: int, end: int | None) -> None:
        name = copy(tier, b"ten bytes.")
        with pytest.raises(ValueError, match="not a range"):
            tier.blobs.open(name, start, end)

    def test_what_is_not_there_is_not_found(self, tier: Tier) -> None:
        copy(tier, b"something else")
        with pytest.raises(NotFoundError):
            tier.blobs.open(ABSENT)
        for start, end in ((0, 5), (0, 0), (100, 200)):
            with pytest.raises(NotFoundError):
                tier.blobs.open(ABSENT, start, end)
        with pytest.raises(NotFoundError):
            tier.blobs.stat(ABSENT)
        assert not tier.blobs.has(ABSENT)

    def test_an_empty_tier_has_nothing(self, tier: Tier) -> None:
        assert list(tier.blobs.scan()) == []
        assert list(tier.facts.scan()) == []
        assert list(tier.images.scan()) == []
        assert not tier.blobs.has(ABSENT)
        assert tier.facts.about(ABSENT) == ([], [])

    def test_a_document_is_kept_and_kept_again(self, tier: Tier) -> None:
        data = b'{"a": "document"}'
        for _ in range(2):
            tier.blobs.put(Digest.of(data), data)
        assert read(tier, Digest.of(data)) == data

    def test_a_blob_is_kept_once_more_without_an_error(self, tier: Tier) -> None:
        copy(tier, GZIP.blob)
        copy(tier, GZIP.blob)
        assert read(tier, GZIP.digest) == GZIP.blob

    def test_blobs_are_listed(self, tier: Tier) -> None:
        datas = [noise(size, size) for size in range(1, 6)]
        names = [copy(tier, data) for data in datas]
        tier.facts.record(fact_of())
        assert held(tier) == {name: len(data) for name, data in zip(names, datas, strict=True)}

    def test_a_blob_that_was_deleted_is_gone(self, tier: Tier) -> None:
        name = copy(tier, GZIP.blob)
        other = copy(tier, PLAIN.blob)
        tier.blobs.delete(name)
        tier.blobs.delete(name)
        assert not tier.blobs.has(name)
        assert held(tier) == {other: len(PLAIN.blob)}
        copy(tier, GZIP.blob)
        assert read(tier, name) == GZIP.blob

    def test_bytes_that_turn_out_wrong_are_never_there(self, tier: Tier) -> None:
        with pytest.raises(DigestMismatchError), verified(GZIP.blob[:-1] + b"?", GZIP.digest) as reader:
            tier.blobs.copy(GZIP.digest, reader)
        assert not tier.blobs.has(GZIP.digest)
        assert list(tier.blobs.scan()) == []

    def test_a_blob_that_many_keep_at_once_is_there_whole(self, tier: Tier) -> None:
        data = noise(300_000)
        threads = [threading.Thread(target=copy, args=(tier, data)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert held(tier) == {Digest.of(data): len(data)}
        assert read(tier, Digest.of(data)) == data

    # Associations

    @pytest.mark.parametrize("computed", [True, False])
    def test_a_fact_is_found_under_both_names(self, tier: Tier, computed: bool) -> None:
        fact = fact_of(computed=computed)
        tier.facts.record(fact)
        assert tier.facts.inflates_to(GZIP.digest) == [fact]
        assert tier.facts.made_from(GZIP.diff_id) == [fact]
        assert tier.facts.about(GZIP.digest) == ([fact], [])
        assert tier.facts.about(GZIP.diff_id) == ([], [fact])
        assert list(tier.facts.scan()) == [fact]

    def test_a_fact_implies_no_blob(self, tier: Tier) -> None:
        tier.facts.record(fact_of())
        assert not tier.blobs.has(GZIP.digest)
        assert list(tier.blobs.scan()) == []

    def test_a_fact_outlives_its_blob(self, tier: Tier) -> None:
        copy(tier, GZIP.blob)
        tier.facts.record(fact_of())
        tier.blobs.delete(GZIP.digest)
        assert tier.facts.made_from(GZIP.diff_id) == [fact_of()]

    def test_a_tar_may_have_several_digests(self, tier: Tier) -> None:
        facts = [fact_of(GZIP), fact_of(ZSTD)]
        for fact in facts:
            tier.facts.record(fact)
        assert sorted(tier.facts.made_from(GZIP.diff_id), key=str) == sorted(facts, key=str)
        assert tier.facts.inflates_to(ZSTD.digest) == [facts[1]]
        assert sorted(tier.facts.scan(), key=str) == sorted(facts, key=str)

    def test_a_plain_tar_is_its_own(self, tier: Tier) -> None:
        copy(tier, PLAIN.blob)
        tier.facts.record(fact_of(PLAIN))
        assert str(PLAIN.digest) == PLAIN.diff_id
        assert tier.facts.about(PLAIN.digest) == ([fact_of(PLAIN)], [fact_of(PLAIN)])
        assert list(tier.facts.scan()) == [fact_of(PLAIN)]
        assert read(tier, PLAIN.digest) == PLAIN.blob

    def test_a_tar_that_is_another_blobs_inside_has_both_roles(self, tier: Tier) -> None:
        plain = Association(
            Digest(GZIP.diff_id), GZIP.diff_id, len(GZIP.tar), OCI_LAYER, len(GZIP.tar), computed=True
        )
        tier.facts.record(fact_of())
        tier.facts.record(plain)
        as_digest, as_diff_id = tier.facts.about(GZIP.diff_id)
        assert as_digest == [plain]
        assert sorted(as_diff_id, key=str) == sorted([fact_of(), plain], key=str)

    def test_claims_are_told_where_nothing_is_computed_or_when_asked(self, tier: Tier) -> None:
        claim = fact_of(computed=False)
        false = Association(GZIP.digest, PLAIN.diff_id, len(GZIP.blob), OCI_LAYER_GZIP)
        for fact in (claim, false):
            tier.facts.record(fact)
        assert sorted(tier.facts.inflates_to(GZIP.digest), key=str) == sorted([claim, false], key=str)
        tier.facts.record(fact_of())
        assert tier.facts.inflates_to(GZIP.digest) == [fact_of()]
        assert tier.facts.inflates_to(GZIP.digest, claims=True) == [fact_of(), false]
        assert tier.facts.made_from(PLAIN.diff_id) == [false]

    def test_a_fact_that_was_forgotten_is_gone_under_both_names(self, tier: Tier) -> None:
        for fact in (fact_of(), fact_of(ZSTD)):
            tier.facts.record(fact)
        for _ in range(2):
            tier.facts.forget(fact_of())
        assert tier.facts.about(GZIP.digest) == ([], [])
        assert tier.facts.made_from(GZIP.diff_id) == [fact_of(ZSTD)]

    def test_a_read_only_tier_takes_no_fact(self, read_only: Tier) -> None:
        read_only.facts.record(fact_of())
        assert list(read_only.facts.scan()) == []

    # Images

    def test_an_image_is_what_its_reference_named_last(self, tier: Tier) -> None:
        tag = keys.image_tag("ghcr.io", "team/app", "1.0")
        pinned = keys.image_digest("[::1]:5000", "a" * 200, ABSENT)
        first = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"1"), size=1)
        second = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"2"), size=1, annotations={"a": "b"})
        tier.images.tag(tag, first)
        tier.images.tag(pinned, first)
        tier.images.tag(tag, second)
        assert tier.images.get(tag) == second
        assert dict(tier.images.scan()) == {tag: second, pinned: first}
        for _ in range(2):
            tier.images.forget(tag)
        with pytest.raises(NotFoundError):
            tier.images.get(tag)
        assert dict(tier.images.scan()) == {pinned: first}

    def test_an_image_and_its_documents_come_and_go_by_themselves(self, tier: Tier) -> None:
        config = b'{"rootfs": {"type": "layers", "diff_ids": []}}'
        manifest = b'{"schemaVersion":2,"config":{"mediaType":"%b","digest":"%b","size":%d},"layers":[]}' % (
            OCI_CONFIG.encode(),
            Digest.of(config).encode(),
            len(config),
        )
        key = keys.image_tag("docker.io", "library/empty", "latest")
        for data in (manifest, config):
            tier.blobs.put(Digest.of(data), data)
        tier.images.tag(
            key, Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(manifest), size=len(manifest))
        )
        assert read(tier, tier.images.get(key).digest) == manifest
        tier.images.forget(key)
        assert read(tier, Digest.of(manifest)) == manifest
        tier.blobs.delete(Digest.of(manifest))
        assert held(tier) == {Digest.of(config): len(config)}

    # Of all

    def test_another_one_on_the_same_place_finds_it_all(self, tier: Tier, reopen: Callable[[], Tier]) -> None:
        copy(tier, GZIP.blob)
        tier.facts.record(fact_of())
        key = keys.image_tag("docker.io", "library/alpine", "latest")
        tier.images.tag(key, Descriptor(digest=GZIP.digest, size=1))
        other = reopen()
        assert read(other, GZIP.digest) == GZIP.blob
        assert other.facts.made_from(DiffID(GZIP.diff_id)) == [fact_of()]
        assert [found for found, _ in other.images.scan()] == [key]

    def test_closing_twice_is_no_error(self, tier: Tier) -> None:
        tier.blobs.has(ABSENT)
        tier.close()
        tier.close()
