"""Which blobs were uploaded to which repository, until a manifest there refers to them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.serve.push.sessions import SWEEP_EVERY, remove_older

if TYPE_CHECKING:
    from layercache.oci.digest import Hash

_BLOBS = "_blobs"  # no component of a repository's name begins so


class Links:
    """A file for each blob of a repository, with its size, in a folder that all workers share. Thread-safe.

    A link says that somebody who may push to the repository has had the blob. Once a manifest refers to the
    blob that is said by the manifest, in the tiers; so a link is only of use for ``age`` seconds.
    """

    def __init__(self, folder: str, *, age: float) -> None:
        self._folder = folder
        self._age = age
        self._swept = time.time()  # a sweep too many does no harm: no lock

    def add(self, repository: str, name: Hash, size: int) -> None:
        path = self._path(repository, name)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, str(size).encode(), 0)  # always the same: a name has one size
        finally:
            os.close(file)
        self._sweep()

    def size(self, repository: str, name: Hash) -> int | None:
        """The bytes of a blob that was uploaded to a repository; None if none was."""
        try:
            with open(self._path(repository, name), "rb") as file:
                return int(file.read(20))
        except (FileNotFoundError, ValueError):  # or it is being written just now
            return None

    def remove(self, repository: str, name: Hash) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path(repository, name))

    def knows(self, repository: str) -> bool:
        """Whether anything was ever pushed to a repository on this machine."""
        return os.path.isdir(os.path.join(self._folder, repository, _BLOBS))

    def is_linked(self, name: Hash) -> bool:
        """Whether any repository has the blob."""
        file = _file(name)
        return any(file in files for _, _, files in os.walk(self._folder))

    def _path(self, repository: str, name: Hash) -> str:
        return os.path.join(self._folder, repository, _BLOBS, _file(name))

    def _sweep(self) -> None:
        now = time.time()
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        for folder, _, _ in os.walk(self._folder):
            if os.path.basename(folder) == _BLOBS:
                remove_older(folder, now - self._age)


def _file(name: Hash) -> str:
    return name.replace(":", "-")
