"""Exports an image into the storage of podman, buildah and CRI-O, through podman's or skopeo's own program.

The storage has no stable format on disk, and locks that only these programs know.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast

from layercache.errors import SourceError
from layercache.export.layout_index import EntryNames
from layercache.export.to_archive import DockerArchive, OciArchive
from layercache.oci.descriptor import OCI_MANIFEST
from layercache.streams.named_file import NamedFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.export.contents import Contents
    from layercache.oci.reference import Reference

    Archive = DockerArchive | OciArchive
    Seen = Callable[[int], object]

OUTPUT_MAX = 4 << 10
"""Bytes of what the program has printed that an error shows: the last ones."""


class StorageTarget:
    """The images of podman, for this user. An OCI image keeps its digest, one of Docker's its ID.

    podman gets the archive through a pipe. skopeo reads an archive only from a file, which is temporary.
    """

    one_platform: ClassVar[bool] = True

    def __init__(self, image: Reference) -> None:
        self._image = image
        self._program = next((name for name in ("podman", "skopeo") if shutil.which(name)), "")
        if not self._program:
            raise SourceError(
                "containers-storage: needs podman or skopeo, and neither is on the PATH",
                hint="install one of them, or export to oci-archive: and load that file where podman is",
            )

    def write(self, contents: Contents, seen: Seen) -> tuple[int, int]:
        """Load the archive; return how many files it has, and how many bytes they have."""
        archive: Archive = DockerArchive(contents, str(self._image))  # also refuses what is not an image
        transport = "docker-archive"
        if contents.root.descriptor.media_type == OCI_MANIFEST:
            archive, transport = OciArchive(contents, EntryNames("", str(self._image))), "oci-archive"
        if self._program == "podman":
            return self._run(["podman", "load", "--quiet"], archive, seen)
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            found = archive.write(NamedFile(cast("BinaryIO", file), file.name, rewindable=True), seen)
            file.flush()
            target = f"containers-storage:{self._image}"
            self._run(["skopeo", "copy", "--quiet", f"{transport}:{file.name}", target], None, seen)
        return found

    def _run(self, command: list[str], archive: Archive | None, seen: Seen) -> tuple[int, int]:
        """Run a program that reads the archive, if there is one, from its stdin."""
        found = 0, 0
        with tempfile.TemporaryFile() as output:
            with subprocess.Popen(  # noqa: S603  # one of two programs, and a reference that was parsed
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
            ) as program:
                stdin = cast("BinaryIO", program.stdin)
                try:
                    with suppress(BrokenPipeError):  # it has ended; its output says why
                        if archive is not None:
                            file = NamedFile(stdin, " ".join(command), rewindable=False)
                            found = archive.write(file, seen)
                except BaseException:
                    program.kill()  # before its input ends, so that it cannot take a part for the whole
                    raise
                finally:
                    with suppress(BrokenPipeError):
                        stdin.close()
            if program.returncode or (archive is not None and not found[0]):
                raise SourceError(f"{self._program} did not load {self._image}: {_end_of(output)}")
        return found


def _end_of(output: BinaryIO) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_MAX))
    return output.read().decode(errors="replace").strip() or "it printed no reason"
