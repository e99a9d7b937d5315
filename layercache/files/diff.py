"""Which files differ between two images. Their tables are compared; no file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.files.merged import ImageFile, ImageFiles
    from layercache.index.entry import FileEntry

Aspect = Literal["type", "content", "link", "device", "mode", "owner", "xattrs"]


class Difference(Value, frozen=True):
    """One path that is not the same in two images.

    ``old``: what the first image has there, ``new``: what the second has; None for nothing. ``changed``: in
    what they differ, empty if one is None. Times alone are no difference.
    """

    path: str
    old: ImageFile | None
    new: ImageFile | None
    changed: tuple[Aspect, ...] = ()

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """Whether the second image alone has it, the first alone, or both."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"

    @property
    def growth(self) -> int:
        """By how many bytes the file is bigger in the second image; negative if it is smaller."""
        old, new = (0 if each is None else each.entry.size for each in (self.old, self.new))
        return new - old


def diff(old: ImageFiles, new: ImageFiles) -> Iterator[Difference]:
    """Yield what differs, sorted by path.

    A file whose hash no table has, because its holes are too big, counts as changed unless both images have
    it from the same place of the same tar. Raises as iterating over the images does.
    """
    names = [[tar.name for tar in files.layers] for files in (old, new)]
    before, after = ({file.path: file for file in files} for files in (old, new))
    for path in sorted(before.keys() | after.keys(), key=lambda path: path.replace("/", "\0")):
        first, second = before.get(path), after.get(path)
        if first is None or second is None:
            yield Difference(path, first, second)
        else:
            same_tar = names[0][first.stored_in] == names[1][second.stored_in]
            changed = tuple(_changed(first.entry, second.entry, same_tar=same_tar))
            if changed:
                yield Difference(path, first, second, changed)


def _changed(old: FileEntry, new: FileEntry, *, same_tar: bool) -> Iterator[Aspect]:
    if old.type != new.type:
        yield "type"
        return
    if same_tar and old.offset == new.offset and old.type == "file":
        return  # one entry
    if old.type == "file" and (old.size != new.size or not old.sha256 or old.sha256 != new.sha256):
        yield "content"
    if old.link != new.link:
        yield "link"
    if old.device != new.device:
        yield "device"
    if old.type != "symlink" and old.mode != new.mode:
        yield "mode"
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield "owner"
    if old.xattrs != new.xattrs:
        yield "xattrs"
