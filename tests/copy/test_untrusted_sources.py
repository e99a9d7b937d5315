"""Copying out of a store that others can write to: its word replaces nothing, and stays its word."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from fixtures.layers import read, sample
from fixtures.stores import fact, far, near, open_cache, write, write_blob
from servers.images import make_image, sample_layers

from layercache.copy import Copied, Copy, Selection
from layercache.errors import LayercacheError, NotFoundError
from layercache.oci.descriptor import encode
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference
from layercache.tiers import keys
from layercache.tiers.gate import gated
from layercache.tiers.tag_origin import COPIED_FROM
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Image

    from layercache.tiers.backend.tier import BackendTier
    from layercache.tiers.tier import Tier

GOOD, EVIL = make_image(sample_layers(1)), make_image(sample_layers(2))
LAYER, OTHER = sample(1), sample(2)
REFERENCE = Reference.parse("registry.example/team/app:1")
KEY = keys.image_tag("registry.example", "team/app", "1")
BY_DIGEST = keys.image_digest("registry.example", "team/app", GOOD.descriptor.digest)


def keep(tier: Tier, image: Image, key: str = KEY) -> None:
    for data in (*image.blobs.values(), *(data for _, data in image.documents.values())):
        tier.blobs.put(Digest.of(data), data)
    tier.images.tag(key, image.descriptor)


def stranger() -> BackendTier:
    backend = MemoryBackend()
    backend.url = "memory://stranger"
    return far(backend)


def copy(source: Tier, target: Tier, *references: Reference) -> Copied:
    return Copy(source, target, Selection(images=references), jobs=2).run()


@pytest.mark.parametrize("chosen", [(), (REFERENCE,)], ids=["everything", "the image by name"])
def test_a_tag_of_an_untrusted_source_replaces_none_however_new_it_is(chosen: tuple[Reference, ...]) -> None:
    source, target = stranger(), near()
    keep(target, GOOD)
    keep(source, EVIL)
    source.images.time = lambda key: time.time() + 60  # type: ignore[method-assign]
    report = copy(source, target, *chosen)
    assert target.images.get(KEY) == GOOD.descriptor
    assert (report.images, report.tags_kept, report.wrong) == (0, 1, 0)


def test_a_tag_that_a_trusted_source_has_learnt_later_replaces_an_older_one() -> None:
    backend = MemoryBackend()
    backend.url = "memory://own"
    source, target = near(backend), near()
    keep(target, EVIL)
    keep(source, GOOD)
    source.images.time = lambda key: time.time() + 60  # type: ignore[method-assign]
    report = copy(source, target)
    assert target.images.get(KEY) == GOOD.descriptor
    assert (report.images, report.tags_kept) == (1, 0)


def test_a_tag_that_is_new_to_the_target_is_marked_as_the_sources_word_and_copied_once() -> None:
    source, target = stranger(), near()
    keep(source, GOOD)
    assert copy(source, target).images == 1
    named = target.images.get(KEY)
    assert (named.digest, named.annotations) == (GOOD.descriptor.digest, {COPIED_FROM: "memory://stranger"})
    again = copy(source, target)
    assert (again.images, again.tags_kept) == (0, 0)


def test_the_mark_goes_along_when_the_copy_is_copied() -> None:
    source, between, target = stranger(), near(), near()
    between.name = "between"
    keep(source, GOOD)
    copy(source, between)
    copy(between, target)
    assert target.images.get(KEY).annotations == {COPIED_FROM: "memory://stranger"}


def test_an_image_by_digest_comes_without_a_mark_and_under_no_other_digest() -> None:
    source, target = stranger(), near()
    keep(source, GOOD, BY_DIGEST)
    assert copy(source, target).images == 1
    assert target.images.get(BY_DIGEST) == GOOD.descriptor
    lying, other = stranger(), near()
    keep(lying, EVIL, BY_DIGEST)
    report = copy(lying, other)
    assert (report.images, report.wrong) == (0, 1)
    with pytest.raises(NotFoundError):
        other.images.get(BY_DIGEST)


def on_disk(folder: Path) -> BackendTier:
    return near(gated(LocalBackend(str(folder)), lambda: "layercache upgrade"))


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """The user's own cache is ``own``; somebody else has written into ``other``."""
    monkeypatch.setenv("LAYERCACHE_URL", f"file://{tmp_path}/own")
    other = on_disk(tmp_path / "other")
    write_blob(other, OTHER.digest, OTHER.blob)
    other.facts.record(fact(OTHER.digest, LAYER.diff_id, len(OTHER.blob)))
    keep(other, EVIL)
    for path in (tmp_path / "other" / "images").rglob("*"):
        os.utime(path, (time.time() + 60,) * 2)
    return Caller(f"file://{tmp_path}/own")


def test_another_folder_on_this_machine_is_not_believed_unless_it_is_said_to_be(
    victim: Caller, tmp_path: Path
) -> None:
    keep(on_disk(tmp_path / "own"), GOOD)
    said = victim("copy", f"file://{tmp_path}/other", victim.url).stderr
    assert "1 tag of TO not replaced, since FROM is not trusted" in said
    own = on_disk(tmp_path / "own")
    assert own.images.get(KEY).digest == GOOD.descriptor.digest
    assert [each.computed for each in own.facts.scan()] == [False]
    with open_cache(own) as cache, pytest.raises(LayercacheError):
        read(cache.get(LAYER.diff_id).compressed())
    victim("copy", f"file://{tmp_path}/other?trusted=true", victim.url)
    assert own.images.get(KEY).digest == EVIL.descriptor.digest


def test_the_users_own_cache_is_believed_when_it_is_copied_from(victim: Caller, tmp_path: Path) -> None:
    own = on_disk(tmp_path / "own")
    keep(own, GOOD)
    own.facts.record(fact(LAYER.digest, LAYER.diff_id, len(LAYER.blob)))
    victim("copy", victim.url, f"file://{tmp_path}/backup")
    backup = on_disk(tmp_path / "backup")
    assert backup.images.get(KEY) == GOOD.descriptor
    assert [each.computed for each in backup.facts.scan()] == [True]


def test_pull_offline_prints_whose_word_a_tag_is(victim: Caller, tmp_path: Path) -> None:
    pulled = ["--offline", "pull", "--json", "--platform", "linux/amd64", str(REFERENCE)]
    beside = victim("--cache", f"file://{tmp_path}/other", *pulled).stderr
    assert (
        f"warning: file://{tmp_path}/other: only this tier says that {REFERENCE} is {EVIL.descriptor.digest}"
        in beside
    )
    victim("copy", f"file://{tmp_path}/other", victim.url)
    assert f"warning: file://{tmp_path}/other: only this tier says that {REFERENCE}" in victim(*pulled).stderr
    write(on_disk(tmp_path / "own"), KEY, encode(EVIL.descriptor))
    assert "warning" not in victim(*pulled).stderr, "as a pull from the registry leaves it"
