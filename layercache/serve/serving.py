"""What programs and the command call to serve a cache: from the configuration to the end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from layercache.backend import install_hint
from layercache.config import environment
from layercache.config.checker import keys_of
from layercache.config.from_variables import ValueChecker
from layercache.config.opening import configured
from layercache.config.serve import ServeTable
from layercache.config.setting import ARGUMENT, Setting
from layercache.config.show import shown_url
from layercache.errors import ConfigError, did_you_mean
from layercache.serve.settings import settings_of
from layercache.serve.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from layercache.config.configuration import Configuration
    from layercache.registry.settings import RegistrySettings


def serve(
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    registries: RegistrySettings | None = None,
    check: bool = False,
    greet: Callable[[str], object] = lambda _text: None,
    **settings: object,
) -> None:
    """Serve a cache as a registry that fetches what it lacks, until SIGINT or SIGTERM.

    ``urls``, ``config`` and ``registries`` are as for `layercache.open`; SIGHUP reads the configuration
    again. ``settings``: the keys of its table ``[serve]``, which these override (``port=5001``,
    ``writable=True``). ``check``: only check the settings, open the cache, and return. ``greet`` is called
    with how to point clients at it, once it listens. It forks workers and takes signals: call it in the main
    thread of a separate process. Raises `ConfigError`, `BackendError`, `TypeError`.
    """
    options = parsed({key: (key, value) for key, value in settings.items()})

    def wanted() -> Setup:
        configuration, chosen = configured(config, urls)
        return setup_of(configuration, chosen, by=ARGUMENT, options=options, registries=registries)

    run(wanted, check=check, greet=greet)


def parsed(options: Mapping[str, tuple[str, object]]) -> dict[str, Setting]:
    """Check values of keys of ``[serve]``, each with its origin. Raises `ConfigError`, `TypeError`."""
    known, found = keys_of(ServeTable), {}
    for key, (origin, value) in options.items():
        if key not in known:
            raise TypeError(f"serve() has no setting {key!r}: {did_you_mean(key, known)}see [serve]")
        reading = os.fspath(value) if isinstance(value, os.PathLike) else value
        reading = list(reading) if isinstance(reading, tuple) else reading
        found[key] = Setting(ValueChecker(origin).parsed(known[key], reading), origin)
    return found


def setup_of(
    configuration: Configuration,
    urls: Sequence[str],
    *,
    by: str,
    options: Mapping[str, Setting],
    registries: RegistrySettings | None = None,
    given: Mapping[str, Setting] | None = None,
) -> Setup:
    """What the configuration and ``options`` say to serve; the rest as for `Configuration.open`."""
    settings = settings_of({**configuration.serve(), **options})
    own = {"tag_age": Setting(settings.tag_age, "serve"), "finish": Setting("always", "serve")}
    how, inside = {**(given or {}), **own}, settings.reachable_inside
    return Setup(
        settings,
        lambda: configuration.open(urls, by=by, given=how, registries=registries, inside=inside),
        tuple(shown_url(tier.value) for tier in configuration.choose(urls, by).tiers),
        environment.statistics_file() if configuration.behaviour()["statistics"].value else None,
    )


def run(
    wanted: Callable[[], Setup], *, check: bool, greet: Callable[[str], object], verbose: bool = False
) -> None:
    """Check or serve what ``wanted`` returns; SIGHUP asks again. Raises `ConfigError`, `BackendError`."""
    setup = wanted()
    try:
        from layercache.serve import start
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"layercache serve needs the package {error.name}", hint=install_hint("serve")
        ) from error
    if check:
        start.check(setup)
    else:
        start.run(setup, wanted, greet=greet, inherited=environment.inherited_socket(), verbose=verbose)
