"""What an extraction costs: in calls of the operating system for a small file, in passes over a tar."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from files.made import image_of, info, make_tar
from fixtures.system_calls import system_calls
from servers.images import noise

import layercache
from layercache.files import wanted

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

FILES = 300
SMALL = make_tar(
    *(f"etc/{number}/" for number in range(10)),
    *((f"etc/{number % 10}/{number}", noise(10 + number)) for number in range(FILES)),
)


@pytest.fixture
def image(tmp_path: Path) -> Any:
    with layercache.open(str(tmp_path / "cache")) as cache:
        image = image_of(cache, tmp_path / "image", SMALL)
        image.extract(tmp_path / "first")
        yield image


def test_a_small_file_in_a_new_folder_takes_four_system_calls(
    image: layercache.Image, tmp_path: Path
) -> None:
    calls = system_calls(lambda: image.extract(tmp_path / "out"), threads=True)
    assert calls["pwrite"] == FILES
    folders = 12
    for name in ("open", "utime", "close"):
        assert FILES <= calls[name] <= FILES + 3 * folders, name
    assert calls["fchmod"] <= folders, "files are made with their modes"
    others = set(calls) - {"pwrite", "open", "utime", "close", "fchmod"}
    assert sum(calls[name] for name in others) < FILES // 2, calls


def test_a_small_file_takes_fewer_than_five_calls_of_python(image: layercache.Image, tmp_path: Path) -> None:
    called: list[object] = []

    def watch(_frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.append(1)

    threading.setprofile(watch)
    try:
        image.extract(tmp_path / "out")
    finally:
        threading.setprofile(None)
    assert len(called) < 5 * FILES, len(called) / FILES


def test_a_small_file_in_a_folder_that_was_there_is_renamed_and_that_is_all(
    image: layercache.Image, tmp_path: Path
) -> None:
    calls = system_calls(lambda: image.extract(tmp_path / "first"), threads=True)
    assert calls["rename"] == calls["pwrite"] == FILES
    assert sum(calls.values()) < 5.5 * FILES, calls


def test_a_file_with_bits_that_the_umask_takes_gets_its_mode_by_another_call(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    tar = make_tar(*((info(f"etc/{number}", mode=0o666), b"1") for number in range(FILES)))
    image = image_of(cache, tmp_path / "image", tar)
    calls = system_calls(lambda: image.extract(tmp_path / "out"), threads=True)
    assert calls["fchmod"] >= FILES


def test_where_each_read_hashes_the_tar_an_extraction_hashes_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layercache.resolver.entries import Entries

    hashed = []

    def counted(self: Entries, *arguments: Any) -> Any:
        hashed.append(arguments)
        return hash_entry(self, *arguments)

    hash_entry = Entries.hashed
    monkeypatch.setattr(Entries, "hashed", counted)
    monkeypatch.setattr(wanted, "FILES", 50)
    with layercache.open(f"file://{tmp_path}/cache", verify="always") as cache:
        image = image_of(cache, tmp_path / "image", SMALL)
        image.extract(tmp_path / "first")
        hashed.clear()
        image.extract(tmp_path / "out")
    assert len(hashed) == 1
