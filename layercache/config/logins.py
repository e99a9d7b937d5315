"""Logs in to a registry and out, with the settings that the configuration has for it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from layercache.config import environment
from layercache.config.opening import configured
from layercache.errors import ConfigError
from layercache.value import Value

if TYPE_CHECKING:
    import os

    from layercache.config.opening import Configuration
    from layercache.registry.settings import RegistrySettings


class LoggedIn(Value, frozen=True):
    """A login that was stored. ``registry``: its name in references; ``stored_in``: a file, or a helper.

    ``checked``: whether the registry demanded the login; else any password would do. ``overridden_by``: the
    place with another login, which is used instead of this one; empty if there is none.
    """

    registry: str
    user: str
    stored_in: str
    checked: bool
    overridden_by: str


class LoggedOut(Value, frozen=True):
    """The files and helpers from which the login of a registry was removed."""

    registry: str
    removed_from: tuple[str, ...]


def login(
    host: str,
    user: str,
    password: str,
    *,
    config: str | os.PathLike[str] | Configuration | None = None,
    registries: RegistrySettings | None = None,
) -> LoggedIn:
    """Check a user and a password, or token, with a registry, and store them where ``docker login`` does.

    ``config`` and ``registries`` are as for `layercache.open`. Nothing is stored unless the registry accepts
    them. A cache that is open may go on with what it has. Raises `SourceError`, `InvalidNameError`,
    `ConfigError`.
    """
    from layercache.registry import login as logins
    from layercache.registry.client import RegistryClient
    from layercache.registry.credential import Credential
    from layercache.registry.credentials import Login, find_login

    _check(user, password)
    registry = logins.parse_registry(host)
    settings = registries or configured(config)[0].registries()
    credential, file = Credential(user, password), environment.login_file()
    with closing(RegistryClient(settings)) as client:
        checked = client.log_in(registry, Login(credential))
    where = logins.store(settings, registry, credential, file)
    used = find_login(settings, registry)
    return LoggedIn(
        registry,
        user,
        where,
        checked=checked.credential is not None,
        overridden_by="" if used.credential == credential else used.looked_in[-1],
    )


def logout(
    host: str,
    *,
    config: str | os.PathLike[str] | Configuration | None = None,
    registries: RegistrySettings | None = None,
) -> LoggedOut:
    """Remove the login of a registry from each place in which Docker and podman store it.

    Raises `NotFoundError` if there is none, `SourceError` if a place cannot be changed, `InvalidNameError`.
    """
    from layercache.registry import login as logins

    registry = logins.parse_registry(host)
    settings = registries or configured(config)[0].registries()
    return LoggedOut(registry, tuple(logins.forget(settings, registry)))


def _check(user: str, password: str) -> None:
    """Raise `ConfigError` or `TypeError` unless both can be sent. They are secret: no message has them."""
    for name, text in (("user", user), ("password", password)):
        if not isinstance(text, str):
            raise TypeError(f"expected a {name}, a str, found {type(text).__name__}")
    if not user or not password or ":" in user:
        raise ConfigError("a user and a password are needed, and a user has no ':' in it")
    try:
        f"{user}{password}".encode()
    except UnicodeEncodeError:  # bytes that are not text, which Python keeps as surrogates
        raise ConfigError("the user or the password is not UTF-8 text") from None
