"""``layercache pull``: warm the cache with the layers of images."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from layercache.cli import failures, output
from layercache.cli.registry_options import registry_options
from layercache.cli.session import Command, Session
from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.cache import Cache
    from layercache.images.image import Image
    from layercache.layer import Forms

SHOWN_ERRORS = 5
"""Failures that are told in full: when a registry goes down, all layers say nearly the same."""

ALL = "all"
"""For a platform: every one of an index, and what the index has beside them."""


@click.command(cls=Command)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]|all",
    help="all: every platform. Default: Linux on this machine's architecture.",
)
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed", "both"]),
    help="What is to be cached. Default: compressed, or uncompressed where no tier keeps compressed layers.",
)
@click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=8, show_default=True, help="Layers at the same time."
)
@registry_options
@output.json_option
@output.no_trunc_option
@click.pass_obj
def pull(
    session: Session,
    images: tuple[str, ...],
    platform: str | None,
    form: Forms | None,
    jobs: int,
    ca_file: str | None,
    plain_http: tuple[str, ...],
    insecure: tuple[str, ...],
    as_json: bool,
    no_trunc: bool,
) -> None:
    """Cache the layers of images, and tell where each came from.

    \b
    IMAGE is
      alpine, ghcr.io/team/app:1, host:5000/app@sha256:…    in a registry
      oci:PATH[:REF]                                        in an OCI image layout
      docker-archive:PATH[:REF]                             in what docker save wrote

    If an image or a layer fails the others go on, and the exit code is that of the first failure.
    """  # noqa: D301  # click's mark for a paragraph to leave as it is
    from layercache.cli.progress import shown
    from layercache.cli.pull_report import Pulled
    from layercache.pull import Puller, default_form, distinct

    begun = time.monotonic()
    with session.cache(ca_file=ca_file, plain_http=plain_http, insecure=insecure) as cache:
        opened, errors = _open(cache, images, platform)
        layers = distinct(opened)
        visible = sys.stderr is not None and sys.stderr.isatty() and not session.quiet
        with shown(cache, layers, visible=visible) as finished:
            outcomes = Puller(cache, form or default_form(cache), jobs).run(layers, finished)
        errors += [outcome.error for outcome in outcomes.values() if outcome.error]
        pulled = Pulled(opened, outcomes, errors, cache.counters, time.monotonic() - begun)
    if as_json:
        output.document(pulled.document())
    elif opened and not session.quiet:
        pulled.print(whole=no_trunc)
        session.note(pulled.summary())
    _explain(errors, session)


def _open(cache: Cache, names: Iterable[str], platform: str | None) -> tuple[list[Image], list[Exception]]:
    """The images that can be had, and why the others cannot."""
    opened: list[Image] = []
    errors: list[Exception] = []
    for name in dict.fromkeys(names):
        try:
            if platform == ALL:
                opened += cache.images(name, missing=errors.append)
            else:
                opened.append(cache.image(name, platform=platform))
        except LayercacheError as error:
            errors.append(error)
    return opened, errors


def _explain(errors: list[Exception], session: Session) -> None:
    """Say what failed, each thing once, and leave with the code of the first failure."""
    if errors:
        different = list({str(error): error for error in errors}.values())
        for error in different[:SHOWN_ERRORS]:
            failures.show(error, trace=session.verbose)
        if len(different) > SHOWN_ERRORS:
            click.echo(f"layercache: and {len(different) - SHOWN_ERRORS} more failures", err=True)
        click.get_current_context().exit(failures.exit_code(errors[0]))
