"""extract: what is written, what is reported, and what is left after an interruption."""

from __future__ import annotations

import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from fixtures.file_images import BINARY, UPPER_RELEASE, entry, folder, hostile, layer_of, link, team_image
from servers.images import make_image, noise
from servers.lying import silent

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.lying import LyingRegistry


@pytest.fixture
def image(lying: LyingRegistry) -> str:
    return lying.add_image("1", team_image())


def tree(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


def test_an_image_is_extracted_as_a_container_sees_it(cli: Caller, image: str, tmp_path: Path) -> None:
    called = cli("extract", image, str(tmp_path / "root"))
    root = tmp_path / "root"
    assert called.stdout == ""
    assert called.stderr == f"extracted 5 files (5.1 kB) of {image} to {root}\n"
    assert tree(root)[:6] == [
        "etc",
        "etc/new.conf",
        "etc/os-release",
        "etc/outside",
        "etc/passwd",
        "etc/release",
    ]
    assert (root / "etc/os-release").read_bytes() == UPPER_RELEASE
    assert (root / "usr/bin/tool").samefile(root / "usr/bin/other")
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o755
    assert (root / "etc/passwd").stat().st_mtime == 1_700_000_000


def test_some_paths_are_extracted_into_a_folder_with_other_files(
    cli: Caller, image: str, tmp_path: Path
) -> None:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "mine").write_text("mine")
    cli("extract", image, str(tmp_path / "root"), "etc/os-release", "/usr/bin")
    assert tree(tmp_path / "root") == [
        "etc",
        "etc/mine",
        "etc/os-release",
        "usr",
        "usr/bin",
        "usr/bin/other",
        "usr/bin/tool",
    ]
    assert (tmp_path / "root" / "usr/bin/tool").read_bytes() == BINARY


def test_set_id_bits_are_restored_if_asked_for(cli: Caller, image: str, tmp_path: Path) -> None:
    cli("extract", "--set-id", image, str(tmp_path / "root"), "usr/bin/tool")
    assert stat.S_IMODE((tmp_path / "root/usr/bin/tool").stat().st_mode) == 0o4755


def test_devices_are_left_out_and_named(cli: Caller, lying: LyingRegistry, tmp_path: Path) -> None:
    null = entry("dev/nu\x1bll", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
    pipe = entry("run/pipe", type=tarfile.FIFOTYPE)
    image = lying.add_image("devices", make_image([layer_of([null, pipe])]))
    called = cli("extract", image, str(tmp_path / "root"))
    assert "left out 2 devices or pipes, which --devices makes: dev/nu\\x1bll, run/pipe" in called.stderr
    assert cli.json("extract", image, str(tmp_path / "other")) == {
        "files": 0,
        "size": 0,
        "skipped": ["dev/nu\x1bll", "run/pipe"],
    }


def test_nothing_is_written_outside_the_folder(cli: Caller, lying: LyingRegistry, tmp_path: Path) -> None:
    out = layer_of([link("way", str(tmp_path / "outside")), entry("way/file", b"x"), *[folder("../up")]])
    (tmp_path / "outside").mkdir()
    image = lying.add_image("out", make_image([out]))
    cli.process("extract", image, str(tmp_path / "root"))
    assert os.listdir(tmp_path / "outside") == []
    assert not (tmp_path / "up").exists()


def test_hostile_names_are_written_as_they_are_and_shown_harmless(
    cli: Caller, lying: LyingRegistry, tmp_path: Path
) -> None:
    image = lying.add_image("hostile", make_image([hostile()]))
    called = cli("extract", image, str(tmp_path / "root"))
    assert "\x1b" not in called.output
    assert (tmp_path / "root" / "hostile" / "line\nbreak").read_text() == "line\nbreak"
    assert os.path.exists(os.fsencode(tmp_path / "root" / "hostile") + b"/bytes\xff\xfe")


def test_a_path_that_is_not_there_is_not_found(cli: Caller, image: str, tmp_path: Path) -> None:
    said = cli("extract", image, str(tmp_path / "root"), "etc/os-relase", code=1).stderr
    assert "did you mean os-release?" in said


def test_a_file_is_not_a_folder(cli: Caller, image: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in cli("extract", image, str(tmp_path / "file"), code=2).stderr
    assert "/dev/full: it is not a folder" in cli("extract", image, "/dev/full", code=2).stderr


@pytest.mark.timeout(40)  # the registry is silent for longer
def test_an_interrupt_leaves_no_part_of_a_file(cli: Caller, lying: LyingRegistry, tmp_path: Path) -> None:
    big = layer_of([entry("big", noise(3_000_000))])
    image = lying.add_image("big", make_image([big]))
    lying.on(f"/blobs/{big.digest}", silent(1_000_000))
    target = tmp_path / "root"
    code, seen = cli.on_terminal(
        "extract", image, str(target), when=lambda seen: b"\x03" if b"index" in seen else b""
    )
    assert code == 130
    assert "interrupted" in seen
    assert not target.exists() or tree(target) == []
