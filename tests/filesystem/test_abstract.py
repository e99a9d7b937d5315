"""The reading parts of fsspec's own suite for file systems. The rest of it writes, which this cannot."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fixtures.rootfs import NAME, contents, store
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

TREES = {
    "bulk/source": ("file1", "file2", "subdir/subfile1", "subdir/subfile2", "subdir/nesteddir/nestedfile"),
    "globs/source": (
        "file1",
        "file2",
        *(
            f"subdir{at}/{name}"
            for at in range(2)
            for name in ("subfile1", "subfile2", "nesteddir/nestedfile")
        ),
    ),
    "deep/src": ("file",),
    "prefix/source": ("subdir.txt", "subdir/subfile.txt"),
    "hashed/source": tuple(f"{md5(str(number).encode()).hexdigest()}.txt" for number in range(10)),
}
FILES = {f"{tree}/{name}": b"" for tree, names in TREES.items() for name in names}
FILES |= {f"hashed/source/{name}": b"%d" % number for number, name in enumerate(TREES["hashed/source"])}


@pytest.fixture(scope="session")
def trees_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache with an image of the trees that the suite would write itself."""
    return store(tmp_path_factory.mktemp("abstract"), contents(FILES))


class _Trees(AbstractFixtures, AbstractGetTests):
    """With trees that are there, where the suite would write them, and remove them afterwards."""

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, fs_path: str) -> str:
        return f"{fs_path}/bulk/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self, fs_path: str) -> str:
        return f"{fs_path}/globs/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, fs_path: str) -> str:
        return f"{fs_path}/prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, fs_path: str) -> str:
        return f"{fs_path}/hashed/source"

    def test_get_directory_recursive(self, fs: Any, fs_path: str, local_target: str) -> None:
        """The one test that writes its tree itself: into a folder that is not there, then into it."""
        fs.get(f"{fs_path}/deep/src", local_target, recursive=True)
        assert _below(local_target) == ["file"]
        fs.get(f"{fs_path}/deep/src", local_target, recursive=True)
        fs.get(f"{fs_path}/deep/src/", local_target, recursive=True)
        assert _below(local_target) == ["file", "src/file"]


def _below(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


class TestByURL(_Trees):
    @pytest.fixture
    def fs(self, trees_url: str) -> Any:
        return fsspec.filesystem("image", cache=trees_url)

    @pytest.fixture
    def fs_path(self) -> str:
        return NAME


@pytest.mark.slow
class TestWithARoot(_Trees):
    @pytest.fixture
    def fs(self, trees_url: str) -> Any:
        return fsspec.filesystem("image", image=NAME, cache=trees_url)

    @pytest.fixture
    def fs_path(self) -> str:
        return ""
