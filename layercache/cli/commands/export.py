"""``layercache export``: an image out of the cache."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from layercache.cli import output
from layercache.cli.registry_options import registry_options
from layercache.cli.session import Command, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@click.command(cls=Command)
@click.argument("image")
@click.argument("target")
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Default: Linux on this machine's architecture; all: an index with all that it names.",
)
@registry_options
@output.json_option
@click.pass_obj
def export(
    session: Session,
    image: str,
    target: str,
    platform: str | None,
    ca_file: str | None,
    plain_http: tuple[str, ...],
    insecure: tuple[str, ...],
    as_json: bool,
) -> None:
    """Take an image that was pulled out of the cache. Its registry is not asked.

    \b
    TARGET is
      oci:PATH[:REF]               an OCI image layout, which is made or added to
      docker-archive:PATH[:REF]    a file for docker load
      host:5000/team/app:1         a registry

    Layouts and registries get the image byte for byte, so its digest stays; archives get the layers as
    tars, so the image's ID stays.
    """  # noqa: D301  # click's mark for a paragraph to leave as it is
    visible = sys.stderr is not None and sys.stderr.isatty() and not session.quiet
    with (
        session.cache(ca_file=ca_file, plain_http=plain_http, insecure=insecure) as cache,
        _bar(visible=visible) as progress,
    ):
        done = cache.export(image, target, platform=platform, progress=progress)
    if as_json:
        from dataclasses import asdict

        output.document(asdict(done))
        return
    click.echo(done.digest)
    foreign = f", left out {output.count(done.foreign, 'foreign layer')}" if done.foreign else ""
    session.note(
        f"exported {done.image} to {done.target}: {output.count(done.layers, 'layer')},"
        f" wrote {output.count(done.blobs, 'blob')} ({output.human(done.bytes)}){foreign}"
    )


@contextmanager
def _bar(*, visible: bool) -> Iterator[Callable[[int, int], object]]:
    """A bar on stderr inside the block, gone after it."""
    if not visible:
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
