"""Small files are made many at once: each is as its image has it, whatever comes between them."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from files.made import MTIME, hardlink, image_of, info, make_tar
from servers.images import noise

import layercache
from layercache.errors import DigestMismatchError, SourceError
from layercache.files.layer_tar import LayerTar
from layercache.files.tar_cursor import CHUNK
from layercache.streams.readers import BytesReader

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("verify", ["size", "always"])
@pytest.mark.parametrize("seed", range(3))
def test_small_files_come_right_with_links_large_and_special_ones_among_them(
    tmp_path: Path, seed: int, verify: str
) -> None:
    dice = random.Random(seed)
    sizes = (0, 1, 511, 512, 513, 3000, 60_000, CHUNK - 512, CHUNK, CHUNK + 1)
    names = ("a", "a/b", "c", "")  # the folders
    wanted: dict[str, tuple[bytes, int]] = {}
    members: list[object] = []
    for number in range(120):
        folder = dice.choice(names)
        path = f"{folder}/{number}".lstrip("/")
        data, mode = noise(dice.choice(sizes)), dice.choice((0o644, 0o644, 0o755, 0o444, 0o666, 0o4755))
        members.append((info(path, mode=mode), data))
        wanted[path] = data, mode & 0o777
        if dice.random() < 0.1:
            members.append(hardlink(f"c/link{number}", path))
            wanted[f"c/link{number}"] = wanted[path]
    with layercache.open(f"file://{tmp_path}/cache", verify=verify) as cache:  # type: ignore[arg-type]
        image = image_of(cache, tmp_path / "image", make_tar(*members))  # type: ignore[arg-type]
        for place in ("first", "out"):
            counted: list[int] = []
            done = image.extract(tmp_path / place, progress=counted.append)
            assert done.size == sum(counted)
    for path, (data, mode) in wanted.items():
        file = tmp_path / "out" / path
        assert file.read_bytes() == data, path
        assert (file.stat().st_mode & 0o7777, file.stat().st_mtime) == (mode, MTIME), path


def test_of_many_small_files_the_one_that_cannot_be_written_is_named(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    long = "n" * 300
    image = image_of(cache, tmp_path / "image", make_tar(("a/1", b"1"), (f"a/{long}", b"2"), ("a/3", b"3")))
    with pytest.raises(SourceError, match=f"cannot write {tmp_path}/out/a/{long}: File name too long"):
        image.extract(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_of_many_small_files_the_one_that_is_not_what_its_table_says_is_named(
    cache: layercache.Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = make_tar(("a/1", b"1"), ("a/2", b"right"), ("a/3", b"3"))
    image = image_of(cache, tmp_path / "image", tar)
    image.files().read_tables()
    wrong = tar.replace(b"right", b"wrong")
    monkeypatch.setattr(LayerTar, "read", lambda _self, start, end: BytesReader(wrong[start:end]))
    monkeypatch.setattr(LayerTar, "read_ahead", LayerTar.read)
    with pytest.raises(DigestMismatchError, match="a/2 has the sha256"):
        image.extract(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_owners_of_small_files_are_restored_if_that_is_asked_for(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    tar = make_tar(*((info(f"a/{number}", uid=number, gid=7), b"x") for number in range(3)))
    image_of(cache, tmp_path / "image", tar).extract(tmp_path / "out", owners=True)
    found = [(tmp_path / f"out/a/{number}").stat() for number in range(3)]
    assert [(each.st_uid, each.st_gid) for each in found] == [(0, 7), (1, 7), (2, 7)]


def test_of_many_small_files_those_that_have_attributes_get_them(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    special = info("a/2", pax_headers={"SCHILY.xattr.user.x": "y"})
    image_of(cache, tmp_path / "image", make_tar("a/1", special, "a/3")).extract(tmp_path / "out")
    assert [os.listxattr(tmp_path / f"out/a/{number}") for number in (1, 2, 3)] == [[], ["user.x"], []]
