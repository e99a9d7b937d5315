"""Programs that read by fsspec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.rootfs import NAME, OS_RELEASE, store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCACHE_URL", store(tmp_path))


def test_pandas_reads_a_table() -> None:
    import pandas as pd

    table = pd.read_csv(f"image://{NAME}/data/table.csv")
    assert len(table) == 20_000
    assert table["square"].iloc[-1] == 19_999**2
    options = {"image": {"image": NAME}}
    rooted = pd.read_csv("image:///data/table.csv", storage_options=options, nrows=1)
    assert list(rooted.columns) == ["number", "square"]


def test_pyarrow_reads_a_table() -> None:
    import fsspec
    from pyarrow import csv, fs

    image = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("image", image=NAME)))
    table = csv.read_csv(image.open_input_stream("/data/table.csv"))
    assert table.column("square")[-1].as_py() == 19_999**2
    package = fs.FileSelector("/lib/package")  # it cannot list names that are not UTF-8, as /data has one
    assert [each.path for each in image.get_file_info(package)] == ["/lib/package/__init__.py"]
    assert image.get_file_info("/nope").type == fs.FileType.NotFound


def test_universal_pathlib_walks_an_image() -> None:
    from upath import UPath

    root = UPath(f"image://{NAME}")
    assert (root / "etc" / "os-release").read_bytes() == OS_RELEASE
    assert sorted(path.name for path in (root / "etc").iterdir()) == [
        "dangling",
        "os-release",
        "passwd",
        "shadow",
    ]
    assert [str(path) for path in root.rglob("*.py")] == [f"image://{NAME}/lib/package/__init__.py"]
    assert (root / "etc").is_dir()
    assert (root / "etc/passwd").stat().st_size == 30
    assert not (root / "nope").exists()
    assert (root / "etc/passwd").parent.parent == root
