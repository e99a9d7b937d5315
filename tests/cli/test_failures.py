"""What a failure is to a user: words and an exit code, never a traceback."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, Caller

from layercache import errors
from layercache.cli import failures

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFoundError("x"), 1),
        (errors.ConfigError("x"), 2),
        (errors.InvalidNameError("x"), 2),
        (errors.InUseError("x"), 5),
        (errors.NotALayerError("x"), 2),
        (errors.DigestMismatchError("x"), 3),
        (errors.FormatError("x"), 3),
        (errors.LimitError("x"), 3),
        (errors.BackendError("x"), 4),
        (errors.SourceError("x"), 4),
        (errors.LayercacheError("x"), 4),
        (OSError("x"), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 70),
    ],
)
def test_every_kind_of_failure_has_its_code(error: BaseException, code: int) -> None:
    assert failures.exit_code(error) == code


def test_every_error_of_ours_has_a_code_of_ours() -> None:
    ours = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert {failures.exit_code(each("x")) for each in ours} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "url", ["ftp://example.org/x", "nonsense", "", "file:///tmp?speed=high", "memory://x?keep=no"]
)
def test_an_invalid_cache_is_a_usage_error_with_a_hint(url: str) -> None:
    said = Caller(url)("ls", code=2).stderr
    assert said.startswith("layercache: ")
    assert "\n  hint       " in said


def test_a_cache_that_cannot_be_written_to_is_a_failure(file: Path) -> None:
    said = Caller("file:///proc/nowhere")("put", str(file), code=4).stderr
    assert f"layercache: {file}: file:///proc/nowhere: " in said


@pytest.mark.parametrize("by", ["nothing", "option", "variable"])
def test_a_tier_that_fails_is_an_error_where_that_is_wanted(
    cli: Caller, file: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "variable":
        monkeypatch.setenv("LAYERCACHE_STRICT", "1")
    strict = ["--strict"] if by == "option" else []
    called = cli(
        "--cache", "file:///proc/nowhere", "put", str(file), *strict, code=0 if by == "nothing" else 4
    )
    reported = "warning: skipped" if by == "nothing" else f"layercache: {file}:"
    assert called.stderr.startswith("layercache: " + reported.removeprefix("layercache: "))
    assert "file:///proc/nowhere: writing" in called.stderr


def test_no_traceback_is_shown_unless_asked_for(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert "Traceback" not in cli("get", "nonsense", code=2).output
    said = cli("get", "--verbose", "nonsense", code=2).stderr
    assert "Traceback" in said
    assert said.splitlines()[-2].startswith("layercache: not a digest")


def test_a_bug_is_called_one(cli: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("layercache.cli.layer_output.full_name", lambda *_: 1 / 0)
    said = cli("get", "nonsense", code=70).stderr
    assert "layercache: internal error: ZeroDivisionError: division by zero\n" in said


def test_what_a_tier_lost_is_a_warning(cli: Caller, file: Path, layer: Layer, tmp_path: Path) -> None:
    cli("put", str(file))
    with open(tmp_path / "cache" / "blobs" / "sha256" / layer.diff_id.hex, "ab") as tar:
        tar.write(b"more")
    got = cli("get", layer.diff_id)
    assert got.stdout_bytes == layer.tar
    assert got.stderr.startswith(f"layercache: warning: skipped {layer.diff_id} in {cli.url}: ")


def test_the_environment_selects_the_cache(cli: Caller, file: Path, layer: Layer, tmp_path: Path) -> None:
    environment = {**os.environ, "LAYERCACHE_URL": cli.url}
    subprocess.run([*PROGRAM, "put", file], env=environment, check=True, capture_output=True, timeout=60)
    assert cli("get", layer.digest).stdout_bytes == layer.blob


def test_the_default_cache_is_in_the_users_folder(file: Path, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([*PROGRAM, "put", file], env=environment, check=True, capture_output=True, timeout=60)
    assert list(tmp_path.rglob("layercache/blobs"))
    assert (
        subprocess.run([*PROGRAM, "ls"], env={}, check=False, capture_output=True, timeout=60).returncode == 0
    )
