"""What is restored of an entry besides its bytes: mode, times, owner, extended attributes, devices."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from layercache.files.destination import raw
from layercache.value import Value

if TYPE_CHECKING:
    from layercache.index.entry import FileEntry

CAPABILITY = "security.capability"

HOST = ("security.selinux", "security.ima", "security.evm", "trusted.overlay.", "user.overlay.")
"""Attributes that say something of the machine on which a layer was made: umoci leaves them out too."""

_TOO_BIG = (errno.E2BIG, errno.ERANGE, errno.ENOSPC)

NODES = {"character": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}


class Restore(Value, frozen=True):
    """What to restore besides modes, times, links and the attributes ``user.*``.

    ``owners``: numeric owners, and other extended attributes where the system allows them. ``devices``:
    device nodes and pipes. ``set_id``: set-id bits, and capabilities of files if ``owners`` is set.
    """

    owners: bool = False
    devices: bool = False
    set_id: bool = False

    def mode(self, entry: FileEntry) -> int:
        """The permissions and the sticky bit, and the set-id bits if asked for."""
        return entry.mode & (0o7777 if self.set_id else 0o1777)

    def apply(self, file: int, entry: FileEntry, *, has_mode: bool = False) -> None:
        """Restore it on an open file or folder; the owner first, since changing it clears set-id bits.

        ``has_mode``: it was made with its mode, which has no such bits.
        """
        if self.owners:
            os.fchown(file, entry.uid, entry.gid)
        if entry.xattrs:
            self._set_xattrs(file, entry)
        if not has_mode:
            os.fchmod(file, self.mode(entry))
        os.utime(file, ns=(entry.mtime, entry.mtime))

    def make_symlink(self, entry: FileEntry, name: str, folder: int) -> None:
        os.symlink(raw(entry.link), os.fsencode(name), dir_fd=folder)
        self._apply_by_name(entry, name, folder)

    def make_node(self, entry: FileEntry, name: str, folder: int) -> None:
        """A device or a pipe. Its mode is set by its descriptor, so that no link can take its place."""
        device = os.makedev(*entry.device) if entry.device else 0
        os.mknod(name, NODES[entry.type] | 0o600, device, dir_fd=folder)
        self._apply_by_name(entry, name, folder)
        if hasattr(os, "O_PATH"):
            file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.chmod(f"/proc/self/fd/{file}", self.mode(entry))
            finally:
                os.close(file)

    def _apply_by_name(self, entry: FileEntry, name: str, folder: int) -> None:
        if self.owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _set_xattrs(self, file: int, entry: FileEntry) -> None:
        """Set what may be set, and leave out what this system does not let us set."""
        if not hasattr(os, "setxattr"):
            return
        for name, value in entry.xattrs.items():
            if name.startswith(HOST) or not (self.owners or name.startswith("user.")):
                continue
            if name == CAPABILITY and not self.set_id:
                continue
            try:
                os.setxattr(file, raw(name), value)
            except OSError as error:
                if error.errno in _TOO_BIG:  # ENOSPC, too, is not the disk that is full
                    about = f"no room for the attribute {name[:80]!r} of {len(value)} bytes"
                    raise OSError(errno.E2BIG, about) from error
                if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL):
                    raise
