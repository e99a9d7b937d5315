"""Groups of commands that suggest the command that was probably meant."""

from __future__ import annotations

import click

MEANT = {
    "compare": "diff",
    "cp": "extract",
    "delete": "rm",
    "digest": "manifest",
    "du": "stats",
    "gc": "prune",
    "grep": "find",
    "history": "info",
    "image": "images",
    "inspect": "info",
    "list": "ls",
    "list-tags": "tags",
    "ls-files": "files",
    "load": "pull",
    "purge": "clean",
    "push": "export",
    "remove": "rm",
    "rmi": "rm",
    "save": "export",
    "search": "find",
    "show": "info",
    "size": "stats",
    "sync": "copy",
    "tree": "files",
    "unpack": "extract",
    "version": "--version",
}
"""What other tools call a command, and what it is called here."""


class Suggesting(click.Group):
    """A group whose error for an unknown command names those that are similar."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise no_such_command(self, ctx, name)
        return super().resolve_command(ctx, args)


def no_such_command(group: click.Group, ctx: click.Context, name: str) -> click.UsageError:
    """Return the error for an unknown command of a group."""
    from difflib import get_close_matches

    known = group.list_commands(ctx)
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    elsewhere = MEANT.get(name.lower(), "")
    if elsewhere in known or elsewhere.startswith("--"):
        near = [elsewhere, *(each for each in near if each != elsewhere)]
    guess = f" Did you mean {' or '.join(near)}?" if near else ""
    return click.UsageError(f"there is no command {name!r}.{guess}", ctx)
