"""An image's tree of documents: an index, the manifests and indexes that it lists, and what those name.

Everything that looks below an image's root walks its tree here, so limits are enforced in one place. The
documents may be anybody's: an index can list itself, list the same manifest many times, or be nested deeper
than any stack. Hence the walk is iterative, reads each document once, and stops at two limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import FormatError, IntegrityError, NotFoundError
from layercache.oci.descriptor import INDEXES, MANIFESTS, Descriptor, Index, Manifest, decode, media_type_of
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from layercache.oci.digest import Digest

    Read = Callable[[Descriptor], bytes]
    Failed = Callable[[Descriptor, NotFoundError | IntegrityError], object]

MAX_DEPTH = 8
"""Indexes that may be nested in each other. OCI sets no limit; real images have at most two."""

MAX_DOCUMENTS = 10_000
"""Manifests and indexes in one tree: bounds memory (some MB) and reads. Real images have fewer than 100."""


class Node(Value, frozen=True):
    """A manifest or an index of the tree. ``depth`` is 0 for the root.

    ``descriptor`` is what the parent says of it, ``kind`` the document's own media type. ``parsed`` is None
    for a kind that is neither an index nor a manifest.
    """

    descriptor: Descriptor
    kind: str
    parsed: Index | Manifest | None
    data: bytes
    depth: int

    @property
    def children(self) -> list[Descriptor]:
        """The manifests and indexes that an index lists."""
        return self.parsed.documents if isinstance(self.parsed, Index) else []

    def blobs(self) -> Iterator[tuple[Digest, bool]]:
        """Every blob that this document names, and whether it is a document itself.

        Those of an index are its entries, those of a manifest its config and its layers.
        """
        match self.parsed:
            case Index() as index:
                yield from ((blob.digest, False) for blob in index.blobs)
                yield from ((child.digest, True) for child in index.documents)
            case Manifest() as manifest:
                yield manifest.config.digest, True
                yield from ((layer.digest, False) for layer in manifest.layers)
            case None:
                return


def _raise(_: Descriptor, error: NotFoundError | IntegrityError) -> None:
    raise error


def walk(
    read: Read, root: Descriptor, failed: Failed = _raise, *, max_depth: int = MAX_DEPTH
) -> Iterator[Node]:
    """Every manifest and index from the root down, each digest once, level by level in the indexes' order.

    ``read`` returns a document's bytes. Where it raises `NotFoundError` or `IntegrityError`, or the bytes are
    not what the descriptor says, or a limit is exceeded (`FormatError`), ``failed`` is called with the
    descriptor and the error, and what is below that document is left out; by default the error is raised.
    Level by level, a document is found by its shortest path, so the order of entries does not decide whether
    it is within ``max_depth``.
    """
    seen = {root.digest}
    level = [root]
    for depth in range(max_depth + 1):
        below: dict[Digest, Descriptor] = {}
        for descriptor in level:
            try:
                node = _read_node(read, descriptor, depth)
                new = {child.digest for child in node.children} - seen
                _check_limits(node, len(seen) + len(new), max_depth)
            except (NotFoundError, IntegrityError) as error:
                failed(descriptor, error)
                continue
            seen |= new
            for child in node.children:
                if child.digest in new:
                    below.setdefault(child.digest, child)
            yield node
        level = list(below.values())


def _read_node(read: Read, descriptor: Descriptor, depth: int) -> Node:
    data, what = read(descriptor), str(descriptor.digest)
    kind = media_type_of(data, descriptor.media_type, what)
    parsed: Index | Manifest | None = None
    if kind in INDEXES:
        parsed = decode(data, Index, what)
    elif kind in MANIFESTS:
        parsed = decode(data, Manifest, what)
    return Node(descriptor, kind, parsed, data, depth)


def _check_limits(node: Node, documents: int, max_depth: int) -> None:
    if node.children and node.depth == max_depth:
        raise too_deep(node.descriptor, max_depth)
    if documents > MAX_DOCUMENTS:
        raise FormatError(f"{node.descriptor.digest} leads to more than {MAX_DOCUMENTS} documents")


def too_deep(descriptor: Descriptor, max_depth: int = MAX_DEPTH) -> FormatError:
    """The error for an index below which nothing is read any more."""
    return FormatError(f"{descriptor.digest} is an index inside {max_depth} others; no more are followed")


def children_first(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in an order in which each comes after all that it lists, as registries want them pushed."""
    left = {node.descriptor.digest: node for node in nodes}
    ordered: list[Node] = []
    path: list[tuple[Node, Iterator[Descriptor]]] = []
    while left or path:
        if not path:
            node = left.pop(next(iter(left)))
            path.append((node, iter(node.children)))
        node, children = path[-1]
        child = next((left.pop(each.digest) for each in children if each.digest in left), None)
        if child is None:
            ordered.append(node)
            path.pop()
        else:
            path.append((child, iter(child.children)))
    return ordered
