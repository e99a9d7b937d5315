"""The options of commands that print what `layercache.cli.output` writes."""

from __future__ import annotations

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
no_trunc_option = click.option(
    "--no-trunc", is_flag=True, help="Do not shorten hashes and sizes; separate fields with tabs."
)
