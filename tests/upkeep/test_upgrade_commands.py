"""Commands on a cache of the earlier format: which refuse it, and what they print."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from fixtures.calling import Caller
from fixtures.earlier import GZIP, ZSTD, association, fill_earlier
from fixtures.layers import sample
from fixtures.stores import write
from upkeep.upgrading import upgrade

from layercache.tiers import format
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_first_command_on_an_old_default_cache_prints_the_exact_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my cache"))
    monkeypatch.delenv("LAYERCACHE_URL", raising=False)
    folder = tmp_path / "my cache" / "layercache"
    fill_earlier(LocalBackend(str(folder)))
    command = f"layercache upgrade '{folder}'"
    default = Caller(str(folder))
    for used in (["ls"], ["images"], ["stats"], ["verify"], ["prune"], ["get", GZIP.digest], ["index"]):
        said = default(*used, code=2).stderr
        assert f"an earlier version has written this cache, in another format: run {command}" in said
    assert default("put", "-", stdin=GZIP.blob, code=2).stderr.endswith("stay as they are\n")
    assert "FAILED   format" in default("doctor", code=4).stdout
    done = default("upgrade", str(folder))
    assert done.stdout == (
        f"converted 3 associations in file://{folder}, removed 6 objects of the earlier format\n"
    )
    assert default("upgrade").stdout == f"file://{folder} has format 2 already\n"
    assert len(default.lines("ls")) == 3


def test_a_far_tier_that_is_not_upgraded_is_named_by_what_uses_the_others(tmp_path: Path) -> None:
    fill_earlier(LocalBackend(str(tmp_path / "far")))
    near = Caller(f"file://{tmp_path}/near")
    command = f"run layercache upgrade {tmp_path}/far"
    both = ["--cache", f"file://{tmp_path}/far"]
    assert command in near(*both, "put", "-", stdin=GZIP.blob).stderr
    explained = near(*both, "explain", GZIP.digest)
    assert f"skipped: file://{tmp_path}/far: an earlier version has written this cache" in explained.stdout
    assert command in near(*both, "get", GZIP.digest).stderr + explained.stderr
    for used in (["get", ZSTD.digest], ["--offline", "pull", "registry.example/team/app:1"]):
        assert command in near(*both, *used, code=4).stderr
    for used in (
        ["stats"],
        ["verify", "--all-tiers"],
        ["prune", "--all-tiers"],
        ["--strict", "get", ZSTD.digest],
    ):
        assert command in near(*both, *used, code=2).stderr
    near(*both, "upgrade")
    near(*both, "get", ZSTD.digest)


def test_doctor_reports_associations_that_an_older_version_still_writes(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "cache"))
    fill_earlier(backend)
    upgrade(backend)
    caller = Caller(f"file://{tmp_path}/cache")
    assert "  ok       format         2\n" in caller("doctor").stdout
    for name, data in association(sample(7)).items():
        write(backend, name, data)
    said = caller("doctor").stdout
    assert "  warning  format         2, with associations of the earlier one" in said
    assert f"layercache upgrade {tmp_path}/cache" in " ".join(said.split())


def test_clean_empties_an_earlier_cache_and_what_an_upgrade_has_left(tmp_path: Path) -> None:
    for marked in (False, True):
        folder = tmp_path / f"cache-{marked}"
        backend = LocalBackend(str(folder))
        fill_earlier(backend)
        if marked:
            write(backend, format.KEY, format.MARKER)
        caller = Caller(f"file://{folder}")
        assert caller.json("clean", "--dry-run")["tiers"][0]["records"] == 6
        caller("clean", "--yes")
        left = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        assert {path.parts[0] for path in left} == {"index.json", "oci-layout", "locks"}
        caller("put", "-", stdin=GZIP.blob)
        assert len(caller.lines("ls")) == 1
        assert (folder / format.KEY).read_bytes() == format.MARKER


def test_clean_refuses_a_newer_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / format.KEY).write_bytes(b'{"layercache":{"format":3}}')
    assert "has format 3" in Caller(f"file://{tmp_path}/cache")("clean", "--yes", code=2).stderr


def test_copy_does_not_copy_the_marker_and_refuses_an_earlier_cache(tmp_path: Path) -> None:
    old, new, target = (f"file://{tmp_path}/{name}" for name in ("old", "new", "target"))
    for name in ("old", "new"):
        fill_earlier(LocalBackend(str(tmp_path / name)))
    caller = Caller(new)
    caller("upgrade")
    (tmp_path / "new" / format.KEY).write_bytes(b'{"layercache": {"format": 2, "by": "somebody"}}')
    caller("copy", new, target)
    assert (tmp_path / "target" / format.KEY).read_bytes() == format.MARKER
    for one, other in ((old, target), (new, old)):
        assert f"layercache upgrade {tmp_path}/old" in caller("copy", one, other, code=2).stderr


def test_several_tiers_are_upgraded_and_read_only_ones_left_out(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two", "three")]
    for place in places:
        fill_earlier(LocalBackend(str(place)))
    one, two, three = (f"file://{place}" for place in places)
    done = Caller(one).json("--cache", two, "--cache", f"{three}?readonly=true", "upgrade")
    assert [each["tier"] for each in done["tiers"]] == [one, two]
    assert (places[2] / "associations").exists()
    shutil.rmtree(places[2])
