"""Either name finds a layer, in either form; what is no name is refused."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import COMPRESSIONS, compressed, put, read, sample
from fixtures.stores import Fetch, blobs, evict, far, near, open_cache, write_blob

import layercache
from layercache import FormatError, NotFoundError
from layercache.oci.descriptor import OCI_LAYER_GZIP
from layercache.oci.digest import DiffID, Digest
from layercache.tiers.association import Association

if TYPE_CHECKING:
    from layercache.oci.forms import Form
    from layercache.tiers.policy import Keep
    from layercache.tiers.tier import Tier

ABSENT = "sha256:" + 64 * "0"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_layer_that_was_put_is_found_by_either_name_in_either_form(
    tmp_path: Path, compression: str
) -> None:
    layer = sample(1, compression)
    file = tmp_path / "layer"
    file.write_bytes(layer.blob)
    with layercache.open(tmp_path / "cache") as cache:
        made = cache.put(file)
        assert (made.digest, made.diff_id) == (layer.digest, layer.diff_id)
        assert (made.size, made.uncompressed_size) == (len(layer.blob), len(layer.tar))
        assert made.media_type == layer.media_type
        assert made.computed
    with layercache.open(tmp_path / "cache") as cache:
        for name in (layer.digest, layer.diff_id):
            assert name in cache
            found = cache.get(name)
            assert (found.digest, found.diff_id) == (layer.digest, layer.diff_id)
            assert found.media_type == layer.media_type
            assert read(found.compressed()) == layer.blob
            assert read(found.uncompressed()) == layer.tar
            assert (found.size, found.uncompressed_size) == (len(layer.blob), len(layer.tar))
        assert cache.counters.inflated == 0


@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_put_keeps_the_forms_that_keep_says(tmp_path: Path, keep: Keep, compression: str) -> None:
    layer = sample(1, compression)
    url = f"file://{tmp_path}/cache?keep={keep}"
    with layercache.open(url) as cache:
        put(cache, layer.blob)
        kept = {
            name
            for name, form in ((layer.digest, "compressed"), (layer.diff_id, "uncompressed"))
            if keep in ("both", form)
        }
        assert blobs(cache.tiers[0]) == kept
        assert read(cache.get(layer.digest).uncompressed()) == layer.tar
        assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar
        assert blobs(cache.tiers[0]) == kept, "reading must not store what the tier does not keep"


@pytest.mark.parametrize("keep", ["both", "compressed", "uncompressed"])
def test_a_plain_tar_is_both_forms_under_one_name(tmp_path: Path, keep: Keep) -> None:
    layer = sample(1, "none")
    with layercache.open(f"file://{tmp_path}/cache?keep={keep}") as cache:
        put(cache, layer.blob)
        found = cache.get(layer.digest)
        assert (found.digest, found.diff_id) == (layer.digest, layer.diff_id)
        assert read(found.uncompressed()) == read(found.compressed()) == layer.tar
        assert blobs(cache.tiers[0]) == {layer.digest}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_missing_form_is_made_once_and_kept(compression: str) -> None:
    layer, fetch = sample(1, compression), Fetch(sample(1, compression).blob)
    with open_cache() as cache:
        cache.layer(layer.digest, fetch=fetch).fill("compressed")
        assert blobs(cache.tiers[0]) == {layer.digest}
        for _ in range(2):
            assert read(cache.get(layer.digest).uncompressed()) == layer.tar
            assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar
        assert blobs(cache.tiers[0]) == {layer.digest, layer.diff_id}
        assert cache.counters.inflated == (0 if compression == "none" else 1)
        assert fetch.asked == [layer.digest]


def test_asking_for_the_compressed_form_inflates_nothing() -> None:
    layer = sample(1)
    with open_cache() as cache:
        assert read(cache.layer(layer.digest, fetch=Fetch(layer.blob)).compressed()) == layer.blob
        assert cache.counters.inflated == 0
        assert blobs(cache.tiers[0]) == {layer.digest}


def test_one_pass_stores_both_forms_where_the_tar_is_asked_for() -> None:
    layer, fetch = sample(1), Fetch(sample(1).blob)
    with open_cache() as cache:
        assert read(cache.layer(layer.digest, fetch=fetch).uncompressed()) == layer.tar
        assert blobs(cache.tiers[0]) == {layer.digest, layer.diff_id}
        assert (cache.counters.fetched, cache.counters.inflated) == (1, 1)


@pytest.mark.parametrize("form", ["compressed", "uncompressed", "both"])
def test_fill_stores_exactly_the_form_that_it_was_asked_for_where_only_that_is_kept(form: Keep) -> None:
    layer = sample(1)
    with open_cache(near(keep=form)) as cache:
        cache.layer(layer.digest, fetch=Fetch(layer.blob)).fill(form)
        wanted = {"compressed": {layer.digest}, "uncompressed": {layer.diff_id}}
        assert blobs(cache.tiers[0]) == wanted.get(form, {layer.digest, layer.diff_id})


@pytest.mark.parametrize("tier", [near(keep="compressed"), near(readonly=True)])
def test_fill_says_so_where_no_tier_keeps_the_form(tier: Tier) -> None:
    layer, fetch = sample(1), Fetch(sample(1).blob)
    with open_cache(tier) as cache:
        with pytest.raises(layercache.ConfigError, match="no tier keeps the uncompressed form"):
            cache.layer(layer.digest, fetch=fetch).fill("uncompressed")
        assert fetch.asked == []


def test_a_name_that_is_not_cached_is_an_error_that_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with layercache.open([tmp_path, "memory://"]) as cache:
        assert ABSENT not in cache
        with pytest.raises(layercache.NotFoundError) as caught:
            cache.get(ABSENT)
        assert caught.value.looked_in == (f"file://{tmp_path}", "memory://")
        assert ABSENT in caught.value.message
        assert "layercache pull" in caught.value.hint
        assert all(part in str(caught.value) for part in (ABSENT, f"file://{tmp_path}", "hint"))


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", 64 * "0", "sha256:" + 63 * "0", "sha256:" + 65 * "0", "sha256:" + 64 * "A",
     "md5:" + 32 * "0", "sha256:../" + 61 * "0", "SHA256:" + 64 * "0", " sha256:" + 64 * "0",
     "sha512:" + 64 * "0", "sha256:" + 63 * "0" + "\n"],
)  # fmt: skip
def test_what_is_no_digest_is_refused_before_anything_is_asked(text: str) -> None:
    with open_cache() as cache:
        for ask in (cache.get, cache.__contains__, cache.delete, cache.layer):
            with pytest.raises(layercache.ConfigError, match="not a digest or diff ID"):
                ask(text)
        with pytest.raises(ValueError, match="not a digest or diff ID"):
            cache.layer(ABSENT, diff_id=text)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("of_blob", ["sha256", "sha512"])
@pytest.mark.parametrize("of_tar", ["sha256", "sha512"])
def test_digests_and_diff_ids_of_either_algorithm_lead_to_each_other(
    compression: str, of_blob: str, of_tar: str
) -> None:
    layer = sample(1, compression)
    digest, diff_id = Digest.of(layer.blob, of_blob), DiffID.of(layer.tar, of_tar)
    fetch = Fetch()
    fetch.blobs[digest] = layer.blob
    with open_cache() as cache:
        asked = cache.layer(digest, diff_id=diff_id, fetch=fetch)
        assert read(asked.uncompressed()) == layer.tar
        for name in (digest, diff_id):
            assert read(cache.get(name).compressed()) == layer.blob
            assert read(cache.get(name).uncompressed()) == layer.tar
        assert fetch.asked == [digest]
        assert asked.diff_id == diff_id


def test_a_diff_id_in_another_algorithm_than_the_known_one_is_not_taken_for_a_lie() -> None:
    layer, fetch = sample(1), Fetch(sample(1).blob)
    other = DiffID.of(layer.tar, "sha512")
    with open_cache() as cache:
        read(cache.layer(layer.digest, diff_id=layer.diff_id, fetch=fetch).uncompressed())
        assert read(cache.layer(layer.digest, diff_id=other, fetch=fetch).uncompressed()) == layer.tar
        assert read(cache.get(layer.diff_id).uncompressed()) == layer.tar


def test_a_digest_of_another_algorithm_with_wrong_bytes_is_refused() -> None:
    fetch, name = Fetch(), Digest.of(b"right", "sha512")
    fetch.blobs[name] = b"wrong"
    with open_cache() as cache:
        with pytest.raises(layercache.DigestMismatchError):
            read(cache.layer(name, fetch=fetch).compressed())
        assert name not in cache


def test_a_name_that_is_a_digest_in_one_tier_is_found_by_its_diff_id_through_it() -> None:
    layer = sample(1)
    with open_cache(near(), far()) as cache:
        cache.layer(layer.digest, diff_id=layer.diff_id, fetch=Fetch(layer.blob)).fill("compressed")
    emptied = open_cache(near(), cache.tiers[1])
    with emptied:
        assert layer.diff_id in emptied
        assert read(emptied.get(layer.diff_id).uncompressed()) == layer.tar


def test_a_claim_leads_to_a_layer_whose_other_blob_was_computed_and_evicted() -> None:
    zstd, gzip = sample(1, "zstd"), sample(1, "gzip")
    with open_cache() as cache:
        put(cache, zstd.blob)
        cache.layer(gzip.digest, diff_id=gzip.diff_id, fetch=Fetch(gzip.blob)).fill("compressed")
        evict(cache.tiers[0], zstd.digest)
        evict(cache.tiers[0], zstd.diff_id)
        assert zstd.diff_id in cache
        assert cache.get(zstd.diff_id).digest == gzip.digest
        assert read(cache.get(zstd.diff_id).uncompressed()) == zstd.tar


@pytest.mark.parametrize("verify_always", [False, True])
def test_a_name_that_is_known_to_be_a_plain_tars_gives_no_other_blob(*, verify_always: bool) -> None:
    plain, gzip = sample(1, "none"), sample(1, "gzip")
    for form in ("compressed", "uncompressed"):
        with open_cache(verify_always=verify_always) as cache:
            put(cache, plain.blob)
            cache.layer(gzip.digest, diff_id=gzip.diff_id, fetch=Fetch(gzip.blob)).fill("compressed")
            evict(cache.tiers[0], Digest(plain.digest))
            found = cache.get(plain.diff_id)
            assert (found.digest, found.diff_id) == (plain.digest, plain.diff_id)
            assert read(getattr(found, form)()) == plain.tar, "out of the blob that has it inside"


def test_a_name_that_is_known_to_be_a_blobs_gives_no_other_that_has_it_inside() -> None:
    layer = sample(1, "gzip")
    twice = compressed(layer.blob, "gzip")
    with open_cache() as cache:
        put(cache, layer.blob)
        claim = Association(Digest.of(twice), DiffID(layer.digest), len(twice), OCI_LAYER_GZIP)
        write_blob(cache.tiers[0], claim.digest, twice)
        cache.tiers[0].facts.record(claim)
        evict(cache.tiers[0], layer.digest)
        evict(cache.tiers[0], layer.diff_id)
        with pytest.raises(NotFoundError, match="is not cached"):
            cache.get(layer.digest)


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_what_is_inside_a_blob_and_no_tar_is_no_layers_diff_id(form: Form) -> None:
    layer, tier = sample(1, "gzip"), far()
    twice = compressed(layer.blob, "gzip")
    claim = Association(Digest.of(twice), DiffID(layer.digest), len(twice), OCI_LAYER_GZIP)
    write_blob(tier, claim.digest, twice)
    tier.facts.record(claim)
    with open_cache(near(), tier) as cache:
        with pytest.raises(FormatError, match="not a tar"):
            read(getattr(cache.get(layer.digest), form)())
        assert layer.digest not in cache
        assert read(cache.get(claim.digest).compressed()) == twice, "by its own name it is what it is"
        assert read(cache.get(claim.digest).uncompressed()) == layer.blob


def test_a_layer_by_digest_reads_nothing_before_a_stream_is_opened() -> None:
    layer, fetch = sample(1), Fetch(sample(1).blob)
    with open_cache() as cache:
        cache.layer(layer.digest, fetch=fetch)
        assert fetch.asked == []


def test_offline_no_fetch_is_called() -> None:
    layer, fetch = sample(1), Fetch(sample(1).blob)
    with open_cache(offline=True) as cache:
        with pytest.raises(layercache.NotFoundError):
            cache.layer(layer.digest, fetch=fetch).compressed()
        assert fetch.asked == []


def test_a_put_stream_is_left_open_and_a_path_that_is_missing_is_the_systems_error(tmp_path: Path) -> None:
    layer = sample(1)
    file = tmp_path / "layer"
    file.write_bytes(layer.blob)
    with open_cache() as cache:
        with file.open("rb") as stream:
            cache.put(stream)
            assert not stream.closed
        with pytest.raises(FileNotFoundError):
            cache.put(tmp_path / "missing")


def test_a_plain_tar_that_was_compressed_elsewhere_is_the_same_layer() -> None:
    plain, packed = sample(1, "none"), sample(1, "gzip")
    assert compressed(plain.tar, "gzip") == packed.blob
    with open_cache() as cache:
        put(cache, plain.blob)
        put(cache, packed.blob)
        found = cache.get(plain.digest)
        assert found.diff_id == plain.diff_id
        assert set(found.digests) == {plain.digest, packed.digest}
        assert read(found.compressed()) == plain.blob, "the bytes that hash to the asked name win"
        assert read(cache.get(packed.digest).compressed()) == packed.blob


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_a_layer_hands_out_the_file_that_a_form_is_in(tmp_path: Path, form: Form) -> None:
    layer = sample(1)
    with layercache.open([f"file://{tmp_path}/cache", "memory://"]) as cache:
        lazy = cache.layer(layer.digest, diff_id=layer.diff_id, fetch=Fetch(layer.blob))
        assert lazy.path(form) is None
        lazy.fill("both")
        path = lazy.path(form)
        assert path is not None
        assert Path(path).read_bytes() == (layer.blob if form == "compressed" else layer.tar)
        with tarfile.open(path) as files:
            assert files.getnames()
    with layercache.open("memory://") as cache:
        assert put(cache, layer.blob).path(form) is None


def test_no_file_is_handed_out_whose_size_is_wrong(tmp_path: Path) -> None:
    with layercache.open(f"file://{tmp_path}/cache") as cache:
        layer = put(cache, sample(1).blob)
        path = layer.path("compressed")
        assert path
        Path(path).chmod(0o600)
        Path(path).write_bytes(b"cut")
        assert layer.path("compressed") is None
