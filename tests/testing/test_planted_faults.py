"""The contract is proved by what it catches: faults, planted one at a time in a backend that has none."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
from testing import contract
from testing.plants import PLANTS

from layercache.testing import BackendContract
from layercache.testing.failing import FailurePromises

CONTRACT = Path(contract.__file__)
ALONE = ["-c", os.devnull, f"--rootdir={CONTRACT.parent}", "--noconftest", "--import-mode=importlib", "-q"]
WITHOUT = ["cacheprovider", "xdist", "timeout"]

for table in ("bytes_faults", "capability_faults"):
    importlib.import_module(f"testing.{table}")  # fills PLANTS


@pytest.mark.slow
class TestUnharmed(contract.OnServer, BackendContract):
    """Without a fault the backend keeps every promise."""


@pytest.mark.slow
class TestUnharmedOverTCP(contract.OnServer, FailurePromises):
    """As if the server did not speak HTTP: connections are spoilt, not requests."""

    speaks_http = False


class Record:
    """A plugin of pytest's: the names of the tests that failed, in order."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.ran = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        if report.failed:
            assert report.when == "call", report.longreprtext
            self.failed.append(report.nodeid.rpartition("::")[2])


def run_contract(*arguments: str) -> Record:
    """Run the contract, or some of its tests, on the backend as it is now: in this process."""
    record = Record()
    options = [*ALONE, *(option for name in WITHOUT for option in ("-p", f"no:{name}"))]
    pytest.main([*options, *arguments], plugins=[record])
    return record


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTS)
def test_the_contract_catches_a_planted_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, attribute, faulty in PLANTS[name].changes:
        monkeypatch.setattr(target, attribute, faulty)
    for test in PLANTS[name].caught_by:
        record = run_contract("-x", f"{CONTRACT}::TestHarmed::{test}")
        assert record.failed, f"{test} passed ({record.ran} cases) although {name.replace('_', ' ')}"


def test_with_x_the_first_failure_names_the_simplest_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, simplest in [
        ("the_last_byte_is_lost", "test_an_object_reads_as_it_was_written"),
        ("a_range_past_the_end_is_an_error", "test_a_range_is_the_slice_of_the_object"),
    ]:
        ((target, attribute, faulty),) = PLANTS[name].changes
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, faulty)
            assert run_contract("-x", f"{CONTRACT}::TestHarmed").failed == [simplest]
