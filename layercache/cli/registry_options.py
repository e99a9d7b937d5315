"""The options of commands that contact registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from layercache.cli.option_types import Path

if TYPE_CHECKING:
    from collections.abc import Callable

_Decorated = TypeVar("_Decorated", bound="Callable[..., Any]")


def registry_options(command: _Decorated) -> _Decorated:
    """Add ``--ca-file``, ``--plain-http`` and ``--insecure``, which `Session.cache` takes."""
    for option in (
        click.option(
            "--insecure",
            multiple=True,
            metavar="HOST",
            help="Do not check this registry's certificate; repeatable.",
        ),
        click.option(
            "--plain-http",
            multiple=True,
            metavar="HOST",
            help="Connect to this registry without TLS; repeatable.",
        ),
        click.option(
            "--ca-file",
            type=Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Additional CA certificates to trust, PEM.",
        ),
    ):
        command = option(command)
    return command
