"""``layercache put``: adds layers from files or stdin."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from layercache.cli import exit_codes, failures, output
from layercache.cli.command import Command
from layercache.cli.option_types import Path
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo
from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.events import Event
    from layercache.layer import Layer
    from layercache.oci.forms import Form

STDIN = "-"


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=Path())
@click.option("--any", "any_data", is_flag=True, help="Also store files that are not layers, as blobs.")
@json_option
@click.pass_obj
def put(session: Session, files: tuple[str, ...], any_data: bool, as_json: bool) -> None:
    """Add layers (gzip, zstd or plain tar) to the cache.

    Prints the digest and diff ID of each. FILE may be - for stdin. A file that fails does not stop the
    others; the exit code is that of the first failure. A file that is not a layer is refused unless --any
    is given, and then has no diff ID.
    """
    code = 0
    with session.cache(creates=True) as cache:
        cache.uploads.resume()
        for path in files:
            try:
                layer = _put(session, cache, path, any_data=any_data)
            except (LayercacheError, OSError) as error:
                failures.show(error, about=path, trace=session.verbose)
                code = code or _exit_code(error, path)
                continue
            _print(path, layer, as_json=as_json)
    if code:
        click.get_current_context().exit(code)


def _put(session: Session, cache: Cache, path: str, *, any_data: bool) -> Layer:
    if path == STDIN and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("- means stdin, which is a terminal or closed: pipe a layer into it")
    size = os.stat(path).st_size if path != STDIN else None
    form: Form | None = None

    def watch(event: Event) -> None:
        nonlocal form
        if event.kind == "bytes" and event.name is None:
            form = form or event.form  # bytes of the file come first, before those of the tar inside
            if event.form == form:
                step.advance(event.size)

    name = "stdin" if path == STDIN else path
    with session.activity.step(f"adding {name}", total=size) as step, cache.watch(watch):
        return cache.put(sys.stdin.buffer if path == STDIN else path, any_data=any_data)


def _exit_code(error: Exception, path: str) -> int:
    """Return USAGE for a file that cannot be opened, the usual code for any other failure."""
    if isinstance(error, OSError) and error.filename == path:
        return exit_codes.USAGE
    return failures.exit_code(error)


def _print(path: str, layer: Layer, *, as_json: bool) -> None:
    if as_json:
        output.line(
            {
                "file": path,
                "digest": layer.digest,
                "diff_id": layer.names.diff_id,
                "size": layer.size,
                "uncompressed_size": layer.uncompressed_size,
                "media_type": layer.media_type,
            }
        )
    elif output.is_terminal():
        echo(f"{path}\ndigest   {layer.digest}\ndiff ID  {layer.names.diff_id or output.UNKNOWN}")
    else:
        echo(f"{layer.digest}\t{layer.names.diff_id or output.UNKNOWN}\t{path}")
