"""``layercache tags``: lists the tags of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.completing import complete_repository
from layercache.cli.output_options import json_option
from layercache.cli.registry_options import registry_options

if TYPE_CHECKING:
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("repository", metavar="REPOSITORY[:PATTERN]", shell_complete=complete_repository)
@registry_options
@json_option
@click.pass_obj
def tags(session: Session, /, repository: str, as_json: bool, **registries: Any) -> None:
    """List the tags of a repository, one a line.

    A PATTERN selects some: debian:12*. Offline, lists the tags that are cached.
    """
    from layercache.pull.patterns import matching_tags, split_pattern

    with session.cache(creates=True, **registries) as cache:
        pattern = split_pattern(repository)
        found = matching_tags(cache, *pattern) if pattern else cache.tags(repository)
    if as_json:
        output.document({"repository": pattern[0] if pattern else repository, "tags": found})
        return
    for tag in found:
        output.written(tag)
