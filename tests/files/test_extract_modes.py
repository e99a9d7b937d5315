"""Modes of files that are extracted, whatever the process and the folder do to the modes of new files."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from files.made import image_of, info, make_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import layercache

MODES = (0o000, 0o400, 0o444, 0o600, 0o640, 0o644, 0o755, 0o666, 0o777, 0o1755)
TAR = make_tar(*((info(f"etc/{mode:o}", mode=mode), b"x") for mode in MODES), info("etc/empty", mode=0o664))

OWNER, GROUP, MASK, OTHERS = 0x01, 0x04, 0x10, 0x20
NOBODY = 0xFFFFFFFF


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o7777 for each in (folder / "etc").iterdir()}


WANTED = {f"{mode:o}": mode for mode in MODES} | {"empty": 0o664}


def test_each_file_has_the_mode_that_the_image_states_whatever_the_umask_is(
    cache: layercache.Cache, tmp_path: Path, umask: int
) -> None:
    image = image_of(cache, tmp_path / "image", TAR)
    image.extract(tmp_path / "out")
    assert modes(tmp_path / "out") == WANTED
    image.extract(tmp_path / "out")
    assert modes(tmp_path / "out") == WANTED
    assert os.umask(umask) == umask, "it is as it was"


def test_a_default_acl_of_the_folder_takes_nothing_from_a_files_mode(
    cache: layercache.Cache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    entries = ((OWNER, 7), (GROUP, 4), (MASK, 4), (OTHERS, 0))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", kind, bits, NOBODY) for kind, bits in entries)
    try:
        os.setxattr(out, "system.posix_acl_default", acl)
    except (AttributeError, OSError):
        pytest.skip("no ACLs here")
    image_of(cache, tmp_path / "image", TAR).extract(out)
    assert modes(out) == WANTED
