"""What the distribution promises: its metadata, its typing, and an import that costs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata, resources

import pytest

from layercache._version import __version__
from layercache.backend import ENTRY_POINT_GROUP, IN_THE_BOX

HEAVY = ["backports.zstd", "click", "importlib.metadata", "isal", "msgspec", "obstore", "rich", "urllib3"]


def test_the_metadata_states_the_version_of_the_code() -> None:
    assert metadata.version("layercache") == __version__


def test_the_schemes_in_the_box_are_registered_as_a_plug_in_registers_its_own() -> None:
    registered = {entry.name: entry.value for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    assert registered == dict(IN_THE_BOX)


@pytest.mark.parametrize("package", ["layercache", "layercache_backends"])
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert resources.files(package).joinpath("py.typed").is_file()


def test_import_layercache_loads_nothing_heavy() -> None:
    program = f"import layercache, sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
