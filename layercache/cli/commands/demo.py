"""``layercache demo``: shows what the cache does, with an embedded image and registry."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from layercache.cli.command import Command
from layercache.cli.output import count, human
from layercache.cli.terminal import echo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.demo.image import BuiltImage
    from layercache.demo.registry import LayoutRegistry

CHUNK = 1 << 20
GO_ON = """
Next, with your own cache:
  layercache pull alpine              pull an image from Docker Hub or another registry
  layercache ls                       list its layers under both names
  layercache get DIFF_ID | tar -t     read a tar by its diff ID, a blob by its digest
  layercache --help                   list all commands (in Python: import layercache)"""


@click.command(cls=Command)
@click.option(
    "--serve", metavar="PORT", type=click.IntRange(0, 65535), help="Only serve the image, until interrupted."
)
@click.pass_obj
def demo(session: Session, serve: int | None) -> None:
    """Show in a few seconds what the cache does, without a network.

    Builds an image from this machine's Python, serves it from a registry on loopback, pulls it through a
    cache on disk, reads every layer under both names, and pulls the image again. Leaves no files behind.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="layercache-demo-") as folder:
        if serve is None:
            _demonstrate(session, folder)
        else:
            _serve(folder, serve)


def _serve(folder: str, port: int) -> None:
    """Serve the image until a signal arrives, which raises in this thread."""
    import signal

    from layercache.demo.image import build_image
    from layercache.demo.registry import LayoutRegistry

    build_image(f"{folder}/image")
    with LayoutRegistry(f"{folder}/image", port=port) as registry:
        echo(f"{registry.host}/{registry.repository}:latest")
        while True:
            signal.pause()


def _demonstrate(session: Session, folder: str) -> None:
    from layercache.config.opening import open
    from layercache.demo.image import build_image
    from layercache.demo.registry import LayoutRegistry

    echo("Image built from this machine's Python: ", nl=False)
    image = build_image(f"{folder}/image")
    with LayoutRegistry(f"{folder}/image") as registry, open(f"{folder}/cache", statistics=False) as cache:
        echo(
            f"{count(len(image.layers), 'layer')}, {human(_bytes_of(image))}, gzip and zstd.\n"
            f"It is served by a registry on {registry.host}, behind an empty cache on disk.\n"
        )
        _show(cache, f"{registry.host}/{registry.repository}:latest", image)
        echo(_proof(registry, image))
    if not session.quiet:
        echo(GO_ON)


def _show(cache: Cache, name: str, image: BuiltImage) -> None:
    digests = [layer.descriptor.digest for layer in image.layers]
    diff_ids = [layer.diff_id for layer in image.layers]
    echo(f"{'':<40}{'fetched':>16}{'inflated':>10}{'hits':>6}{'time':>8}")
    with _step(cache, "pull the image"):
        _pull(cache, name)
    with _step(cache, "read each layer by digest (the blob)"):
        _read(cache, digests)
    with _step(cache, "read each layer by diff ID (the tar)"):
        _read(cache, diff_ids)
    with _step(cache, "read each layer by diff ID again"):
        _read(cache, diff_ids)
    with _step(cache, "pull the image again"):
        _pull(cache, name)


@contextmanager
def _step(cache: Cache, title: str) -> Iterator[None]:
    """Print what the cache did inside the block, and how long it took."""
    before, begun = cache.counters, time.perf_counter()
    yield
    seconds, done = time.perf_counter() - begun, cache.counters - before
    fetched = f"{done.fetched}, {human(done.fetched_bytes)}" if done.fetched else "-"
    echo(f"{title:<40}{fetched:>16}{done.inflated or '-':>10}{done.hits or '-':>6}{seconds:>6.2f} s")


def _pull(cache: Cache, name: str) -> None:
    from layercache.pull import Puller, distinct

    outcomes = Puller(cache, "compressed", jobs=8).run(distinct([cache.image(name)]), lambda _: None)
    for outcome in outcomes.values():
        if outcome.error:
            raise outcome.error


def _read(cache: Cache, names: Iterable[str]) -> None:
    """Read the layers under these names and check the hashes of what comes."""
    from layercache.oci.digest import Hash
    from layercache.streams.readers import check_hash

    buffer = memoryview(bytearray(CHUNK))
    for name in map(Hash, names):
        layer, hasher, size = cache.get(name), name.hasher(), 0
        with layer.uncompressed() if name == layer.names.diff_id else layer.compressed() as stream:
            while part := stream.readinto(buffer):  # type: ignore[attr-defined]  # not in typeshed's BinaryIO
                hasher.update(buffer[:part])
                size += part
        check_hash(name, None, Hash.from_hasher(hasher), size)


def _proof(registry: LayoutRegistry, image: BuiltImage) -> str:
    served = registry.served
    digests = [layer.descriptor.digest for layer in image.layers]
    times = {served.gets[digest] for digest in digests}
    sent = human(sum(served.sent[digest] for digest in digests))
    often = "once" if times == {1} else " or ".join(f"{each} times" for each in sorted(times))
    return f"\nThe registry counted its answers: it sent each layer {often}, {sent} in total."


def _bytes_of(image: BuiltImage) -> int:
    return sum(layer.descriptor.size for layer in image.layers)
