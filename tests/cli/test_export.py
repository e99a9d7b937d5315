from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Sample
    from servers.registry import Registry


@pytest.fixture
def pulled(cli: Caller, registry: Registry, sample: Sample) -> str:
    """The name of an image that is in the cache, and whose registry is gone."""
    name = registry.push(f"oci:{sample.layout}:image", "team/app:1")
    cli("pull", "--platform", "linux/amd64", name)
    registry.stop()
    return name


def test_the_digest_is_printed_and_a_summary_beside_it(
    cli: Caller, pulled: str, tmp_path: Path, sample: Sample
) -> None:
    done = cli("export", "--platform", "linux/amd64", pulled, f"oci:{tmp_path}/layout")
    assert done.stdout == f"{sample.image.descriptor.digest}\n"
    assert "3 layers, wrote 5 blobs" in done.stderr
    quiet = cli("export", "-q", "--platform", "linux/amd64", pulled, f"oci:{tmp_path}/layout")
    assert quiet.stderr == ""


def test_json_describes_what_was_done(cli: Caller, pulled: str, tmp_path: Path, sample: Sample) -> None:
    target = f"docker-archive:{tmp_path}/image.tar"
    document = cli.json("export", "--platform", "linux/amd64", pulled, target)
    assert document == {
        "image": pulled,
        "target": target,
        "digest": sample.image.descriptor.digest,
        "image_id": sample.image.config_digest,
        "layers": 3,
        "blobs": 5,
        "bytes": document["bytes"],
        "foreign": 0,
        "pulled": sample.image.descriptor.digest,
        "attestations": 0,
    }


def test_a_miss_says_how_to_get_the_layer(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    failed = cli("export", "alpine", f"oci:{tmp_path}/layout", code=1)
    assert "layercache pull alpine" in failed.stderr
    assert not (tmp_path / "layout").exists()


@pytest.mark.parametrize(
    ("target", "code"),
    [("dir:/x", 2), ("oci:", 2), ("docker-archive:/absent/a.tar", 2), ("docker://127.0.0.1:1/app:1", 4)],
)
def test_a_target_that_cannot_be_has_a_code_of_its_own(
    cli: Caller, pulled: str, target: str, code: int
) -> None:
    cli("export", "--platform", "linux/amd64", pulled, target, code=code)


def test_a_terminal_shows_progress(cli: Caller, pulled: str, tmp_path: Path) -> None:
    code, seen = cli.on_terminal("export", "--platform", "linux/amd64", pulled, f"oci:{tmp_path}/layout")
    assert code == 0
    assert "exported" in seen
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    assert len(index["manifests"]) == 1
