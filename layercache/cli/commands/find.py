"""``layercache find``: searches many images for files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from layercache.cli import failures, file_lines, output
from layercache.cli.command import Command
from layercache.cli.completing import complete_image
from layercache.cli.file_names import shown, write_raw
from layercache.cli.file_options import null_option, platform_option
from layercache.cli.image_lists import file_name, names_in
from layercache.cli.named_files import Listed, digests, warn_of_foreign
from layercache.cli.option_types import GLOB, ReadableFile, jobs_option
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.registry_options import registry_options
from layercache.cli.table import Column, Lines
from layercache.errors import LayercacheError, NotFoundError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.images.image import Image

COLUMNS = (Column("IMAGE", name=True), Column("PATH"))


@click.command(cls=Command)
@click.argument("images", metavar="[IMAGE]...", nargs=-1, shell_complete=complete_image)
@click.option(
    "--name",
    "globs",
    metavar="GLOB",
    type=GLOB,
    multiple=True,
    required=True,
    help="Find files with this name, or path; see layercache files --help; repeatable.",
)
@click.option(
    "--from",
    "lists",
    type=ReadableFile(),
    multiple=True,
    metavar="FILE",
    help="Also search the images that this file lists, one a line; - is stdin; repeatable.",
)
@click.option(
    "--long", "-l", is_flag=True, help="Also print mode, owner, size, time, layer and the target of links."
)
@null_option
@jobs_option("Images to search in parallel.")
@platform_option
@registry_options
@json_option
@no_trunc_option
@click.pass_obj
def find(session: Session, /, **options: Any) -> None:
    """Find files in many images.

    Prints each image and the path of each file that matches. IMAGE is what pull takes: a name, a
    pattern of tags ('debian:12*'), a layout, an archive. Layers are not pulled: their indexes are
    read, and made where there is none.

    An image that fails does not stop the others; the exit code is that of the first failure, and
    1 if nothing is found.
    """
    registries = {key: options.pop(key) for key in ("ca_file", "plain_http", "insecure")}
    chosen = Options(**options)
    names = chosen.names()
    with session.cache(creates=True, **registries) as cache:
        search = Search(session, cache, chosen)
        chosen.print(search.run(names))
    search.explain(len(names))


class Options(Value, frozen=True):
    images: tuple[str, ...]
    lists: tuple[BinaryIO, ...]
    globs: tuple[str, ...]
    platform: str | None
    jobs: int
    long: bool
    null: bool
    as_json: bool
    no_trunc: bool

    def names(self) -> list[str]:
        """The images of the command line and of the files. Raises `ConfigError`, `click.UsageError`."""
        if self.null and (self.long or self.as_json):
            raise click.UsageError("--null prints images and paths alone: leave out --long and --json")
        names = [*self.images, *(names_in(self.lists) if self.lists else ())]
        if not names:
            files = ", ".join(map(file_name, self.lists))
            raise click.UsageError(
                f"no image is listed in {files}" if files else "Missing argument 'IMAGE...'."
            )
        return names

    def print(self, found: Iterable[tuple[Image, Listed]]) -> None:
        from json import dumps

        file_lines.accept_any_name()
        image_before = None
        with Lines(file_lines.COLUMNS if self.long else COLUMNS, whole=self.no_trunc) as lines:
            for image, (entry, layer) in found:
                if self.null:
                    write_raw(image.name, entry.path)
                elif self.as_json:
                    where = {"image": image.name, "digest": image.digest}
                    output.written(dumps(where | file_lines.document(entry, layer)))
                elif self.long:
                    if image is not image_before:
                        lines.heading(image.name)
                    name = (image.name,) if lines.whole else ()
                    lines.add(*name, *file_lines.cells(entry, layer, lines))
                    image_before = image
                else:
                    lines.add(image.name, shown(entry.path))


class Search:
    """A search, what it found, and what failed."""

    def __init__(self, session: Session, cache: Cache, options: Options) -> None:
        self._session, self._cache, self._options = session, cache, options
        self._found = 0
        self._errors: list[LayercacheError] = []

    def run(self, names: Sequence[str]) -> Iterator[tuple[Image, Listed]]:
        """Yield what matches. An image that fails is reported, and the others are searched."""
        options, words = self._options, [f"looking up {output.count(len(names), 'image')}"]

        def progress(done: int, images: int) -> None:
            words.append(f"searching: {done} of {output.count(images, 'image')}")

        with self._session.activity.step(lambda: words[-1]):
            for searched in self._cache.find(
                names, options.globs, platform=options.platform, jobs=options.jobs, progress=progress
            ):
                image = searched.image
                if image:
                    warn_of_foreign(image, image.name, self._session.note)
                if searched.error:
                    self._errors.append(searched.error)
                    about = searched.name if image else ""
                    failures.show(searched.error, about=about, trace=self._session.verbose)
                elif image:
                    self._found += len(searched.files)
                    layers = digests(image)
                    yield from ((image, Listed(file.entry, layers[file.layer])) for file in searched.files)

    def explain(self, images: int) -> None:
        """Exit with the code of the first failure. Raises `NotFoundError` if nothing was found."""
        if self._errors:
            click.get_current_context().exit(failures.exit_code(self._errors[0]))
        if not self._found:
            globs = " or ".join(map(shown, self._options.globs))
            raise NotFoundError(f"no file in {output.count(images, 'image')} matches {globs}")
