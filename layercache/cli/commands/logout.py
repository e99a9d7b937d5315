"""``layercache logout``: removes the stored login of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli.command import Command

if TYPE_CHECKING:
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("host")
@click.pass_obj
def logout(session: Session, host: str) -> None:
    """Log out of a registry: remove its stored login.

    It is removed from all files and helpers in which docker login and podman login store it, too.
    """
    from layercache.config.logins import logout as remove_login

    done = remove_login(host, config=session.configuration())
    for place in done.removed_from:
        session.note(f"removed the login for {done.registry} from {place}")
