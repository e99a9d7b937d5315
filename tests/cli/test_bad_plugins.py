"""Plug-ins that misbehave, through the program: alone, near and far, with a source that has everything."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.misbehaving import RAISED, install

from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample

pytestmark = pytest.mark.slow

CALLS = ["open", "size", "read", "stat", "scan", "create", "write", "commit", "delete", "abort"]
READS = [
    "data&how=short", "data&how=ends", "data&how=long", "read&how=None", "read&how=text",
    "size&how=no size", "size&how=negative size", "size&how=size as text",
]  # fmt: skip
KINDS = ["OSError", "SDK", "AttributeError"]
WHERE = ["", "&below=blobs/", "&below=images/"]
BLAMED = ("internal error", "Traceback")


@dataclass
class Stores:
    """The same store by a sound backend, and by one that misbehaves as told."""

    root: Path
    layout: str

    @property
    def sound(self) -> Caller:
        return Caller(f"file://{self.root}/store")

    def bad(self, fault: str) -> Caller:
        return Caller(f"bad://{self.root}/store?fault={fault}")

    def fill(self) -> None:
        self.sound("pull", self.layout)

    def content(self) -> dict[str, bytes]:
        """What is in the store; "" for a quarantine."""
        backend = LocalBackend(str(self.root / "store"))
        found = {}
        for entry in backend.scan():
            with backend.open(entry.key) as reader:
                found[entry.key] = reader.read()
        return found


@pytest.fixture
def stores(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> Stores:
    install(tmp_path / "site", "bad = servers.misbehaving:from_url")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Stores(tmp_path, layout)


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("call", ["open", "size", "read", "data"])
def test_what_goes_wrong_in_the_only_tier_is_blamed_on_it_and_not_on_the_output(
    stores: Stores, sample: Sample, tmp_path: Path, call: str, how: str
) -> None:
    stores.fill()
    output = tmp_path / "out.bin"
    name = sample.image.layers[0].digest
    said = stores.bad(f"{call}&how={how}&below=blobs/")("get", name, "-o", str(output), code=4).output
    assert f"bad://{tmp_path}/store: reading blobs/" in said
    assert "layercache-bad 1.2.3" in said
    assert "out.bin" not in said
    assert not output.exists()


@pytest.mark.parametrize("fault", READS)
def test_get_writes_all_bytes_or_no_file(stores: Stores, sample: Sample, tmp_path: Path, fault: str) -> None:
    stores.fill()
    output = tmp_path / "out.bin"
    for layer in sample.image.layers:
        for name in (layer.digest, layer.diff_id):
            bad = stores.bad(f"{fault}&below=blobs/")
            said = bad("get", name, "-o", str(output), code=4).output
            assert "bad://" in said
            assert not output.exists()
            assert len(bad("get", name, code=4).stdout_bytes) < len(layer.blob)


@pytest.mark.parametrize("fault", [*READS, *(f"read&how={how}" for how in RAISED)])
def test_verify_moves_no_good_blob(stores: Stores, fault: str) -> None:
    stores.fill()
    before = stores.content()
    said = stores.bad(fault)("verify", code=4).output
    assert "bad://" in said
    assert stores.content() == before
    stores.sound("verify")


@pytest.mark.parametrize("below", WHERE)
@pytest.mark.parametrize("how", ["SDK", "absence"])
@pytest.mark.parametrize("call", CALLS)
def test_a_far_tier_that_misbehaves_costs_no_pull_its_answer(
    stores: Stores, sample: Sample, tmp_path: Path, call: str, how: str, below: str
) -> None:
    if call in ("open", "size", "read", "stat", "scan"):
        stores.fill()
    far = stores.bad(f"{call}&how={how}{below}").url
    near = Caller(f"file://{tmp_path}/near")
    assert near("--cache", far, "pull", stores.layout).exit_code == 0
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    assert_all_there(near, sample)


@pytest.mark.parametrize("fault", READS)
def test_a_far_tier_that_gives_too_little_costs_no_pull_its_answer(
    stores: Stores, sample: Sample, tmp_path: Path, fault: str
) -> None:
    stores.fill()
    near = Caller(f"file://{tmp_path}/near")
    said = near("--cache", stores.bad(fault).url, "pull", stores.layout)
    assert "skipped bad://" in said.output
    assert_all_there(near, sample)


@pytest.mark.parametrize("call", CALLS)
def test_a_near_tier_that_misbehaves_costs_no_pull_its_answer(
    stores: Stores, sample: Sample, tmp_path: Path, call: str
) -> None:
    if call in ("open", "size", "read"):
        stores.fill()
    far = Caller(f"file://{tmp_path}/far?keep=both")
    bad = stores.bad(f"{call}&how=OSError")
    assert bad("--cache", far.url, "pull", stores.layout).exit_code == 0
    for layer in sample.image.layers:
        assert bad("--cache", far.url, "get", layer.digest).stdout_bytes == layer.blob
        assert bad("--cache", far.url, "get", layer.diff_id).stdout_bytes == layer.tar


@pytest.mark.parametrize("fault", ["commit&how=nothing published", "write&how=a byte lost"])
def test_put_does_not_report_success_for_a_blob_that_is_missing(
    stores: Stores, sample: Sample, tmp_path: Path, fault: str
) -> None:
    (tmp_path / "layer").write_bytes(sample.image.layers[0].blob)
    said = stores.bad(f"{fault}&below=blobs/")("put", str(tmp_path / "layer"), code=4).output
    assert "commit published" in said
    assert not [key for key in stores.content() if key.startswith("blobs/")]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("command", ["ls", "images", "stats", "verify", "prune", "doctor", "put"])
def test_no_command_takes_a_plug_ins_failure_for_its_own(
    stores: Stores, sample: Sample, tmp_path: Path, command: str, call: str
) -> None:
    stores.fill()
    (tmp_path / "layer").write_bytes(sample.image.layers[0].blob)
    arguments = [command, *([str(tmp_path / "layer")] if command == "put" else [])]
    bad = stores.bad(f"{call}&how=SDK")
    said = _whatever(bad, *arguments)
    assert not any(words in said for words in BLAMED)


def test_a_store_that_cannot_be_closed_is_a_warning(stores: Stores) -> None:
    stores.fill()
    said = stores.bad("close")("ls")
    assert "warning: skipped bad://" in said.stderr
    assert "closing it: ThrottledError: slow down" in said.stderr


def assert_all_there(near: Caller, sample: Sample) -> None:
    for layer in sample.image.layers:
        assert near("--offline", "get", layer.digest).stdout_bytes == layer.blob
        assert near("--offline", "get", layer.diff_id).stdout_bytes == layer.tar


def _whatever(caller: Caller, *arguments: str) -> str:
    from click.testing import CliRunner

    from layercache.cli.program import program

    called = CliRunner().invoke(program, ["--cache", caller.url, *arguments])
    assert called.exit_code in (0, 4)
    return called.output


@pytest.mark.parametrize("code", [0, None, "no credentials"])
@pytest.mark.parametrize("call", ["open", "read", "scan"])
def test_a_plug_in_that_calls_exit_does_not_make_a_failure_a_success(
    stores: Stores, sample: Sample, monkeypatch: pytest.MonkeyPatch, call: str, code: object
) -> None:
    stores.fill()
    monkeypatch.setitem(RAISED, "exit", lambda: SystemExit(code))
    command = ["ls"] if call == "scan" else ["get", sample.image.layers[0].digest]
    below = "" if call == "scan" else "blobs/"
    said = stores.bad(f"{call}&how=exit&below={below}")(*command, code=4).stderr
    assert f"sys.exit({code!r})" in said


def test_put_ends_where_a_far_plug_in_calls_exit(
    stores: Stores, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RAISED, "exit", lambda: SystemExit(0))
    (tmp_path / "blob").write_bytes(sample.image.layers[0].blob)
    for call in ("stat", "write", "commit"):
        near = f"file://{tmp_path}/near-{call}"
        bad = stores.bad(f"{call}&how=exit").url
        said = Caller(near)("--cache", bad, "put", str(tmp_path / "blob")).stderr
        assert "SystemExit: 0 (in layercache-bad 1.2.3)" in said


def test_the_next_tier_is_asked_where_a_plug_in_panics(
    stores: Stores, sample: Sample, tmp_path: Path
) -> None:
    stores.fill()
    for layer in sample.image.layers:
        bad = stores.bad("read&how=panic&below=blobs/").url
        got = Caller(f"file://{tmp_path}/near")(
            "--cache", bad, "--cache", f"file://{tmp_path}/store", "get", layer.digest
        )
        assert got.stdout_bytes == layer.blob
