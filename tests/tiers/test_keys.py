"""Every object name that the cache uses: well formed, apart from each other, and taken apart again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from layercache.backend import check_key
from layercache.oci.digest import HEX_LENGTH, DiffID, Digest, Hash
from layercache.tiers import keys

A, B = "a" * 64, "b" * 64

few_examples = settings(max_examples=60)


def hashes() -> st.SearchStrategy[str]:
    def of(algorithm: str, length: int) -> st.SearchStrategy[str]:
        digits = st.text("0123456789abcdef", min_size=length, max_size=length)
        return digits.map(lambda text: f"{algorithm}:{text}")

    return st.one_of(*(of(algorithm, length) for algorithm, length in HEX_LENGTH.items()))


digests = hashes().map(Digest)
diff_ids = hashes().map(DiffID)

registries = st.from_regex(
    r"([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]{1,5}){0,2}|\[[0-9a-f:]{2,9}\])(:[0-9]{1,5})?",
    fullmatch=True,
)
# The OCI distribution-spec's grammars of <name> and <reference> ("Pulling manifests").
repositories = st.from_regex(
    r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}){0,3}",
    fullmatch=True,
)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)


def test_the_names_are_the_documented_ones() -> None:
    digest, diff_id = Digest(f"sha256:{A}"), DiffID(f"sha256:{B}")
    assert keys.blob(digest) == f"blobs/sha256/{A}"
    assert keys.record(digest) == f"records/sha256/{A}"
    assert keys.record(diff_id) == f"records/sha256/{B}"
    images = "images/ghcr.io/a/b"
    assert keys.image_tag("ghcr.io", "a/b", "v1") == f"{images}/_tags/v1"
    assert keys.image_digest("ghcr.io", "a/b", digest) == f"{images}/_digests/sha256-{A}"
    assert keys.image_tag("[::1]:5000", "a", "v1") == "images/_::1_:5000/a/_tags/v1"


@few_examples
@given(digests, diff_ids)
def test_every_name_of_a_layer_is_a_key_and_no_key_is_a_folder(digest: Digest, diff_id: DiffID) -> None:
    made = [keys.blob(digest), keys.record(digest), keys.record(diff_id)]
    assert [check_key(key) for key in made] == made
    assert len(set(made)) == 3 - (digest == str(diff_id))
    folders = [f"{key}/" for key in made]
    assert not any(key.startswith(folder) for key in made for folder in folders)


@few_examples
@given(hashes())
def test_a_blobs_key_leads_back_to_its_hash(name: str) -> None:
    assert keys.blob_name(keys.blob(Hash(name))) == name


@few_examples
@given(st.text() | hashes().map(lambda name: f"blobs/{name}") | hashes().map(lambda name: f"blobs/x/{name}"))
def test_a_key_of_something_else_is_no_blobs(key: str) -> None:
    assert keys.blob_name(key) is None


def test_strange_files_among_the_blobs_are_no_blobs() -> None:
    for name in (
        "",
        "sha256",
        "sha256/",
        f"sha256/{A}/x",
        f"sha256/{A}.tmp",
        f"md5/{A}",
        f"sha256/{A.upper()}",
    ):
        assert keys.blob_name(f"blobs/{name}") is None
    assert keys.blob_name(f"blobs/sha256/{A}") == f"sha256:{A}"


@few_examples
@given(registries, repositories, tags, digests)
def test_an_images_names_are_keys_that_lead_back_to_its_reference(
    registry: str, repository: str, tag: str, digest: Digest
) -> None:
    by_tag = keys.image_tag(registry, repository, tag)
    by_digest = keys.image_digest(registry, repository, digest)
    assert check_key(by_tag) == by_tag
    assert check_key(by_digest) == by_digest
    assert keys.image_name(by_tag) == f"{registry}/{repository}:{tag}"
    assert keys.image_name(by_digest) == f"{registry}/{repository}@{digest}"


@few_examples
@given(repositories, repositories, tags)
def test_no_images_name_is_a_folder_of_anothers(one: str, other: str, tag: str) -> None:
    first, second = (keys.image_tag("r.io", repository, tag) for repository in (one, other))
    assert not second.startswith(f"{first}/")
    assert (first == second) is (one == other)


@few_examples
@given(hashes())
def test_a_records_key_leads_back_to_its_name(name: str) -> None:
    assert keys.record_name(keys.record(Hash(name))) == name


@few_examples
@given(st.text(max_size=60), digests)
def test_the_key_of_something_else_is_not_a_records(text: str, digest: Digest) -> None:
    assert keys.record_name(text) is None
    assert keys.record_name(keys.blob(digest)) is None
    assert keys.record_name(f"records/x/{text}") is None
