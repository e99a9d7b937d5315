"""The global options, before or after a command's name, and the cache that they open."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.cache import Cache
    from layercache.config import Configuration
    from layercache.config.configuration import Setting
    from layercache.events import Event


CACHE = "--cache"


@dataclass
class Session:
    """One run of the program: which cache, and how much is said on stderr."""

    urls: list[str] = field(default_factory=list)
    config: str | None = None
    offline: bool = False
    quiet: bool = False
    verbose: bool = False

    @contextmanager
    def cache(
        self, *, ca_file: str | None = None, plain_http: Sequence[str] = (), insecure: Sequence[str] = ()
    ) -> Iterator[Cache]:
        """The cache that was asked for, closed in the end. What it passes over is said meanwhile.

        What is given of registries adds to what the configuration and the environment say of them.
        """
        configuration = self.configuration()
        registries = (
            configuration.registries(ca_file=ca_file, plain_http=plain_http, insecure=insecure)
            if ca_file or plain_http or insecure
            else None
        )
        cache = configuration.open(self.urls, by=CACHE, given=self.given(), registries=registries)
        with cache.watch(self._tell), cache:  # what fails while it is closed is told too
            yield cache

    def configuration(self) -> Configuration:
        """What counts beside the options."""
        from layercache.config import load

        return load(self.config)

    def tiers(self, urls: Sequence[str] | None = None) -> list[str]:
        """The URLs of the tiers that the options, or ``urls``, choose, near to far."""
        return [each.value for each in self.configuration().choose(urls or self.urls, CACHE).tiers]

    def given(self) -> dict[str, Setting]:
        """How the cache is to behave, by the options alone."""
        from layercache.config.configuration import Setting

        return {"offline": Setting(True, "--offline")} if self.offline else {}

    def note(self, text: str) -> None:
        """Say something that is no data, unless nothing of the kind is wanted."""
        if not self.quiet:
            click.echo(text, err=True)

    def _tell(self, event: Event) -> None:
        if event.kind == "failed":
            what = f"{event.name} in {event.where}" if event.name else event.where
            why = event.note.removeprefix(f"{event.where}: ")
            self.note(f"layercache: warning: passed over {what}: {why}")
        elif event.kind == "mislabelled":
            self.note(f"layercache: warning: {event.name}: {event.note}")
        elif event.kind == "unconfirmed":
            self.note(f"layercache: warning: {event.where}: {event.note}")
        elif self.verbose and event.kind != "bytes":
            size = f" {event.size} bytes" if event.size else ""
            where = f" {event.where}" if event.where else ""
            click.echo(f"layercache: {event.kind} {event.form} {event.name}{size}{where}", err=True)


class Command(click.Command):
    """A command behind whose name the global options may stand too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)


class Group(click.Group):
    """Commands of one subject. The global options may stand behind each name."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)


def global_options(*, hidden: bool = False) -> list[click.Parameter]:
    """``hidden``: they are taken, and told of by the program's own help alone."""
    common: dict[str, Any] = {"expose_value": False, "callback": _remember, "hidden": hidden}
    return [
        click.Option(
            [CACHE],
            multiple=True,
            metavar="URL",
            help="A cache; repeated: tiers, near to far; or @NAME, a configured one.",
            **common,
        ),
        click.Option(
            ["--config"], metavar="FILE", help="The configuration. Default: see config path.", **common
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
    elif param.name == "config":
        session.config = value or session.config
    elif value and param.name:
        setattr(session, param.name, True)
