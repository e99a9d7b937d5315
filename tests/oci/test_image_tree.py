"""The walk of an image's tree: each document once, by its shortest path, within two limits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from fixtures.trees import MANIFEST, Tree

from layercache import FormatError, NotFoundError
from layercache.oci import image_tree
from layercache.oci.descriptor import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.image_tree import MAX_DEPTH, children_first, walk

if TYPE_CHECKING:
    from layercache.errors import LayercacheError


def digests(tree: Tree, root: Descriptor) -> list[Digest]:
    return [node.descriptor.digest for node in walk(tree.read, root)]


def failures(tree: Tree, root: Descriptor) -> list[tuple[Digest, type[LayercacheError]]]:
    """What a walk that goes on after failures could not read."""
    found: list[tuple[Digest, type[LayercacheError]]] = []
    for _ in walk(tree.read, root, lambda each, error: found.append((each.digest, type(error)))):
        pass
    return found


def test_the_root_comes_first_then_each_level_in_the_order_of_its_index() -> None:
    tree = Tree()
    a, b, c = (tree.manifest(number) for number in range(3))
    inner = tree.index(c)
    root = tree.index(a, inner, b)
    assert digests(tree, root) == [each.digest for each in (root, a, inner, b, c)]
    assert [node.depth for node in walk(tree.read, root)] == [0, 1, 1, 1, 2]


def test_a_manifest_that_many_ways_lead_to_is_read_once() -> None:
    tree = Tree()
    bottom = tree.manifest()
    for level in range(1, MAX_DEPTH + 1):  # 3 to the power of 8 ways lead down
        bottom = tree.index(bottom, bottom, bottom, tree.manifest(level))
    nodes = list(walk(tree.read, bottom))
    assert len(nodes) == 2 * MAX_DEPTH + 1
    assert set(Counter(tree.asked).values()) == {1}


def test_an_index_that_lists_itself_is_read_once() -> None:
    tree = Tree()
    root = Descriptor(media_type="application/vnd.oci.image.index.v1+json", digest=Digest.of(b"it"), size=0)
    tree.documents[root.digest] = tree.documents[tree.index(root, tree.manifest()).digest]
    assert digests(tree, root) == [root.digest, tree.manifest().digest]
    assert tree.asked.count(root.digest) == 1
    assert len(children_first(walk(tree.read, root))) == 2


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 1200])
def test_indexes_nested_deeper_than_the_limit_are_an_error_and_are_not_read(depth: int) -> None:
    tree = Tree()
    root = tree.nested(depth)
    if depth > MAX_DEPTH:
        with pytest.raises(FormatError, match="inside 8 others"):
            list(walk(tree.read, root))
        tree.asked.clear()
    assert len(failures(tree, root)) == (depth > MAX_DEPTH)
    assert len(tree.asked) == MAX_DEPTH + 1


@pytest.mark.parametrize("shortcut_first", [True, False])
def test_the_shortest_path_decides_how_deep_a_document_is(shortcut_first: bool) -> None:
    tree = Tree()
    inner = tree.nested(MAX_DEPTH - 1)
    deep = inner
    for _ in range(MAX_DEPTH - 1):
        deep = tree.index(deep)
    root = tree.index(inner, deep) if shortcut_first else tree.index(deep, inner)
    assert failures(tree, root) == []


def test_more_documents_than_the_limit_are_an_error_and_none_of_them_is_read() -> None:
    tree = Tree()
    children = [
        Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"%d" % number), size=1)
        for number in range(10_000)
    ]
    root = tree.index(*children)
    assert failures(tree, root) == [(root.digest, FormatError)]
    assert tree.asked == [root.digest]
    fewer = tree.index(*children[1:])
    assert failures(tree, fewer) == [(child.digest, NotFoundError) for child in children[1:]]


def test_the_limit_holds_for_the_tree_and_not_for_one_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_tree, "MAX_DOCUMENTS", 12)
    tree = Tree()
    indexes = [tree.index(*(tree.manifest(4 * i + j) for j in range(4))) for i in range(3)]
    root = tree.index(*indexes)
    assert failures(tree, root) == [(indexes[2].digest, FormatError)]
    assert len(tree.asked) == 1 + 3 + 4 + 4


def test_what_is_missing_or_broken_fails_alone() -> None:
    tree = Tree()
    gone = tree.manifest(1)
    del tree.documents[gone.digest]
    broken = tree.manifest(2)
    tree.documents[broken.digest] = b"{"
    root = tree.index(gone, broken, tree.manifest(3))
    assert failures(tree, root) == [(gone.digest, NotFoundError), (broken.digest, FormatError)]
    with pytest.raises(NotFoundError):
        digests(tree, root)


def test_a_document_comes_after_all_that_it_lists() -> None:
    tree = Tree()
    shared = tree.index(tree.manifest(1), tree.manifest(2))
    root = tree.index(shared, tree.index(tree.index(shared), tree.manifest(3)))
    ordered = children_first(walk(tree.read, root))
    places = {node.descriptor.digest: place for place, node in enumerate(ordered)}
    assert len(places) == 7
    assert ordered[-1].descriptor == root
    for node in ordered:
        assert all(places[child.digest] < places[node.descriptor.digest] for child in node.children)


def test_the_blobs_of_a_document_are_its_config_and_layers_or_the_entries_of_the_index() -> None:
    tree = Tree()
    layer = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"layer"), size=5)
    top, below = walk(tree.read, tree.index(layer, tree.manifest()))
    assert list(top.blobs()) == [(layer.digest, False), (tree.manifest().digest, True)]
    assert list(below.blobs()) == [(MANIFEST.config.digest, True)]
