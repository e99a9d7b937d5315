"""``layercache adopt``: turns another tool's OCI image layout into a cache."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from layercache.cli import exit_codes, failures, output
from layercache.cli.command import Command
from layercache.cli.option_types import Path
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo

if TYPE_CHECKING:
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("path", type=Path(exists=True, file_okay=False))
@click.option("--verify", is_flag=True, help="Inflate each layer to confirm its diff ID.")
@json_option
@click.pass_obj
def adopt(session: Session, path: str, verify: bool, as_json: bool) -> None:
    """Turn another tool's OCI image layout into a cache, in place.

    Records the images of its index.json, and the diff IDs that their configs claim, so that layers are
    found under both names. Moves and changes no blob.
    """
    from layercache.config.opening import open

    with (
        session.activity.step(f"adopting {path}"),
        open(f"file://{_quoted(path)}?keep=compressed", offline=True) as cache,
    ):
        adopted = cache.adopt(verify=verify)
    if as_json:
        output.document({**asdict(adopted), "wrong": [str(error) for error in adopted.wrong]})
    else:
        inflated = f", {adopted.verified} inflated" if verify else ""
        echo(f"{output.count(adopted.images, 'image')}, {output.count(adopted.layers, 'layer')}{inflated}")
    for error in adopted.wrong:
        failures.show(error, trace=session.verbose)
    if adopted.wrong:
        click.get_current_context().exit(exit_codes.INTEGRITY)


def _quoted(path: str) -> str:
    import os
    from urllib.parse import quote

    return quote(os.path.abspath(path))
