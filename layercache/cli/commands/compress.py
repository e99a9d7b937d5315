"""``layercache compress``: compresses cached layers again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layercache.cli import failures, output
from layercache.cli.command import Command
from layercache.cli.option_types import COMPRESSION
from layercache.cli.output_options import json_option
from layercache.cli.terminal import echo
from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from layercache.cli.session import Session
    from layercache.layer import Layer
    from layercache.streams.compress import Compression


@click.command(cls=Command)
@click.argument("hashes", metavar="HASH...", nargs=-1, required=True)
@click.option(
    "--as",
    "compression",
    type=COMPRESSION,
    required=True,
    metavar="zstd|gzip[:LEVEL]",
    help="Levels: zstd 1 to 22 (default 3), gzip 1 to 9 (default 6).",
)
@json_option
@click.pass_obj
def compress(session: Session, hashes: tuple[str, ...], compression: Compression, as_json: bool) -> None:
    """Compress the tar of cached layers into new blobs.

    Prints the digest of each new blob, and the diff ID, which does not change. A missing tar is inflated
    from its blob. The new blob is inflated again and compared with the tar before it is stored. The same
    version of layercache makes the same bytes. A layer that fails does not stop the others.
    """
    from layercache.cli.short_hashes import full_name

    code = 0
    with session.cache() as cache:
        for hash in hashes:
            try:
                layer = cache.get(full_name(cache, hash))
                words, tar_size = f"compressing {hash} as {compression}", layer.uncompressed_size
                with session.activity.step(words, total=tar_size) as step:
                    made = layer.compress(compression.kind, level=compression.level, progress=step.advance)
            except LayercacheError as error:
                failures.show(error, about=hash, trace=session.verbose)
                code = code or failures.exit_code(error)
                continue
            _print(made, compression, as_json=as_json)
    if code:
        click.get_current_context().exit(code)


def _print(made: Layer, compression: Compression, *, as_json: bool) -> None:
    size, tar_size = made.size or 0, made.uncompressed_size or 0
    if as_json:
        output.line(
            {
                "digest": made.digest,
                "diff_id": made.diff_id,
                "size": size,
                "uncompressed_size": tar_size,
                "media_type": made.media_type,
                "compression": str(compression),
            }
        )
    elif output.is_terminal():
        share = f"{output.human(size)} of {output.human(tar_size)}"
        echo(f"digest   {made.digest}\ndiff ID  {made.diff_id}\nsize     {share}, {compression}")
    else:
        echo(f"{made.digest}\t{made.diff_id}\t{size}\t{tar_size}")
