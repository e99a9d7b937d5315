"""Indexes that somebody has planted in a cache: nested without end, listing themselves, or listing thousands.

Only who asks for such an image gets an error. Everything else works, and costs a bounded number of reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from fixtures.layers import put, read, sample
from fixtures.stores import Store, content, near, open_cache, store_of, write_blob
from fixtures.trees import CONFIG, MANIFEST, Tree

from layercache import FormatError, LayercacheError
from layercache.cli.program import program
from layercache.copy import Copy, Selection
from layercache.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.image_tree import MAX_DEPTH
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout.index_writer import write_index
from layercache.tiers.policy import Policy
from layercache.upkeep import prune, verify
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Sample

    Plant = Callable[[Tree], Descriptor]

pytestmark = pytest.mark.slow

GOOD = keys.image_tag("registry.example", "good", "1")
PLANTED = keys.image_tag("registry.example", "planted", "1")
NAME = "registry.example/planted:1"


def nested(tree: Tree) -> Descriptor:
    return tree.nested(1200)


def nested_doubly(tree: Tree) -> Descriptor:
    root = tree.manifest()
    for _ in range(1200):  # 2 to the power of 1,200 ways lead down
        root = tree.index(root, root)
    return root


def lists_itself(tree: Tree) -> Descriptor:
    root = Descriptor(media_type=OCI_INDEX, digest=Digest.of(b"not the hash of it"), size=0)
    data = tree.documents[tree.index(root, root, tree.manifest()).digest]
    root = Descriptor(media_type=OCI_INDEX, digest=root.digest, size=len(data))
    tree.documents[root.digest] = data
    return root


def lists_thousands(tree: Tree) -> Descriptor:
    entries = [
        Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"%d" % number), size=1)
        for number in range(10_000)
    ]
    return tree.index(*entries)


def diamond(tree: Tree) -> Descriptor:
    root = tree.manifest()
    for number in range(1, MAX_DEPTH):
        root = tree.index(root, tree.manifest(number), root)
    return root


TREES = [nested, nested_doubly, lists_itself, lists_thousands, diamond]


def plant(tier: BackendTier, make: Plant) -> Tree:
    """A sound image and a planted one, with their documents."""
    tree = Tree()
    good, root = tree.index(tree.manifest(-1)), make(tree)
    for digest, data in tree.documents.items():
        write_blob(tier, digest, data)
    write_blob(tier, MANIFEST.config.digest, CONFIG)
    tier.images.tag(GOOD, good)
    tier.images.tag(PLANTED, root)
    return tree


@pytest.mark.parametrize("make", TREES)
def test_every_command_works_in_a_cache_with_a_planted_index(
    make: Plant, tmp_path: Path, sample: Sample
) -> None:
    url, copied = f"file://{tmp_path}/cache?max_size=100MB", f"file://{tmp_path}/copied"
    plant(BackendTier(LocalBackend(str(tmp_path / "cache"), sync=False), Policy(trusted=True)), make)
    file = tmp_path / "layer"
    file.write_bytes(SAMPLE.blob)
    for command in (
        ["pull", f"oci:{sample.layout}:image"], ["put", str(file)],
        ["get", str(SAMPLE.digest), "-o", "/dev/null"],
        ["images"], ["ls"], ["index"], ["stats"], ["info", str(SAMPLE.digest)], ["rm", str(SAMPLE.digest)],
        ["prune", "--max-size", "50MB"], ["export", "registry.example/good:1", f"oci:{tmp_path}/exported"],
    ):  # fmt: skip
        done = CliRunner().invoke(program, ["--cache", url, *command])
        assert done.exit_code == 0, (command, done.output, done.exception)
    done = CliRunner().invoke(program, ["copy", url, copied])
    assert done.exit_code in (0, 3), done.output
    done = CliRunner().invoke(program, ["--cache", copied, "images", "--json"])
    assert "registry.example/good:1" in done.output
    done = CliRunner().invoke(program, ["--cache", url, "verify"])
    assert done.exit_code in (0, 3), done.output
    done = CliRunner().invoke(program, ["--cache", url, "images", "--json"])
    assert "registry.example/good:1" in done.output


SAMPLE = sample(1)


@pytest.mark.parametrize("make", [nested, nested_doubly, lists_thousands])
def test_a_planted_index_is_a_format_error_for_the_one_who_asks_for_it(make: Plant, tmp_path: Path) -> None:
    tier = near()
    plant(tier, make)
    with open_cache(tier, offline=True) as cache:
        with pytest.raises(FormatError):
            cache.platforms(NAME)
        with pytest.raises(FormatError):
            cache.export(NAME, f"oci:{tmp_path}/exported", platform="all")
        if make is nested:  # elsewhere a platform is chosen, or none is found, without a look at all the rest
            with pytest.raises(FormatError):
                cache.image(NAME, platform="linux/amd64")
            with pytest.raises(FormatError):
                cache.export(NAME, f"oci:{tmp_path}/exported", platform="linux/amd64")
        assert len(cache.platforms("registry.example/good:1")) == 1
        cache.export("registry.example/good:1", f"oci:{tmp_path}/exported", platform="all")
    report = Copy(tier, near(Store(MemoryBackend())), Selection()).run()
    assert report.images == 1
    assert [(failure.name, type(failure.error)) for failure in report.failures] == [(NAME, FormatError)]
    assert [each.key for each in verify(tier) if each.problem] == [PLANTED]


def test_an_index_that_is_not_what_its_digest_says_is_refused() -> None:
    tier = near()
    plant(tier, lists_itself)
    with open_cache(tier, offline=True) as cache:
        with pytest.raises(LayercacheError):
            cache.platforms(NAME)
        assert len(cache.platforms("registry.example/good:1")) == 1


def asked(tier: BackendTier, work: Callable[[], object]) -> list[str]:
    """The blobs that were opened."""
    store = store_of(tier)
    store.asked.clear()
    work()
    return store.did("open", below=keys.BLOBS)


@pytest.mark.parametrize("make", TREES)
def test_what_looks_below_every_image_reads_each_document_once(make: Plant) -> None:
    tier = near(Store(MemoryBackend()))
    tree = plant(tier, make)
    once = {keys.blob(digest) for digest in tree.documents}
    # Two documents and a config of the sound image; 1 + 8 levels, or the planted image's own documents.
    bound = 3 + 2 * (MAX_DEPTH + 2)
    with open_cache(tier, offline=True) as cache:
        put(cache, SAMPLE.blob)
        for work in (
            lambda: cache.delete(SAMPLE.digest),
            lambda: prune(tier, max_size=10**9),
            lambda: write_index(tier),
        ):
            opened = [key for key in asked(tier, work) if key in once]
            assert len(opened) == len(set(opened)) <= bound, work


def test_a_manifest_that_several_indexes_list_is_copied_and_exported_once(tmp_path: Path) -> None:
    tier, target = near(Store(MemoryBackend())), near(Store(MemoryBackend(), url="store://target"))
    tree = plant(tier, diamond)
    Copy(tier, target, Selection()).run()
    created = store_of(target).did("create", below=keys.BLOBS)
    assert len(created) == len(set(created))
    assert {keys.blob(digest) for digest in tree.documents} <= set(content(target))
    with open_cache(tier, offline=True) as cache:
        exported = cache.export(NAME, f"oci:{tmp_path}/exported", platform="all")
        assert exported.blobs == len(tree.documents) - 2 + 1  # without the sound image, with the one config
        assert len(cache.platforms(NAME)) == MAX_DEPTH


def test_forgetting_a_planted_image_frees_what_can_be_reached_and_nothing_of_another() -> None:
    tier = near()
    plant(tier, nested)
    with open_cache(tier, offline=True) as cache:
        layer = put(cache, SAMPLE.blob)
        cache.forget_image(NAME, blobs=True)
        assert read(layer.compressed()) == SAMPLE.blob
        assert len(cache.platforms("registry.example/good:1")) == 1
        prune(tier, max_size=10**9)
    assert [key for key, _ in tier.images.scan()] == [GOOD]
