"""``layercache serve``: a registry over the cache, for Docker, containerd, podman and others."""

from __future__ import annotations

import click

from layercache.cli.session import CACHE, Command, Session


@click.command(cls=Command)
@click.option("--port", type=click.IntRange(0, 65535), help="Port.")
@click.pass_obj
def serve(session: Session, /, port: int | None) -> None:
    """Serve the cache as a registry that fetches what it lacks."""
    from layercache.config.setting import Setting
    from layercache.serve.server import run
    from layercache.serve.settings import settings_of

    configuration = session.configuration()
    found = configuration.serve()
    if port is not None:
        found["port"] = Setting(port, "--port")
    settings = settings_of(found)
    given = session.given() | {
        "tag_age": Setting(settings.tag_age, "serve"),
        "finish": Setting("always", "serve"),
    }
    run(
        lambda: configuration.open(session.urls, by=CACHE, given=given, inside=settings.reachable_inside),
        settings,
    )
