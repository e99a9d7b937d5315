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
    from layercache.registry import login as logins

    registry = logins.parse_registry(host)
    for place in logins.forget(session.configuration().registries(), registry):
        session.note(f"removed the login for {registry} from {place}")
