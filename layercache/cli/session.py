"""The global options, before or after a command's name, and the cache that they open."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.sources.settings import RegistrySettings


@dataclass
class Session:
    """One run of the program: which cache, and how much is said on stderr."""

    urls: list[str] = field(default_factory=list)
    offline: bool = False
    quiet: bool = False
    verbose: bool = False

    @contextmanager
    def cache(self, registries: RegistrySettings | None = None) -> Iterator[Cache]:
        """The cache that was asked for, closed in the end. What it passes over is said meanwhile."""
        from layercache.config import open

        with (
            open(self.urls or None, offline=self.offline, registries=registries) as cache,
            cache.watch(self._tell),
        ):
            yield cache

    def note(self, text: str) -> None:
        """Say something that is no data, unless nothing of the kind is wanted."""
        if not self.quiet:
            click.echo(text, err=True)

    def _tell(self, event: Event) -> None:
        if event.kind == "failed":
            what = f"{event.name} in {event.where}" if event.name else event.where
            why = event.note.removeprefix(f"{event.where}: ")
            self.note(f"layercache: warning: passed over {what}: {why}")
        elif self.verbose and event.kind != "bytes":
            size = f" {event.size} bytes" if event.size else ""
            where = f" {event.where}" if event.where else ""
            click.echo(f"layercache: {event.kind} {event.form} {event.name}{size}{where}", err=True)


class Command(click.Command):
    """A command behind whose name the global options may stand too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)


def global_options(*, hidden: bool = False) -> list[click.Parameter]:
    """``hidden``: they are taken, and told of by the program's own help alone."""
    common: dict[str, Any] = {"expose_value": False, "callback": _remember, "hidden": hidden}
    return [
        click.Option(
            ["--cache"], multiple=True, metavar="URL", help="A cache; repeated: tiers, near to far.", **common
        ),
        click.Option(["--offline"], is_flag=True, help="Ask no registry and no other source.", **common),
        click.Option(["--quiet", "-q"], is_flag=True, help="No progress, no summary, no warnings.", **common),
        click.Option(
            ["--verbose", "-v"], is_flag=True, help="Tell each step, and where an error arose.", **common
        ),
    ]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.ensure_object(Session)
    if param.name == "cache":
        session.urls += value
    elif value and param.name:
        setattr(session, param.name, True)
