"""A blob goes on where its stream broke off, whatever the server makes of ranges; never with wrong bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from registry.asking import Waits, ranges, read, repository_of, source_of
from servers.images import noise
from servers.lying import (
    LyingRegistry,
    both,
    changed,
    cut_off,
    ignoring_range,
    short,
    silent,
    status,
    without_length,
)
from servers.odd_answers import part, to_ranges

from layercache.errors import DigestMismatchError, SourceError
from layercache.oci.digest import Digest
from layercache.registry.ranges import PART_MIN

if TYPE_CHECKING:
    from servers.lying import Answer, Fault


BLOB = noise(700_000)
REST = "bytes=300000-699999"


def test_a_body_that_breaks_off_goes_on_where_it_was(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), cut_off(200_000), cut_off(0))
    assert read(source_of(lying, waits), blob) == BLOB
    assert ranges(lying) == [None, REST, "bytes=500000-699999", "bytes=500000-699999"]


@pytest.mark.timeout(8)  # the time to connect, 10 s, is not what is waited for
def test_a_stream_that_falls_silent_goes_on_where_it_was(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", silent(300_000))
    assert read(source_of(lying, waits, read_timeout=1), blob) == BLOB


def test_an_early_end_without_a_stated_length_goes_on_where_it_was(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", without_length(missing=100_000))
    assert read(source_of(lying, waits), blob) == BLOB
    assert lying.asked("/blobs/")[1].headers["range"] == "bytes=600000-699999"


def test_a_server_that_knows_no_ranges_is_read_from_the_start_again(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), both(ignoring_range, cut_off(100_000)), ignoring_range)
    assert read(source_of(lying, waits), blob) == BLOB
    lying.on("/blobs/", ignoring_range)
    assert read(source_of(lying, waits), blob, 500_000) == BLOB[500_000:]


def test_breaks_without_progress_end_in_an_error_that_says_where(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), *[cut_off(0)] * 20)
    with pytest.raises(
        SourceError, match=r"broke off 5 times at byte 300000 of 700000: the connection was closed"
    ):
        read(source_of(lying, waits), blob)
    assert len(lying.asked("/blobs/")) == 5


def test_progress_between_breaks_starts_the_count_anew(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB * 6)
    lying.on("/blobs/", *[cut_off(300_000)] * 12)
    assert read(source_of(lying, waits), blob) == BLOB * 6


def test_a_stated_length_that_is_wrong_is_a_mismatch_at_once(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", short(1))
    with pytest.raises(DigestMismatchError, match="699999 bytes"):
        source_of(lying, waits).open_blob(blob)
    assert len(lying.asked("/blobs/")) == 1


def test_more_bytes_than_stated_are_a_mismatch(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", without_length(b"more"))
    with pytest.raises(DigestMismatchError, match="goes on after"):
        read(source_of(lying, waits), blob)


def test_a_body_without_a_stated_length_is_read_to_its_end_and_its_connection_kept(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[without_length()] * 3)
    source = source_of(lying, waits)
    assert all(read(source, blob) == BLOB for _ in range(3))
    assert lying.connections == 1


UNHELPFUL: dict[str, Fault] = {
    "416, as go-containerregistry's own registry": status(416),
    "400 of a CDN": status(400, b"<Error/>"),
    "403 of a signature without ranges": status(403),
    "405": status(405),
    "412": status(412),
    "501": status(501),
    "the whole as a part": part(0, 700_000),
    "an earlier part": part(100_000, 200_000),
    "a later part": part(400_000, 700_000),
    "no range stated": changed(Content_Range=""),
    "a garbled range": changed(Content_Range="bytes 7"),
    "another unit": changed(Content_Range="items 300000-699999/700000"),
    "a range of another size": changed(Content_Range="bytes 300000-699999/800000"),
    "a range beyond the end": changed(Content_Range="bytes 300000-700000/700000"),
    "a range that ends before it begins": changed(Content_Range="bytes 300000-299999/700000"),
    "several ranges": changed(Content_Range="", Content_Type="multipart/byteranges; boundary=x"),
    "a part too small to go on by": part(300_000, 300_001),
}


@pytest.mark.parametrize("answer", UNHELPFUL.values(), ids=UNHELPFUL)
def test_where_the_rest_is_not_given_the_blob_is_read_from_its_start_at_once(
    answer: Fault, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), answer)
    assert read(source_of(lying, waits), blob) == BLOB
    assert ranges(lying)[:2] == [None, REST]
    assert len(ranges(lying)) <= 3
    assert len(waits) == 1, "only the break is waited for"


@pytest.mark.parametrize("answer", UNHELPFUL.values(), ids=UNHELPFUL)
def test_a_tier_is_read_on_in_the_same_ways(answer: Fault, lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), answer)
    with repository_of(lying, waits).open_blob(blob.digest) as reader:
        assert reader.read() == BLOB
    assert ranges(lying)[:2] == [None, REST]
    assert len(ranges(lying)) <= 3


@pytest.mark.parametrize("answer", [cut_off(0), status(500), status(502)], ids=["cut", "500", "502"])
@pytest.mark.parametrize("tier", [False, True], ids=["image", "tier"])
def test_a_server_that_fails_at_every_range_is_asked_without_one(
    answer: Fault, tier: bool, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), *[to_ranges(answer)] * 20)
    opened = (
        repository_of(lying, waits).open_blob(blob.digest)
        if tier
        else source_of(lying, waits).open_blob(blob)
    )
    with opened as reader:
        assert reader.read() == BLOB
    assert ranges(lying)[1] == REST
    assert ranges(lying)[-1] is None
    assert len(ranges(lying)) <= 7


def test_a_smaller_part_is_gone_on_from_without_a_wait(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", cut_off(300_000), part(300_000, 400_000), part(400_000, 600_000))
    assert read(source_of(lying, waits), blob) == BLOB
    assert ranges(lying) == [None, REST, "bytes=400000-699999", "bytes=600000-699999"]
    assert len(waits) == 1


def test_a_body_shorter_than_its_range_counts_by_its_length(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", short(1))
    assert read(source_of(lying, waits), blob, 1000) == BLOB[1000:]
    assert ranges(lying) == ["bytes=1000-699999", "bytes=699999-699999"]


def test_a_part_that_nobody_asked_for_is_asked_for_again(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", part(100, 700_000))
    assert read(source_of(lying, waits), blob) == BLOB
    assert ranges(lying) == [None, None]


@pytest.mark.parametrize("size", [1, PART_MIN - 1])
def test_a_server_that_sends_crumbs_costs_a_bounded_number_of_requests(
    size: int, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[cut_off(size)] * 1000)
    with pytest.raises(SourceError, match="broke off 5 times"):
        read(source_of(lying, waits), blob)
    assert len(ranges(lying)) == 5


def test_a_server_without_ranges_that_always_breaks_costs_a_bounded_number_of_requests(
    lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", *[both(ignoring_range, cut_off(count)) for count in range(50_000, 700_000, 50_000)])
    with pytest.raises(SourceError, match="sent from its start each time"):
        read(source_of(lying, waits), blob)
    assert len(ranges(lying)) == 6


def test_other_bytes_after_a_break_do_not_pass_for_the_blob(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)

    def shifted(_: object, answer: Answer) -> None:
        answer.body = answer.body[1:] + b"x"

    lying.on("/blobs/", cut_off(300_000), shifted)
    assert Digest.of(read(source_of(lying, waits), blob)) != blob.digest


@pytest.mark.parametrize(
    "answer", [status(416), ignoring_range, changed(Content_Range="bytes 500000-699999/*")]
)
def test_a_tier_is_read_from_an_offset_whatever_the_server_makes_of_ranges(
    answer: Fault, lying: LyingRegistry, waits: Waits
) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("/blobs/", answer)
    with repository_of(lying, waits).open_blob(blob.digest, 500_000) as reader:
        assert reader.size == 200_000
        assert reader.read() == BLOB[500_000:]


def test_a_tier_s_blob_of_no_stated_length_is_counted(lying: LyingRegistry, waits: Waits) -> None:
    blob = lying.add_blob(BLOB)
    lying.on("HEAD", changed(Content_Length="0"))
    lying.on("GET", without_length())
    with repository_of(lying, waits).open_blob(blob.digest) as reader:
        assert reader.size == len(BLOB)
        assert reader.read() == BLOB
