"""``layercache login``: checks a user and password, and stores them for a registry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from layercache.cli.command import Command
from layercache.cli.registry_options import registry_options

if TYPE_CHECKING:
    from layercache.cli.session import Session

NOT_TEXT = "the user or the password is not UTF-8 text"


@click.command(cls=Command)
@click.argument("host")
@click.option("--username", "-u", metavar="USER", help="User; asked for on a terminal if it is not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password or token from stdin.")
@click.option("--password", "-p", metavar="PASSWORD", help="Visible to other users; use --password-stdin.")
@registry_options
@click.pass_obj
def login(
    session: Session,
    /,
    host: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    **registries: Any,
) -> None:
    """Log in to a registry: check a password and store it.

    They are stored where docker login stores them, in the helper that Docker's configuration names or else
    in the file config.json; or in another file, of podman for example, if it has an entry for HOST. Nothing
    is stored unless the registry accepts them. HOST is ghcr.io, localhost:5000, or docker.io for Docker Hub.
    """
    from layercache.config.logins import login as store_login
    from layercache.registry.login import parse_registry

    if session.offline:
        raise click.UsageError("a login is checked with the registry: leave out --offline")
    parse_registry(host)  # before anything is typed
    user, secret = _typed(session, username, password, stdin=password_stdin)
    done = store_login(host, user, secret, registries=session.configuration().registries(**registries))
    if not done.checked:
        session.note(
            f"layercache: warning: {done.registry} requires no login, so the password was not checked"
        )
    session.note(f"logged in to {done.registry} as {done.user}, stored in {done.stored_in}")
    if other := done.overridden_by:
        session.note(f"layercache: warning: {other} has another login for {done.registry}, which is used")


def _typed(session: Session, user: str | None, password: str | None, *, stdin: bool) -> tuple[str, str]:
    """Return user and password, from the options, from stdin, or as they are typed on the terminal."""
    if stdin and password is not None:
        raise click.UsageError("--password and --password-stdin exclude each other")
    if stdin and user is None:
        raise click.UsageError("--password-stdin needs --username")
    if stdin:
        password = _read_stdin().rstrip("\r\n")
    elif password is not None:
        session.note(
            "layercache: warning: --password can be seen by other users; use --password-stdin instead"
        )
    elif sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to type a password on: use --password-stdin")
    if user is None:
        user = click.prompt("User", err=True)
    if password is None:
        password = click.prompt("Password", err=True, hide_input=True)
    return user, password


def _read_stdin() -> str:
    try:
        return "" if sys.stdin is None else sys.stdin.read()
    except UnicodeDecodeError:
        raise click.UsageError(NOT_TEXT) from None  # without the bytes, which are a secret
