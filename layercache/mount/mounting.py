"""Mounts files into a folder, and serves them until that is unmounted."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from shutil import which
from typing import TYPE_CHECKING, Self

from layercache.backend import install_hint
from layercache.errors import BackendError, ConfigError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from layercache.files.merged import ImageFiles
    from layercache.mount.inodes import Inodes

DEVICE = "/dev/fuse"

FOREVER = 365 * 86_400
"""Seconds for which the system may remember what it learnt: nothing here ever changes."""

ENDED = "8"
"""The code of libfuse 3 for a mount that a signal has ended."""

THREADS = 10
"""In which libfuse asks. A slow bucket holds up so many reads before it holds up others."""

_REFUSED = "in a container, mounting needs --device /dev/fuse --cap-add SYS_ADMIN; users need fusermount3"

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def mount(
    files: ImageFiles,
    directory: str | os.PathLike[str],
    *,
    title: str = "layercache",
    allow_other: bool = False,
    listed: Callable[[int], object] = lambda _left_out: None,
    mounted: Callable[[], object] = lambda: None,
    failed: Callable[[str, Exception], object] = lambda _path, _error: None,
) -> None:
    """Mount files of an image at an empty folder, read-only, and return once they are unmounted.

    ``umount`` and the signals SIGINT, SIGTERM and SIGHUP unmount them. Only for the main thread. ``title``:
    their name in the list of mounts. ``allow_other``: other users have access, too, as modes permit.
    ``listed`` is called when the tables of all layers are read, with the number of files that are left out,
    since Linux does not allow their names; ``mounted`` when the files are there; ``failed``, in any thread,
    with path and error of what a program could not read. Raises `ConfigError`, `BackendError`.
    """
    from layercache.mount.inodes import Inodes

    place = Mount(os.path.abspath(directory), title, allow_other)
    place.check()
    inodes = Inodes(files)
    listed(inodes.left_out)
    place.serve(inodes, mounted, failed)


class Mount(Value, frozen=True):
    """Where files are mounted.

    ``title``: their name in the list of mounts. ``everyone``: whether users other than the one who mounts
    have access, as far as the modes of the files permit.
    """

    directory: str
    title: str
    everyone: bool = False

    def check(self) -> None:
        """Raise `ConfigError` unless files can be mounted there, as far as can be seen without trying."""
        _check_folder(self.directory)
        _fuse()
        _check_system()

    def serve(
        self, inodes: Inodes, begun: Callable[[], object], failed: Callable[[str, Exception], object]
    ) -> None:
        """Mount, and return once it is unmounted; SIGINT, SIGTERM and SIGHUP unmount it.

        ``begun`` is called when it is mounted; ``failed``, in any thread, with path and error of what a
        program could not read. Only for the main thread. Raises `ConfigError`, `BackendError`.
        """
        fuse = _fuse()
        from layercache.mount.operations import Operations

        with _Stderr() as stderr, _WorkingFolder() as folder, _signals_for_libfuse():

            def mounted() -> None:
                folder.restore()
                stderr.restore()
                begun()

            try:
                fuse.FUSE(Operations(inodes, mounted, failed), self.directory, **self._options(fuse))
            except RuntimeError as error:
                if str(error) != ENDED:
                    raise BackendError(
                        f"{self.directory} cannot be mounted: {stderr.text() or f'libfuse reports {error}'}",
                        hint=_REFUSED,
                    ) from error

    def _options(self, fuse: ModuleType) -> dict[str, object]:
        options: dict[str, object] = {
            "foreground": True,
            "ro": True,
            "fsname": self.title.replace("\\", "\\\\").replace(",", "\\,"),
            "subtype": "layercache",
            "allow_other": self.everyone,
            "default_permissions": self.everyone,
            "kernel_cache": True,
            "entry_timeout": FOREVER,
            "attr_timeout": FOREVER,
            "negative_timeout": FOREVER,
            "use_ino": True,
        }
        if (fuse.fuse_version_major, fuse.fuse_version_minor) >= (3, 12):
            options["max_threads"] = options["max_idle_threads"] = THREADS
        if which("fusermount3" if fuse.fuse_version_major == 3 else "fusermount"):
            options["auto_unmount"] = True  # also when this process is killed
        return options


def _check_folder(directory: str) -> None:
    try:
        found = os.listdir(directory)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise ConfigError(
                f"{directory} is a mount whose program has ended", hint=f"fusermount3 -u {directory}"
            ) from error
        hint = f"mkdir {directory}" if error.errno == errno.ENOENT else ""
        raise ConfigError(f"{directory}: {error.strerror}", hint=hint) from error
    if found:
        raise ConfigError(
            f"{directory} is not empty, and its files would be hidden", hint="mount into an empty folder"
        )


def _fuse() -> ModuleType:
    """The bindings of libfuse. Raises `ConfigError` without them, or without libfuse."""
    try:
        import mfusepy
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"layercache mount needs the package {error.name}", hint=install_hint("mount")
        ) from error
    except (OSError, AttributeError) as error:  # it has no separate errors for this
        raise ConfigError(f"layercache mount needs libfuse: {error}", hint=_install_libfuse()) from error
    fuse: ModuleType = mfusepy
    return fuse


def _install_libfuse() -> str:
    if sys.platform == "darwin":
        return "install macFUSE (brew install --cask macfuse)"
    return "apt install fuse3, dnf install fuse3, apk add fuse3, or pacman -S fuse3"


def _check_system() -> None:
    """Raise `ConfigError` if Linux does not let this process mount."""
    if not sys.platform.startswith("linux"):
        return
    if not os.path.exists(DEVICE):
        raise ConfigError(
            f"there is no {DEVICE}",
            hint="modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN",
        )
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise ConfigError(
            f"{DEVICE} may not be opened", hint="on most systems everybody may: chmod 666 it, as root"
        )


class _Stderr:
    """Until `restore`, or the end of the block, what is written to stderr goes to a file.

    libfuse has no other way to report why it fails. And the program by which it unmounts what a killed
    process has mounted inherits stderr, and complains there if it has nothing to do.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._before: int | None = None
        if sys.stderr is not None:  # it may be closed
            sys.stderr.flush()
            self._before = os.dup(2)
            os.dup2(self._file.fileno(), 2)

    def restore(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            os.dup2(before, 2)
            os.close(before)

    def text(self) -> str:
        """What was written, in one line."""
        self._file.seek(0)
        return "; ".join(self._file.read().decode(errors="replace").split("\n")).strip("; ")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
        self._file.close()


class _WorkingFolder:
    """libfuse goes to the root folder, where the relative path of an OCI layout leads nowhere."""

    def __init__(self) -> None:
        self._handle = os.open(".", os.O_RDONLY)

    def restore(self) -> None:
        os.fchdir(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


@contextmanager
def _signals_for_libfuse() -> Iterator[None]:
    """Let libfuse end on signals: it takes only those that nobody else takes. What is ignored stays so."""
    before = [
        (number, signal.signal(number, signal.SIG_DFL))
        for number in _ENDING
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
