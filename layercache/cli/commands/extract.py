"""``layercache extract``: writes the files of an image or a layer to a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.file_names import shown
from layercache.cli.file_options import platform_option
from layercache.cli.named_files import opened, view
from layercache.cli.option_types import Path
from layercache.cli.output_options import json_option
from layercache.cli.registry_options import registry_options

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.files.extract import Extracted

SHOWN_SKIPPED = 5
"""Devices that are named; --json has all."""


@click.command(cls=Command)
@click.argument("name", metavar="IMAGE|HASH", shell_complete=complete_name)
@click.argument("folder", metavar="DIR", type=Path(file_okay=False))
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--owners", is_flag=True, help="Restore owners and all extended attributes; needs root.")
@click.option("--set-id", is_flag=True, help="Restore set-user-id and set-group-id bits.")
@click.option("--devices", is_flag=True, help="Make device nodes and named pipes; needs root.")
@platform_option
@registry_options
@json_option
@click.pass_obj
def extract(session: Session, /, name: str, folder: str, as_json: bool, **options: Any) -> None:
    """Write files of an image or a layer to a folder.

    PATH is a file, or a folder with all that is in it; without one, everything is written. DIR is
    made if it is missing; what is in it stays, unless a file of the image has the same path. Modes,
    times, links and extended attributes of users are restored. Nothing is written outside DIR.

    A file appears under its name only once it is complete and verified.
    """
    from layercache.files.extract import extract as write
    from layercache.files.restore import Restore
    from layercache.files.wanted import Wanted

    chosen = {key: options.pop(key) for key in ("owners", "set_id", "devices")}
    paths, platform = options.pop("paths"), options.pop("platform")
    with opened(session, name, platform, options) as source:
        wanted = Wanted(view(source), paths or None)
        with session.activity.step(f"extracting {name} to {folder}", total=wanted.size) as step:
            done = write(wanted, folder, Restore(**chosen), step.advance)
    if as_json:
        output.document(done)
    else:
        _report(session, done, name, folder)


def _report(session: Session, done: Extracted, name: str, folder: str) -> None:
    files = output.count(done.files, "file")
    session.note(f"extracted {files} ({output.human(done.size)}) of {name} to {folder}")
    if done.skipped:
        names = ", ".join(map(shown, done.skipped[:SHOWN_SKIPPED]))
        more = ", …" if len(done.skipped) > SHOWN_SKIPPED else ""
        what = output.count(len(done.skipped), "device or pipe").replace(
            "device or pipes", "devices or pipes"
        )
        session.note(f"left out {what}, which --devices makes: {names}{more}")
