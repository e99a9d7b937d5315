"""``layercache pull``: pulls images into the cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.completing import complete_image
from layercache.cli.image_lists import file_name, names_in
from layercache.cli.option_types import Path, ReadableFile, jobs_option
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.registry_options import registry_options
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.cli.pull_run import PullRun
    from layercache.cli.session import Session
    from layercache.layer import Forms


@click.command(cls=Command)
@click.argument("images", metavar="[IMAGE]...", nargs=-1, shell_complete=complete_image)
@click.option(
    "--from",
    "lists",
    type=ReadableFile(),
    multiple=True,
    metavar="FILE",
    help="Also pull the images that this file lists, one a line; - is stdin; repeatable.",
)
@click.option(
    "--lock",
    type=Path(dir_okay=False),
    metavar="FILE",
    help="Write a lock file: the digest of each image.",
)
@click.option(
    "--locked", type=ReadableFile(), metavar="FILE", help="Pull exactly the digests of this lock file."
)
@click.option(
    "--dry-run", "-n", "--plan", "dry_run", is_flag=True, help="Print what would be fetched, and stop."
)
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]|all",
    help="Platform, or all for everything in the index. Default: Linux on this machine's architecture.",
)
@click.option(
    "--form",
    type=click.Choice(["compressed", "uncompressed", "both"]),
    help="Form to store. Default: compressed, or uncompressed if no tier stores compressed layers.",
)
@jobs_option("Layers to pull in parallel.")
@registry_options
@json_option
@no_trunc_option
@click.pass_obj
def pull(session: Session, /, as_json: bool, no_trunc: bool, **options: Any) -> None:
    """Pull images and show where each layer came from.

    \b
    IMAGE is
      alpine, ghcr.io/team/app:1, host:5000/app@sha256:…    in a registry
      'debian:12*'                                          each tag that matches
      oci:PATH[:REF]                                        in an OCI image layout
      oci-archive:PATH[:REF]                                in an OCI image layout as a tar
      docker-archive:PATH[:REF]                             in an archive of docker save

    A PATH of - is stdin.

    An image or layer that fails does not stop the others; the exit code is that of the first failure.
    """  # noqa: D301  # click does not rewrap a paragraph that begins so
    from layercache.cli.pull_report import Done
    from layercache.cli.pull_run import PullRun
    from layercache.pull import Pulled, default_form
    from layercache.pull.opening import open_images

    begun, chosen = time.monotonic(), Options(**options)
    names = chosen.names()
    with session.cache(creates=True, **chosen.registries) as cache:
        form = chosen.form or default_form(cache)
        with session.activity.step(f"looking up {names[0] if len(names) == 1 else f'{len(names)} images'}"):
            opened = open_images(cache, names, chosen.platform, chosen.jobs)
        run = PullRun(session, cache, Pulled(form, opened))
        if chosen.dry_run:
            document = run.show_plan(as_json=as_json, whole=no_trunc)
        else:
            document = {}
            cache.uploads.resume()
            run.fill(chosen.jobs)
            if not as_json:
                run.print(whole=no_trunc)
    if not chosen.dry_run:
        done = Done(cache.counters, cache.uploads.progress(), time.monotonic() - begun)
        document = run.report(done, as_json=as_json)
    if as_json:
        output.document(document)
    if chosen.lock:
        _write_lock(session, chosen.lock, run)
    run.explain()


class Options(Value, frozen=True):
    images: tuple[str, ...]
    lists: tuple[BinaryIO, ...]
    lock: str | None
    locked: BinaryIO | None
    dry_run: bool
    platform: str | None
    form: Forms | None
    jobs: int
    ca_file: str | None
    plain_http: tuple[str, ...]
    insecure: tuple[str, ...]

    @property
    def registries(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("ca_file", "plain_http", "insecure")}

    def names(self) -> list[str]:
        """Return the names of all images, from the command line and from files.

        Raises `ConfigError`, `click.UsageError`.
        """
        if self.lock and self.dry_run:
            raise click.UsageError("--dry-run writes nothing: leave out --lock")
        if self.locked and (self.images or self.lists or self.lock):
            raise click.UsageError("--locked names the images: leave out IMAGE, --from and --lock")
        names = [*self.images, *(names_in(self.lists) if self.lists else ())]
        if self.locked:
            from layercache.pull import lists

            names = [str(each) for each in lists.read_lock(self.locked, file_name(self.locked))]
        if self.lock:
            self._check_lockable(names)
        if not names:
            files = [file_name(file) for file in (*self.lists, self.locked) if file]
            missing = f"no image is listed in {', '.join(files)}" if files else "Missing argument 'IMAGE...'."
            raise click.UsageError(missing)
        return names

    def _check_lockable(self, names: list[str]) -> None:
        from layercache.pull.patterns import split_pattern
        from layercache.sources.names import registry_reference

        for name in names:
            if split_pattern(name) is None and registry_reference(name) is None:
                raise click.UsageError(f"{name} cannot be locked: it is not in a registry")


def _write_lock(session: Session, path: str, run: PullRun) -> None:
    """Write the lock file, unless an image failed: a lock without it would be taken for complete."""
    from layercache.pull.lists import write_lock

    if run.pulled.errors:
        session.note(f"layercache: {path} was not written, because not everything was pulled")
        return
    references = run.pulled.references
    verb = "wrote" if write_lock(path, references) else "unchanged:"
    session.note(f"{verb} {path}, {output.count(len(references), 'image')}")
