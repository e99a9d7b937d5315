"""The options of commands that speak to registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_Decorated = TypeVar("_Decorated", bound="Callable[..., Any]")


def registry_options(command: _Decorated) -> _Decorated:
    """``--ca-file``, ``--plain-http``, ``--insecure``: what `Session.cache` takes of registries."""
    for option in (
        click.option(
            "--insecure",
            multiple=True,
            metavar="HOST",
            help="A registry whose certificate is not checked; repeatable.",
        ),
        click.option(
            "--plain-http", multiple=True, metavar="HOST", help="A registry without TLS; repeatable."
        ),
        click.option(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Certificates to trust too, PEM.",
        ),
    ):
        command = option(command)
    return command
