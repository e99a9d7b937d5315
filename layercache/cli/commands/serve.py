"""``layercache serve``: a registry over the cache, for Docker, containerd, podman and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.backend import install_hint
from layercache.cli.command import Command
from layercache.cli.global_options import CACHE
from layercache.cli.option_types import Path
from layercache.cli.registry_options import registry_options
from layercache.cli.terminal import echo
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.serve.setup import Setup

_FILE = Path(exists=True, dir_okay=False, resolve_path=True)


@click.command(cls=Command)
@click.option(
    "--address", metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.  [default: 127.0.0.1]"
)
@click.option("--port", type=click.IntRange(0, 65535), help="0 is any free one.  [default: 5000]")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: 1]")
@click.option(
    "--upstream",
    metavar="HOST",
    help="Registry of repositories whose name does not begin with one.  [default: docker.io]",
)
@click.option("--writable", is_flag=True, default=None, help="Accept pushes and deletes.")
@click.option("--redirect", is_flag=True, default=None, help="Send clients to the bucket, if it signs URLs.")
@click.option("--tls-certificate", type=_FILE, metavar="FILE", help="Certificates, PEM, the server's first.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The private key, PEM.")
@click.option(
    "--access-log", type=click.Choice(("text", "json", "off")), help="Form of the log.  [default: text]"
)
@click.option("--check", is_flag=True, help="Check the settings and open the cache, then exit.")
@registry_options
@click.pass_obj
def serve(session: Session, /, check: bool, **options: Any) -> None:
    """Serve the cache as a registry that fetches what it lacks.

    Prints how to point Docker, containerd and podman at it, then a line for each request. SIGTERM and Ctrl-C
    end it once its answers are sent; SIGHUP reads the configuration again. Settings are those of [serve] in
    the configuration; options override them.
    """
    from layercache.config.environment import inherited_socket

    setup = _setup(session, options)
    try:
        from layercache.serve import start
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"layercache serve needs the package {error.name}", hint=install_hint("serve")
        ) from error
    if check:
        start.check(setup)
        echo("OK")
    else:
        start.run(
            setup,
            lambda: _setup(session, options),
            greet=session.note,
            inherited=inherited_socket(),
            verbose=session.verbose,
        )


def _setup(session: Session, options: dict[str, Any]) -> Setup:
    """Read the configuration, and what options override. Raises `ConfigError`."""
    from layercache.config import environment
    from layercache.config.checker import keys_of
    from layercache.config.from_variables import ValueChecker
    from layercache.config.serve import ServeTable
    from layercache.config.setting import Setting
    from layercache.config.show import shown_url
    from layercache.serve.settings import settings_of
    from layercache.serve.setup import Setup

    configuration = session.configuration()
    found = configuration.serve()
    keys = {**options, "default_upstream": options["upstream"]}
    registry = {name: keys.pop(name) for name in ("ca_file", "plain_http", "insecure")}
    del keys["upstream"]
    for key, value in keys.items():
        if value is not None:
            option = "--upstream" if key == "default_upstream" else f"--{key.replace('_', '-')}"
            found[key] = Setting(ValueChecker(option).parsed(keys_of(ServeTable)[key], value), option)
    settings = settings_of(found)
    given = session.given() | {
        "tag_age": Setting(settings.tag_age, "serve"),
        "finish": Setting("always", "serve"),
    }
    registries = configuration.registries(**registry) if any(registry.values()) else None
    tiers = tuple(shown_url(tier.value) for tier in configuration.choose(session.urls, CACHE).tiers)
    inside = settings.reachable_inside
    return Setup(
        settings,
        lambda: configuration.open(session.urls, by=CACHE, given=given, registries=registries, inside=inside),
        tiers,
        environment.statistics_file() if configuration.behaviour()["statistics"].value else None,
    )
