"""``layercache pull``: pulls images into the cache."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import failures, output
from layercache.cli.registry_options import registry_options
from layercache.cli.session import Command, Session
from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.cache import Cache
    from layercache.cli.pull_report import Pulled
    from layercache.images.image import Image
    from layercache.layer import Forms

SHOWN_ERRORS = 5
"""Failures that are printed in full: when a registry goes down, all layers fail alike."""

ALL = "all"
"""As a platform: everything that an index lists."""


@click.command(cls=Command)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]|all",
    help="Platform, or all for everything in the index. Default: Linux on this machine's architecture.",
)
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed", "both"]),
    help="Form to store. Default: compressed, or uncompressed if no tier stores compressed layers.",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Layers to pull in parallel.",
)
@registry_options
@output.json_option
@output.no_trunc_option
@click.pass_obj
def pull(session: Session, /, images: tuple[str, ...], as_json: bool, no_trunc: bool, **options: Any) -> None:
    """Pull images into the cache and show where each layer came from.

    \b
    IMAGE is
      alpine, ghcr.io/team/app:1, host:5000/app@sha256:…    in a registry
      oci:PATH[:REF]                                        in an OCI image layout
      oci-archive:PATH[:REF]                                in an OCI image layout as a tar
      docker-archive:PATH[:REF]                             in an archive of docker save

    A PATH of - is stdin.

    An image or layer that fails does not stop the others; the exit code is that of the first failure.
    """  # noqa: D301  # click does not rewrap a paragraph that begins so
    pulled = _pull(session, images, Options(**options))
    if as_json:
        output.document(pulled.document())
    elif pulled.images and not session.quiet:
        pulled.print(whole=no_trunc)
        session.note(pulled.summary())
    _explain(pulled.errors, session)


@dataclass(frozen=True, slots=True)
class Options:
    platform: str | None
    form: Forms | None
    jobs: int
    ca_file: str | None
    plain_http: tuple[str, ...]
    insecure: tuple[str, ...]


def _pull(session: Session, images: tuple[str, ...], options: Options) -> Pulled:
    from layercache.cli.progress import shown
    from layercache.cli.pull_report import Pulled
    from layercache.pull import Puller, default_form, distinct

    begun = time.monotonic()
    registries = {name: getattr(options, name) for name in ("ca_file", "plain_http", "insecure")}
    with session.cache(creates=True, **registries) as cache:
        opened, errors = _open(cache, images, options.platform)
        layers = distinct(opened)
        visible = sys.stderr is not None and sys.stderr.isatty() and not session.quiet
        with shown(cache, layers, visible=visible) as finished:
            outcomes = Puller(cache, options.form or default_form(cache), options.jobs).run(layers, finished)
        errors += [outcome.error for outcome in outcomes.values() if outcome.error]
        seconds, tiers = time.monotonic() - begun, [tier.name for tier in cache.tiers]
        return Pulled(opened, outcomes, errors, cache.counters, seconds, tiers)


def _open(cache: Cache, names: Iterable[str], platform: str | None) -> tuple[list[Image], list[Exception]]:
    """Return the images that could be opened, and the errors of the others."""
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


def _explain(errors: Sequence[Exception], session: Session) -> None:
    """Print each failure once, and exit with the code of the first."""
    if errors:
        different = list({str(error): error for error in errors}.values())
        for error in different[:SHOWN_ERRORS]:
            failures.show(error, trace=session.verbose)
        if len(different) > SHOWN_ERRORS:
            click.echo(f"layercache: and {len(different) - SHOWN_ERRORS} more failures", err=True)
        click.get_current_context().exit(failures.exit_code(errors[0]))
