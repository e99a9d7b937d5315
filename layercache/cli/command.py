"""Commands that accept the global options before or after their names."""

from __future__ import annotations

from typing import Any

import click

from layercache.cli.global_options import GLOBAL_OPTIONS, GlobalOption
from layercache.cli.session import Session
from layercache.cli.suggestions import Suggesting


class Command(click.Command):
    """A command that also accepts the global options after its name, except those that it has itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = {option for param in self.params for option in param.opts}
        self.params += [param for param in global_options(hidden=True) if own.isdisjoint(param.opts)]


class Group(Suggesting):
    """A group whose commands also accept the global options after their names."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)


def global_options(*, hidden: bool = False) -> list[click.Parameter]:
    """Return the global options; ``hidden`` ones are accepted, but not listed in the help."""
    return [_declared(option, hidden=hidden) for option in GLOBAL_OPTIONS]


def _declared(option: GlobalOption, *, hidden: bool) -> click.Option:
    def remember(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        session = ctx.ensure_object(Session)
        for each in value if option.repeats else [value] if value else []:
            session.take(option, each)

    return click.Option(
        option.names,
        help=option.help,
        metavar=option.metavar or None,
        multiple=option.repeats,
        is_flag=not option.metavar,
        expose_value=False,
        callback=remember,
        hidden=hidden,
    )
