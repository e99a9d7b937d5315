"""``layercache mount``: shows the files of an image or a layer in a folder, until it is unmounted."""

from __future__ import annotations

from contextlib import ExitStack
from os.path import abspath
from typing import TYPE_CHECKING, Any

import click

from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.file_options import platform_option
from layercache.cli.option_types import Path
from layercache.cli.output import count
from layercache.cli.registry_options import registry_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("name", metavar="IMAGE|HASH", shell_complete=complete_name)
@click.argument("directory", metavar="DIR", type=Path())
@click.option(
    "--allow-other",
    is_flag=True,
    help="Give other users access too, as the modes of the files permit. Unless you are root, "
    "/etc/fuse.conf has to contain user_allow_other.",
)
@platform_option
@registry_options
@click.pass_obj
def mount(
    session: Session, /, name: str, directory: str, allow_other: bool, platform: str | None, **registries: Any
) -> None:
    """Mount the files of an image or a layer at an empty folder.

    They are read-only, and fetched when a program reads them. Runs until Ctrl-C, or until
    "umount DIR" in another terminal. If a file cannot be read, the program that reads it gets
    an I/O error, and a warning is printed here. Needs the extra "mount", and libfuse (apt install fuse3).
    """
    from layercache.cli.named_files import opened, view
    from layercache.mount import mount as mount_files
    from layercache.mount.mounting import Mount

    Mount(abspath(directory), name, allow_other).check()  # before anything is fetched
    with ExitStack() as reading, opened(session, name, platform, registries) as source:
        reading.enter_context(session.activity.step(f"reading the list of files of {name}"))

        def listed(left_out: int) -> None:
            reading.close()
            if left_out:
                what = count(left_out, "file")
                session.note(f"layercache: warning: {what} left out: Linux does not allow their names")
            session.end_display()

        shown = f"layercache: mounted {name} at {directory}, until Ctrl-C or umount {directory}"
        mount_files(
            view(source),
            directory,
            title=name,
            allow_other=allow_other,
            listed=listed,
            mounted=lambda: session.note(shown),
            failed=_reporting(session),
        )


def _reporting(session: Session) -> Callable[[str, Exception], None]:
    """What prints why a file could not be read; once, although the system asks again and again."""
    from layercache.cli.file_names import shown

    def failed(path: str, error: Exception) -> None:
        if session.reported.is_new(path, str(error)):
            session.note(f"layercache: warning: {shown(path)} could not be read: {error}")

    return failed
