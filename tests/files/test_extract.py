"""Extraction: what is written, and that nothing is written anywhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING, Any, Literal

import pytest
from files.made import MTIME, hardlink, image_of, info, layout_of, make_tar, on_disk, symlink
from servers.images import noise

import layercache
from layercache.errors import (
    BackendError,
    ConfigError,
    DigestMismatchError,
    IntegrityError,
    NotFoundError,
    SourceError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layercache.backend import Reader

BASE = make_tar(
    info("etc/", mode=0o750),
    ("etc/a", b"one"),
    ("etc/b", b"two"),
    "usr/",
    "usr/bin/",
    (info("usr/bin/tool", mode=0o4755), noise(100_000)),
    symlink("bin", "usr/bin"),
    symlink("out", "../../../../etc"),
)
TOP = make_tar("etc/", "etc/.wh.b", hardlink("etc/again", "etc/a"), ("bin/new", b"new"))


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_an_image_is_written_as_its_layers_say(
    cache: layercache.Cache, tmp_path: Path, compression: str
) -> None:
    image = image_of(cache, tmp_path / "image", BASE, TOP, compression=compression)
    counted: list[int] = []
    done = image.extract(tmp_path / "out", progress=counted.append)
    out = tmp_path / "out"
    assert sorted(on_disk(out)) == [
        "bin", "etc", "etc/a", "etc/again", "out", "usr", "usr/bin", "usr/bin/new", "usr/bin/tool",
    ]  # fmt: skip
    assert (out / "etc").stat().st_mode & 0o7777 == 0o755
    assert (out / "etc/a").stat().st_ino == (out / "etc/again").stat().st_ino
    assert (out / "etc/a").read_bytes() == b"one"
    assert (out / "usr/bin/tool").read_bytes() == noise(100_000)
    assert (out / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755  # without its set-id bit
    assert os.readlink(out / "bin") == "usr/bin"
    assert {os.lstat(each).st_mtime for each in (out / "etc", out / "etc/a", out / "bin")} == {MTIME}
    assert (done.files, done.size) == (3, sum(counted)) == (3, 100_006)


def test_chosen_paths_come_with_the_folders_above_and_the_links_on_the_way(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    image = image_of(cache, tmp_path / "image", BASE, TOP)
    image.extract(tmp_path / "one", ["/bin/new"])
    assert sorted(on_disk(tmp_path / "one")) == ["bin", "usr", "usr/bin", "usr/bin/new"]
    image.extract(tmp_path / "two", ["etc", "bin"])
    assert sorted(on_disk(tmp_path / "two")) == ["bin", "etc", "etc/a", "etc/again"]
    with pytest.raises(NotFoundError):
        image.extract(tmp_path / "three", ["etc", "nowhere"])
    assert not (tmp_path / "three").exists()


def test_a_hard_link_without_its_target_is_written_as_the_file_itself(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    image_of(cache, tmp_path / "image", BASE, TOP).extract(tmp_path / "out", ["etc/again"])
    assert sorted(on_disk(tmp_path / "out")) == ["etc", "etc/again"]
    assert (tmp_path / "out/etc/again").read_bytes() == b"one"


def test_a_folder_with_files_is_merged_and_files_of_the_same_place_are_replaced(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "etc").mkdir(parents=True)
    (out / "etc/mine").write_text("mine")
    (out / "etc/a").write_text("old")
    (out / "etc/again").mkdir()
    (out / "usr").write_text("a file")
    image_of(cache, tmp_path / "image", BASE, TOP).extract(out)
    assert (out / "etc/mine").read_text() == "mine"
    assert (out / "etc/a").read_text() == (out / "etc/again").read_text() == "one"
    assert (out / "usr/bin/new").read_text() == "new"
    assert not [name for name in os.listdir(out) if name.startswith(".layercache")]
    image_of(cache, tmp_path / "image2", BASE, TOP).extract(out)  # again, over itself


def test_a_folder_in_the_way_that_is_not_empty_is_an_error_that_names_it(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    (tmp_path / "out/etc/a/b").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"cannot write .*out/etc/a: .*not empty"):
        image_of(cache, tmp_path / "image", BASE, TOP).extract(tmp_path / "out")


@pytest.mark.parametrize("name", ["/dev/null", "/dev/null/below"])
def test_a_destination_that_is_not_a_folder_is_refused(
    cache: layercache.Cache, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"cannot write {name}: it is not a folder"):
        image_of(cache, tmp_path / "image", BASE).extract(name)


def test_a_folder_that_was_there_keeps_its_mode_unless_the_image_states_one(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    image = image_of(cache, tmp_path / "image", make_tar(("etc/a", b"1"), info("usr/", mode=0o711)))
    out = tmp_path / "out"
    for folder in (out, out / "etc", out / "usr"):
        folder.mkdir(mode=0o700)
    image.extract(out)
    assert [oct(os.stat(each).st_mode) for each in (out, out / "etc", out / "usr")] == [
        "0o40700", "0o40700", "0o40711",
    ]  # fmt: skip
    image.extract(tmp_path / "new")
    assert oct(os.stat(tmp_path / "new/etc").st_mode) == "0o40755"


def test_names_are_written_as_the_tar_has_them_whatever_the_locale(tmp_path: Path) -> None:
    tar = make_tar("é/", ("é/ö", b"1"), "\udcff", symlink("link", "ö\udcfe"))
    name = layout_of(tmp_path / "image", tar)
    program = "import sys, layercache; layercache.open('memory://').image(sys.argv[1]).extract(sys.argv[2])"
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    run = [sys.executable, "-c", program, name, str(tmp_path / "out")]
    subprocess.run(run, check=True, env={**os.environ, **ascii_only})
    assert sorted(on_disk(tmp_path / "out")) == ["link", "é", "é/ö", "\udcff"]
    assert os.readlink(tmp_path / "out/link") == "ö\udcfe"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (info("n" * 300), "File name too long"),
        (info("a", pax_headers={"SCHILY.xattr.user.big": "x" * 70_000}), "no room for the attribute"),
    ],
)
def test_what_no_file_system_takes_is_an_error_that_names_the_file(
    cache: layercache.Cache, tmp_path: Path, member: tarfile.TarInfo, message: str
) -> None:
    image = image_of(cache, tmp_path / "image", make_tar(member))
    with pytest.raises(SourceError, match=f"cannot write {tmp_path}/out/{member.name}: .*{message}"):
        image.extract(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_full_disk_is_reported_with_what_to_do(
    cache: layercache.Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image = image_of(cache, tmp_path / "image", BASE)
    image.files().read_tables()
    monkeypatch.setattr("os.pwrite", refuse)
    with pytest.raises(SourceError, match=r"cannot write .*: No space left on device") as caught:
        image.extract(tmp_path / "out")
    assert caught.value.hint.startswith("the disk is full: free some space")


HOSTILE: dict[str, Callable[[str], list[bytes]]] = {
    "paths": lambda _: [
        make_tar(("../../escaped", b"x"), ("/escaped2", b"x"), ("a/../../../escaped3", b"x"))
    ],
    "a link and a file through it": lambda outside: [make_tar(symlink("d", outside), ("d/escaped", b"x"))],
    "the same in two layers": lambda outside: [
        make_tar(symlink("d", outside)),
        make_tar(("d/escaped", b"x")),
    ],
    "a relative link": lambda outside: [make_tar(symlink("d", "../" * 20 + outside), ("d/escaped", b"x"))],
    "a hard link": lambda outside: [make_tar(symlink("d", outside), hardlink("e", "d/secret"))],
    "a hard link by its path": lambda outside: [make_tar(hardlink("e", f"../../..{outside}/secret"))],
    "links of links": lambda _: [make_tar("d/", symlink("d/e", ".."), symlink("f", "d/e/.."), ("f/x", b"x"))],
    "a folder through links": lambda outside: [make_tar(symlink("a", "b"), symlink("b", outside), "a/x/")],
    "a link as a folder": lambda outside: [make_tar("d/", symlink("d", outside), ("d/escaped", b"x"))],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_no_path_and_no_link_leads_out_of_the_destination(
    cache: layercache.Cache, tmp_path: Path, case: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    before = on_disk(outside)
    image = image_of(cache, tmp_path / "image", *HOSTILE[case](str(outside)))
    if "hard" in case:
        with pytest.raises(NotFoundError, match="e is a hard link to"):
            image.extract(tmp_path / "in/out")
    else:
        image.extract(tmp_path / "in/out")
        assert os.listdir(tmp_path / "in") == ["out"]
    assert on_disk(outside) == before
    assert set(os.listdir(tmp_path)) <= {"image", "in", "outside"}


def test_links_in_the_destination_are_replaced_and_not_followed(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    (out / "usr").mkdir(parents=True)
    outside.mkdir()
    (outside / "a").write_text("kept")
    os.symlink(outside, out / "etc")
    os.symlink(outside, out / "usr/bin")
    image_of(cache, tmp_path / "image", BASE, TOP).extract(out)
    assert os.listdir(outside) == ["a"]
    assert (outside / "a").read_text() == "kept"
    assert (out / "etc/a").read_text() == "one"
    assert not (out / "etc").is_symlink()


@pytest.mark.parametrize("planted", ["d", "d/e"])
def test_a_link_that_is_planted_meanwhile_is_not_followed(
    cache: layercache.Cache, tmp_path: Path, planted: str
) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "e").mkdir()
    (out / "d/e").mkdir(parents=True)
    tar = make_tar("d/", ("d/1", b"1"), ("d/2", b"2"), "d/e/", ("d/e/3", b"3"), symlink("d/e/l", "x"))

    def plant(_size: int) -> None:
        if not (out / planted).is_symlink():
            (out / planted).rename(out / "moved")
            os.symlink(outside / planted.partition("/")[2], out / planted)

    with contextlib.suppress(SourceError):
        image_of(cache, tmp_path / "image", tar).extract(out, progress=plant)
    assert sorted(on_disk(outside)) == ["e"]


def test_an_image_of_many_layers_is_read_in_one_pass_of_each_and_only_as_far_as_wanted(
    cache: layercache.Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layercache.files.layer_tar import LayerTar

    tars = [make_tar((f"{number}/a", noise(2000)), (f"{number}/b", noise(2000))) for number in range(5)]
    image = image_of(cache, tmp_path / "image", *tars)
    read: list[tuple[str, int, int]] = []

    def opened(self: LayerTar, start: int, end: int) -> Reader:
        read.append((self.name, start, end))
        return in_pass(self, start, end)

    in_pass = LayerTar.read_in_pass
    for name in ("read", "read_in_pass"):
        monkeypatch.setattr(LayerTar, name, opened)
    image.extract(tmp_path / "out", ["1/a", "3"])
    names = [str(layer.diff_id) for layer in image.layers]
    ends = {
        entry.path: entry.offset + entry.size
        for entry in (*image.layers[1].files(), *image.layers[3].files())
    }
    assert sorted(read) == sorted([(names[1], 512, ends["1/a"]), (names[3], 512, ends["3/b"])])
    read.clear()
    image.extract(tmp_path / "all")
    assert sorted(name for name, _, _ in read) == sorted(names)


def test_devices_and_set_id_bits_are_restored_only_if_that_is_asked_for(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    tar = make_tar(
        info("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        info("pipe", tarfile.FIFOTYPE, mode=0o622),
        (info("su", mode=0o4755, uid=7, gid=8), b"x"),
        info("tmp/", mode=0o1777),
        info("gid/", mode=0o2755),
    )
    image = image_of(cache, tmp_path / "image", tar)
    done = image.extract(tmp_path / "plain")
    assert done.skipped == ("null", "pipe")
    modes = {
        name: oct(os.lstat(tmp_path / "plain" / name).st_mode) for name in os.listdir(tmp_path / "plain")
    }
    assert modes == {"su": "0o100755", "tmp": "0o41777", "gid": "0o40755"}
    if os.geteuid():
        pytest.skip("only root makes devices and gives files away")
    done = image.extract(tmp_path / "all", owners=True, devices=True, set_id=True)
    assert not done.skipped
    status = os.lstat(tmp_path / "all/null")
    assert stat.S_ISCHR(status.st_mode)
    assert (stat.S_IMODE(status.st_mode), status.st_rdev) == (0o666, os.makedev(1, 3))
    assert stat.filemode(os.lstat(tmp_path / "all/pipe").st_mode) == "prw--w--w-"
    status = os.lstat(tmp_path / "all/su")
    assert (status.st_uid, status.st_gid, status.st_mode) == (7, 8, 0o104755)
    assert os.lstat(tmp_path / "all/gid").st_mode == 0o42755


def test_what_is_removed_at_the_end_is_its_own_whoever_has_renamed_it(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "mine").mkdir(parents=True)
    (out / "mine/file").write_text("mine")

    def rename(_size: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            (stage,) = out.glob(".layercache-*")
            stage.rename(out / "renamed")
            (out / "mine").rename(stage)

    image_of(cache, tmp_path / "image", make_tar(("a", b"1"))).extract(out, progress=rename)
    assert (out / "a").read_bytes() == b"1"
    assert [each.read_text() for each in out.glob(".layercache-*/file")] == ["mine"]
    assert os.listdir(out / "renamed") == []


def test_an_interrupted_extraction_leaves_no_file_and_nothing_of_its_own(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "usr").mkdir(parents=True)

    def interrupt(_size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_of(cache, tmp_path / "image", BASE, TOP).extract(out, progress=interrupt)
    assert [each for each in on_disk(out) if each not in ("usr", "usr/bin")] == []


def test_after_an_error_no_other_tar_is_opened(
    cache: layercache.Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layercache.files import extract as extracting
    from layercache.files.layer_tar import LayerTar

    stopped = threading.Event()
    opened: list[str] = []

    class Run(extracting._Run):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_is_stopped" and value:
                stopped.set()

    def fail(self: LayerTar, _start: int, _end: int) -> Reader:
        opened.append(self.name)
        if len(opened) > 1:  # the caller's thread has been woken, and gets on first
            assert stopped.wait(20)
        raise SourceError("the registry does not respond")

    image = image_of(cache, tmp_path / "image", *(make_tar((str(number), b"1")) for number in range(20)))
    monkeypatch.setattr(extracting, "_Run", Run)
    monkeypatch.setattr(extracting, "_threads", lambda: 1)
    for name in ("read", "read_in_pass"):
        monkeypatch.setattr(LayerTar, name, fail)
    with pytest.raises(SourceError, match="does not respond"):
        image.extract(tmp_path / "out")
    assert len(opened) <= 2


@pytest.mark.parametrize("error", [None, errno.EXDEV, errno.ENOSYS, errno.EIO])
def test_files_of_a_tar_on_this_disk_are_copied_by_the_kernel_and_not_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    big, copied, copy = noise(9 << 20), [], os.copy_file_range

    def counted(*arguments: Any) -> int:
        if error is not None:
            raise OSError(error, os.strerror(error))
        copied.append(count := copy(*arguments))
        return count

    tar = make_tar(("etc/a", b"one"), ("big", big), ("etc/b", b"two"))
    with layercache.open(str(tmp_path / "cache")) as cache:
        image = image_of(cache, tmp_path / "image", tar)
        image.extract(tmp_path / "first")
        monkeypatch.setattr("os.copy_file_range", counted)
        monkeypatch.setattr("layercache.files.new_files.sha256", None)
        counts: list[int] = []
        image.extract(tmp_path / "out", progress=counts.append)
    assert (tmp_path / "out/big").read_bytes() == big
    assert [(tmp_path / "out/etc" / name).read_bytes() for name in ("a", "b")] == [b"one", b"two"]
    assert sum(counts) == len(big) + 6
    assert error is not None or sum(copied) > len(big) - (2 << 20)  # but for what came with the small ones


@pytest.mark.parametrize(("option", "verify"), [("?trusted=false", "size"), ("", "always")])
def test_a_tar_that_is_not_taken_as_it_stands_is_hashed_before_any_of_it_is_written(
    tmp_path: Path, option: str, verify: Literal["size", "always"]
) -> None:
    """In a folder that others can write to, and wherever the user wants that."""
    big = noise(9 << 20)
    with layercache.open(f"file://{tmp_path}/cache{option}", verify=verify) as cache:
        image = image_of(cache, tmp_path / "image", make_tar(("a", b"one"), ("big", big)))
        image.extract(tmp_path / "first")
        diff_id = image.layers[0].diff_id
        assert diff_id is not None
        with (tmp_path / "cache/blobs/sha256" / diff_id.hex).open("r+b") as file:
            file.seek(5 << 20)
            file.write(b"ROTTEN")
        with contextlib.suppress(IntegrityError):  # it may be found out in the middle, and be set aside
            image.extract(tmp_path / "out", ["big"])
        assert not (tmp_path / "out/big").exists() or (tmp_path / "out/big").read_bytes() == big
        image.extract(tmp_path / "out", ["big"])
    assert (tmp_path / "out/big").read_bytes() == big, "the tar is made again, of the blob"


def test_a_tar_on_this_disk_that_is_cut_while_it_is_copied_is_an_error(tmp_path: Path) -> None:
    big = noise(9 << 20)
    with layercache.open(str(tmp_path / "cache")) as cache:
        image = image_of(cache, tmp_path / "image", make_tar(("a", b"one"), ("big", big)))
        image.extract(tmp_path / "first")
        path = image.layers[0].path()
        assert path is not None

        def cut(_count: int) -> None:
            os.truncate(path, 5 << 20)

        with pytest.raises(BackendError, match="when it was opened"):
            image.extract(tmp_path / "out", progress=cut)
    assert not (tmp_path / "out/big").exists()


def test_a_file_that_is_not_what_its_table_says_is_not_written(
    cache: layercache.Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layercache.files.layer_tar import LayerTar

    image = image_of(cache, tmp_path / "image", BASE)
    read = LayerTar.read
    monkeypatch.setattr(LayerTar, "read", lambda self, start, end: read(self, start + 1, end + 1))
    with pytest.raises(DigestMismatchError, match="etc/a has the sha256"):
        image.extract(tmp_path / "out", ["etc/a"])
    assert not os.listdir(tmp_path / "out")
