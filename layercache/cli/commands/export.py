"""``layercache export``: writes a cached image to a layout, archive, registry or program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.completing import complete_image
from layercache.cli.output_options import json_option
from layercache.cli.registry_options import registry_options
from layercache.cli.terminal import echo, screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.cli.session import Session
    from layercache.export.exporter import Exported


@click.command(cls=Command)
@click.argument("image", shell_complete=complete_image)
@click.argument("target")
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Platform, or all for the whole index. Default: Linux on this machine's architecture.",
)
@click.option(
    "--compression",
    metavar="zstd|gzip[:LEVEL]",
    help="Compress layers as this; with a level, all of them. Digests change, diff IDs do not.",
)
@registry_options
@json_option
@click.pass_obj
def export(
    session: Session,
    /,
    image: str,
    target: str,
    platform: str | None,
    compression: str | None,
    as_json: bool,
    **registries: Any,
) -> None:
    """Write an image to an archive, layout, registry or program.

    Does not contact the registry that the image came from.

    \b
    TARGET is
      -                            stdout, for docker load or podman load
      oci:PATH[:REF]               an OCI image layout, created or extended
      oci-archive:PATH[:REF]       an OCI image layout as a tar
      docker-archive:PATH[:REF]    a file for docker load
      docker-daemon:[NAME:TAG]     the images of Docker
      containers-storage:[NAME:TAG]
                                   the images of podman and buildah
      docker://host:5000/app:1     a registry

    A PATH of - is stdout. Layouts and registries receive the image byte for byte, so its digest does not
    change, except by --compression. The others receive the layers as tars, so the image ID does not
    change.
    """  # noqa: D301  # click does not rewrap a paragraph that begins so
    from layercache.export.targets import writes_to_stdout

    on_stdout = writes_to_stdout(target)
    if on_stdout and as_json:
        raise click.UsageError("--json prints to stdout, which is the target: name a file as the target")
    with session.cache(**registries) as cache, session.activity.step(f"exporting {image}") as step:
        if on_stdout:
            screen.lend()
        done = cache.export(image, target, platform=platform, compression=compression, progress=step.reach)
    if as_json:
        from dataclasses import asdict

        output.document(asdict(done))
        return
    if not on_stdout:
        echo(done.digest)
    for line in _summary(done, "stdout" if on_stdout else done.target.removesuffix(":")):
        session.note(line)


def _summary(done: Exported, target: str) -> Iterator[str]:
    foreign = f", omitted {output.count(done.foreign, 'foreign layer')}" if done.foreign else ""
    yield (
        f"exported {done.image} to {target}: {output.count(done.layers, 'layer')},"
        f" wrote {output.count(done.blobs, 'blob')} ({output.human(done.bytes)}){foreign}"
    )
    if done.digest != done.pulled:
        yield f"its layers were compressed again: the digest was {done.pulled}; the diff IDs are the same"
    if done.attestations:
        yield f"omitted {output.count(done.attestations, 'attestation')}, which are about the old digests"
