"""Fetches layers of an image out of a Docker daemon, with a client of docker-py."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import threading
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from layercache.errors import NotFoundError

if TYPE_CHECKING:
    import docker
    from _typeshed import WriteableBuffer

    from layercache.oci.digest import Digest


class DaemonImage:
    """An image of a daemon. ``fetch`` is for `Cache.layer`; layers have their diff IDs there, as digests.

    A daemon has tars alone, and hands out an image as a whole: it is saved once into a temporary file, at the
    first ``fetch``. A context manager, which removes that. Thread-safe.
    """

    # The lock guards `_saved`, and with it that the image is saved once. Each reader opens the file itself.

    def __init__(self, client: docker.DockerClient, name: str) -> None:
        self._image = client.images.get(name)
        self._file = tempfile.NamedTemporaryFile(prefix="layercache-")  # noqa: SIM115  # closed by `close`
        self._lock = threading.Lock()
        self._saved: dict[str, str] | None = None

    @property
    def diff_ids(self) -> list[str]:
        """Those of the layers, lowest first."""
        return list(self._image.attrs["RootFS"]["Layers"])

    def fetch(self, digest: Digest) -> BinaryIO:
        with self._lock:
            if self._saved is None:
                self._saved = self._save()
        if (path := self._saved.get(str(digest))) is None:
            raise NotFoundError(f"{digest} is not a layer of {self._image.short_id}")
        return cast("BinaryIO", io.BufferedReader(_Member(self._file.name, path)))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _save(self) -> dict[str, str]:
        self._file.truncate(0)  # what an earlier attempt has left
        self._file.seek(0)
        for chunk in self._image.save():
            self._file.write(chunk)
        self._file.flush()
        with tarfile.open(self._file.name) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None, "Docker writes one"
            return dict(zip(self.diff_ids, json.load(manifest)[0]["Layers"], strict=True))


class _Member(io.RawIOBase):
    """A file in an archive, which is open for as long as this is."""

    def __init__(self, archive: str, path: str) -> None:
        self._archive = tarfile.open(archive)  # noqa: SIM115  # `close` closes it
        member = self._archive.extractfile(path)
        assert member is not None, "a layer is a file, or a link to one"
        self._member = cast("io.BufferedReader", member)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._member.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._archive.close()
