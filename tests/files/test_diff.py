"""Differences of images, out of their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from files.made import hardlink, image_of, info, make_tar, symlink
from files.stacks import Listed, file, folder, stack

from layercache.files.diff import diff
from layercache.files.merged import ImageFiles
from layercache.index.entry import FileEntry

if TYPE_CHECKING:
    from pathlib import Path

    import layercache


def test_what_differs_is_said_with_the_bytes_by_which_it_grew(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    base = make_tar(
        "etc/", ("etc/same", b"1"), ("etc/gone", b"123"), ("etc/text", b"old"), symlink("l", "etc")
    )
    other = make_tar(
        info("etc/", mtime=5),
        (info("etc/same", mtime=7), b"1"),
        (info("etc/text", mode=0o600, uid=4), b"newer"),
        ("etc/new", b"12345"),
        symlink("l", "usr"),
        hardlink("etc/name", "etc/same"),
    )
    old, new = (image_of(cache, tmp_path / str(at), tar) for at, tar in enumerate((base, other)))
    found = [(each.path, each.kind, each.growth, each.changed) for each in diff(old.files(), new.files())]
    assert found == [
        ("etc/gone", "removed", -3, ()),
        ("etc/name", "added", 1, ()),
        ("etc/new", "added", 5, ()),
        ("etc/text", "changed", 2, ("content", "mode", "owner")),
        ("l", "changed", 0, ("link",)),
    ]
    assert list(diff(old.files(), old.files())) == []


def test_layers_cut_otherwise_are_no_difference(cache: layercache.Cache, tmp_path: Path) -> None:
    a, b = ("etc/a", b"1"), ("etc/b", b"2")
    one = image_of(cache, tmp_path / "one", make_tar("etc/", a, b))
    two = image_of(cache, tmp_path / "two", make_tar("etc/", a), make_tar("etc/", b))
    assert list(diff(one.files(), two.files())) == []


def test_a_file_becomes_a_folder() -> None:
    (change,) = diff(stack([file("a", 5)]), stack([folder("a")]))
    assert (change.changed, change.growth) == (("type",), -5)


def test_a_file_without_a_hash_is_the_same_only_as_itself() -> None:
    entry = FileEntry("a", size=9, offset=512)
    same = Listed([entry])
    assert not list(diff(ImageFiles([same]), ImageFiles([same])))
    other = Listed([entry])
    other.called = "sha256:other"
    assert [each.changed for each in diff(ImageFiles([same]), ImageFiles([other]))] == [("content",)]
