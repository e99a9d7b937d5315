"""The options of the commands for files."""

from __future__ import annotations

import click

platform_option = click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Platform of the image. Default: Linux on this machine's architecture.",
)
null_option = click.option(
    "--null", "-0", is_flag=True, help="End each path with a NUL instead of a newline, and escape nothing."
)
