"""A fact is written as an OCI descriptor, and what is torn, foreign or hostile is no fact."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layercache.errors import FormatError
from layercache.oci.descriptor import OCI_LAYER_GZIP, OCTETS, Descriptor, decode, encode
from layercache.oci.digest import DiffID, Digest
from layercache.tiers.association import DIFF_ID, UNCOMPRESSED_SIZE, Association
from layercache.value import replace

FACT = Association(
    digest=Digest.of(b"blob"),
    diff_id=DiffID.of(b"tar", "sha512"),
    size=4,
    media_type=OCI_LAYER_GZIP,
    uncompressed_size=3,
    computed=True,
)


def written(fact: Association) -> bytes:
    return encode(fact.descriptor())


def read(data: bytes, *, computed: bool) -> Association:
    return Association.of(decode(data, Descriptor, "a fact"), computed=computed)


def test_a_fact_is_a_descriptor_of_the_blob_with_the_rest_in_annotations() -> None:
    assert json.loads(written(FACT)) == {
        "mediaType": OCI_LAYER_GZIP,
        "digest": Digest.of(b"blob"),
        "size": 4,
        "annotations": {DIFF_ID: DiffID.of(b"tar", "sha512"), UNCOMPRESSED_SIZE: "3"},
    }


@given(
    st.binary(),
    st.sampled_from(["sha256", "sha512"]),
    st.integers(0, (1 << 63) - 1),
    st.none() | st.integers(0, 10**18 - 1),
    st.booleans(),
)
def test_a_fact_is_read_as_it_was_written(
    data: bytes, algorithm: str, size: int, inside: int | None, computed: bool
) -> None:
    fact = Association(
        digest=Digest.of(data, algorithm),
        diff_id=DiffID.of(data, algorithm),
        size=size,
        uncompressed_size=inside,
        computed=computed,
    )
    assert read(written(fact), computed=computed) == fact


def test_a_size_inside_may_be_unknown_and_other_annotations_may_be_there() -> None:
    fact = replace(FACT, uncompressed_size=None)
    document = json.loads(written(fact))
    assert UNCOMPRESSED_SIZE not in document["annotations"]
    document["annotations"]["org.example"] = "x"
    document["data"] = "eA=="
    assert read(json.dumps(document).encode(), computed=True) == fact


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(written(FACT)), **fields}).encode()


def test_a_media_type_that_is_null_is_absent() -> None:
    fact = read(changed(mediaType=None), computed=True)
    assert fact == replace(FACT, media_type=OCTETS)


def test_whether_it_was_computed_is_said_by_the_place_and_not_by_the_document() -> None:
    assert not read(written(FACT), computed=False).computed


@pytest.mark.parametrize("length", range(len(written(FACT))))
def test_a_torn_fact_is_none(length: int) -> None:
    with pytest.raises(FormatError):
        read(written(FACT)[:length], computed=True)


@pytest.mark.parametrize(
    "data",
    [
        bytes(500),
        b"\xff\xfe{}",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        written(FACT) + b"{}",
        b'{"x":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        changed(digest="sha256:" + "g" * 64),
        changed(digest="md5:" + "0" * 32),
        changed(digest=7),
        changed(digest=None),
        changed(size=-1),
        changed(size=1.5),
        changed(size="4"),
        changed(size=None),
        changed(size=1 << 63),
        changed(size=10**30),
        changed(annotations=None),
        changed(annotations={}),
        changed(annotations={DIFF_ID: "sha256:" + "A" * 64}),
        changed(annotations={DIFF_ID: ""}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: "-3"}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: ""}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: " 3"}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: "3\n"}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: "\N{ARABIC-INDIC DIGIT ONE}"}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: "9" * 5000}),
        changed(annotations={DIFF_ID: FACT.diff_id, UNCOMPRESSED_SIZE: 3}),
        changed(mediaType="application/vnd.oci.image.manifest.v1+json"),
        changed(mediaType=""),
    ],
)
def test_what_is_foreign_or_hostile_is_no_fact(data: bytes) -> None:
    with pytest.raises(FormatError):
        read(data, computed=True)


@given(st.binary())
def test_any_bytes_are_judged_with_a_format_error_at_most(data: bytes) -> None:
    with pytest.raises(FormatError):
        read(data, computed=True)


def test_a_blob_of_an_unstated_type_may_have_a_tar() -> None:
    assert read(changed(mediaType=OCTETS), computed=True).media_type == OCTETS
