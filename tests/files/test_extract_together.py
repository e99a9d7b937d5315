"""Extractions into one folder at the same time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from files.made import MTIME, image_of, info, make_tar, on_disk, symlink

from layercache.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    import layercache

FIRST = make_tar(
    info("etc/", mode=0o700),
    ("etc/a", b"first"),
    ("etc/both", b"first"),
    "etc/deep/",
    "etc/deep/er/",
    ("etc/deep/er/a", b"first"),
    "etc/folder-or-link/",
    ("etc/folder-or-link/a", b"first"),
    symlink("etc/link", "first"),
    ("top", b"first"),
)
SECOND = make_tar(
    info("etc/", mode=0o755),
    ("etc/b", b"second"),
    ("etc/both", b"second"),
    ("etc/deep/er/b", b"second"),
    symlink("etc/folder-or-link", ".."),
    symlink("etc/link", "second"),
    ("top", b"second"),
    "usr/",
    ("usr/b", b"second"),
)


def extract_during(outer: layercache.Image, inner: layercache.Image, out: Path) -> None:
    """Extract an image from its beginning to its end while another one is being extracted."""
    begun = False

    def meanwhile(_size: int) -> None:
        nonlocal begun
        if not begun:
            begun = True
            inner.extract(out)

    outer.extract(out, progress=meanwhile)


def test_of_two_into_a_new_folder_the_later_is_merged_as_if_it_had_come_afterwards(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    first = image_of(cache, tmp_path / "image1", FIRST)
    second = image_of(cache, tmp_path / "image2", SECOND)
    extract_during(first, second, tmp_path / "out")
    second.extract(tmp_path / "in-turn")
    first.extract(tmp_path / "in-turn")
    assert on_disk(tmp_path / "out") == on_disk(tmp_path / "in-turn")
    assert (tmp_path / "out/etc/both").read_bytes() == b"first"
    assert (tmp_path / "out/etc/deep/er/b").read_bytes() == b"second"
    assert os.stat(tmp_path / "out/etc").st_mtime == MTIME


def test_a_folder_that_the_other_has_filled_is_not_replaced_by_a_file(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    first = image_of(cache, tmp_path / "image1", FIRST)
    second = image_of(cache, tmp_path / "image2", SECOND)
    with pytest.raises(SourceError, match=r"cannot write .*/out/etc/folder-or-link: Directory not empty"):
        extract_during(second, first, tmp_path / "out")
    assert (tmp_path / "out/etc/folder-or-link/a").read_bytes() == b"first"
    assert not list((tmp_path / "out").glob(".layercache-*"))


def test_a_link_in_the_place_of_a_folder_of_the_other_is_not_followed(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "kept").write_text("kept")

    def plant(_size: int) -> None:
        (out / "etc").mkdir(exist_ok=True)
        if not (out / "etc/deep").is_symlink():
            os.symlink(outside, out / "etc/deep")

    image_of(cache, tmp_path / "image1", FIRST).extract(out, progress=plant)
    assert os.listdir(outside) == ["kept"]
    assert (out / "etc/deep/er/a").read_bytes() == b"first"
