"""One entry of a layer's tar: a file, a folder, a link, a device, or a mark that hides what lies below."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from layercache.value import Value

FileType = Literal["file", "directory", "symlink", "hardlink", "character", "block", "fifo"]

WHITEOUT = ".wh."
"""Prefix of a name that hides what has the rest of the name in the layers below (image-spec, layer.md)."""

OPAQUE = ".wh..wh..opq"
"""Name of the mark that hides all that a folder has in the layers below."""


class FileEntry(Value, frozen=True, omit_defaults=True, gc=False):
    """What a tar's headers say of one entry, and the hash of its bytes.

    ``path``: parts joined by "/", without "/" or "./" at its start and "/" at its end; "" is the root. None
    of its parts is "", "." or "..". Bytes that are not UTF-8 are surrogates (`os.fsdecode`).
    ``size``: bytes of a regular file, holes included; 0 for all else. ``mode``: permissions, set-id bits and
    sticky bit. ``mtime``: nanoseconds since the epoch. ``link``: the target of a symbolic link, as it is
    written, or of a hard link, as a ``path``. ``xattrs``: name and value. ``device``: major and minor number.
    ``offset``: where the file's bytes begin in the tar. ``sparse``: of a file with holes, offset and length
    of each piece that has bytes, in order; these stand one after the other in the tar. ``sha256``: of a
    regular file's bytes, holes included, as 64 hexadecimal digits; "" where it is not known.
    """

    path: str
    type: FileType = "file"
    size: int = 0
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    user: str = ""
    group: str = ""
    mtime: int = 0
    link: str = ""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    device: tuple[int, int] | None = None
    offset: int = 0
    sparse: tuple[tuple[int, int], ...] | None = None
    sha256: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The path of the folder that has it."""
        return self.path.rpartition("/")[0]

    @property
    def is_opaque(self) -> bool:
        """Whether it hides all that its folder has in the layers below."""
        return self.name == OPAQUE

    @property
    def hidden(self) -> str | None:
        """The path that it hides in the layers below, with all under it; None for what is not a whiteout."""
        if not self.name.startswith(WHITEOUT) or self.is_opaque:
            return None
        return f"{self.parent}/{self.name[len(WHITEOUT) :]}".lstrip("/")
