"""``layercache get``: writes a layer, in either form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli.command import Command
from layercache.cli.completing import complete_hash
from layercache.cli.option_types import Path
from layercache.oci.forms import FORMS

if TYPE_CHECKING:
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("hash", shell_complete=complete_hash)
@click.option(
    "-o", "--output", metavar="FILE", type=Path(readable=False), help="Write to a file; - for stdout."
)
@click.option(
    "--form", type=click.Choice(FORMS), help="The blob or the tar. Default: the one that HASH names."
)
@click.pass_obj
def get(session: Session, hash: str, output: str | None, form: str | None) -> None:
    """Write a layer to stdout or a file.

    A digest gives the compressed blob, a diff ID the tar. A missing tar is inflated from its blob. HASH may
    be shortened to its first digits. A file is written completely or not at all; on stdout, check the exit
    code to see whether the bytes are right.
    """
    from layercache.cli.layer_output import write_layer

    write_layer(session, hash, output, form)
