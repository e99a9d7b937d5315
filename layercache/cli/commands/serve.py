"""``layercache serve``: a registry over the cache, for Docker, containerd, podman and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli.command import Command
from layercache.cli.global_options import CACHE
from layercache.cli.option_types import Path
from layercache.cli.registry_options import registry_options
from layercache.cli.terminal import echo

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
    from layercache.serve import serving

    keys = {key: value for key, value in options.items() if value is not None}
    registry = {name: keys.pop(name) for name in ("ca_file", "plain_http", "insecure") if name in keys}
    named = {key: (f"--{key.replace('_', '-')}", value) for key, value in keys.items()}
    if "upstream" in named:
        named["default_upstream"] = named.pop("upstream")
    settings = serving.parsed(named)

    def wanted() -> Setup:
        configuration = session.configuration()
        return serving.setup_of(
            configuration,
            session.urls,
            by=CACHE,
            options=settings,
            registries=configuration.registries(**registry) if any(registry.values()) else None,
            given=session.given(),
        )

    serving.run(wanted, check=check, greet=session.note, verbose=session.verbose)
    if check:
        echo("OK")
