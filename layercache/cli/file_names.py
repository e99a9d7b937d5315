"""Names of files out of images, as they are printed: the author of an image chose them."""

from __future__ import annotations

import os
import sys

from layercache.cli.terminal import screen

ROOT = "/"


def shown(path: str) -> str:
    r"""The path with what controls a terminal or ends a line written as ``\n``, ``\x1b``, ``\u202e``.

    A byte that is not UTF-8 is ``\xff``. A backslash stays as it is, as many names have one: what has to be
    exact is written by `write_raw`. The root is ``/``.
    """
    return (path if path.isprintable() else "".join(map(_shown, path))) or ROOT


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode
        return f"\\x{code - 0xDC00:02x}"
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(letter) or (
        f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
    )


def write_raw(*fields: str) -> None:
    """Write fields to stdout, separated by tabs, byte for byte and ended by a NUL, which no name has."""
    screen.lend()
    if sys.stdout is not None:
        sys.stdout.buffer.write(os.fsencode("\t".join(field or ROOT for field in fields)) + b"\0")
