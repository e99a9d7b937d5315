"""verify --lock: whether the images of a lock file are cached, and right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Sample
    from servers.lying import LyingRegistry


@pytest.fixture
def lock(cli: Caller, lying: LyingRegistry, sample: Sample, tmp_path: Path) -> str:
    """A lock file of an image and of an index of which one platform is cached."""
    path = str(tmp_path / "images.lock")
    names = [lying.add_image("1", sample.image), lying.add_image("2", sample.index)]
    cli("pull", *names, "--platform", "linux/amd64", "--lock", path)
    return path


def blob(tmp_path: Path, name: str) -> Path:
    return tmp_path / "cache" / "blobs" / "sha256" / name.partition(":")[2]


def test_what_was_pulled_with_a_lock_passes(
    cli: Caller, lock: str, sample: Sample, lying: LyingRegistry, tmp_path: Path
) -> None:
    before = len(lying.requests)
    called = cli("verify", "--lock", lock, "--platform", "linux/amd64")
    needed = {layer.digest for image in (sample.image, sample.index.images[0]) for layer in image.layers}
    # Two manifests, an index, two configs.
    assert called.stderr.startswith(f"checked {len(needed) + 5} blobs (")
    assert called.stderr.endswith("0 wrong, 0 missing\n")
    assert called.stdout == ""
    assert len(lying.requests) == before, "no registry is asked"


def test_tars_stand_for_layers(cli: Caller, lock: str, sample: Sample, tmp_path: Path) -> None:
    cli("verify", "--lock", lock, "--platform", "linux/amd64")
    layer = sample.image.layers[0]
    cli("get", layer.diff_id, "-o", str(tmp_path / "tar"))
    blob(tmp_path, layer.digest).unlink()
    cli("verify", "--lock", lock, "--platform", "linux/amd64")
    blob(tmp_path, layer.diff_id).write_bytes(b"wrong")
    assert layer.diff_id.hex in cli("verify", "--lock", lock, "--platform", "linux/amd64", code=3).stdout


def test_a_missing_layer_is_named_with_its_image(
    cli: Caller, lock: str, sample: Sample, tmp_path: Path
) -> None:
    layer = sample.image.layers[0]
    blob(tmp_path, layer.digest).unlink()
    (line,) = cli("verify", "--lock", lock, "--platform", "linux/amd64", code=1).stdout.splitlines()
    kind, what, image, problem = line.split("\t")
    assert (kind, what, problem) == ("image", "incomplete", f"{layer.digest} is not cached")
    assert image.endswith(f"/app:1@{sample.image.descriptor.digest}")
    told = cli.json("verify", "--lock", lock, "--platform", "linux/amd64", code=1)["tiers"][0]
    assert (told["locked"], told["missing"]) == (2, [{"image": image, "problem": problem}])


@pytest.mark.parametrize("which", ["layer", "config", "manifest"])
def test_wrong_bytes_are_found_and_quarantined(
    cli: Caller, lock: str, sample: Sample, tmp_path: Path, which: str
) -> None:
    image = sample.image
    name = {
        "layer": image.layers[1].digest,
        "config": image.config_digest,
        "manifest": image.descriptor.digest,
    }[which]
    path = blob(tmp_path, name)
    path.write_bytes(bytes(path.stat().st_size))
    called = cli("verify", "--lock", lock, "--platform", "linux/amd64", code=3)
    assert f"blob\tquarantined\tblobs/sha256/{name.hex}" in called.stdout
    assert not path.exists()
    assert cli("verify", "--lock", lock, "--platform", "linux/amd64", code=1).stdout.endswith(
        "is not cached\n"
    )


def test_only_what_the_lock_needs_is_checked(
    cli: Caller, lock: str, lying: LyingRegistry, tmp_path: Path
) -> None:
    from servers.images import make_image, make_layer

    other = make_image([make_layer({"other": b"image"})])
    cli("pull", lying.add_image("3", other))
    blob(tmp_path, other.layers[0].digest).write_bytes(b"wrong")
    cli("verify", "--lock", lock, "--platform", "linux/amd64")
    cli("verify", code=3)


def test_another_platform_is_missing_and_all_are_all(
    cli: Caller, lock: str, lying: LyingRegistry, sample: Sample
) -> None:
    arm = sample.index.images[1]
    said = cli("verify", "--lock", lock, "--platform", "linux/arm64", code=1).stdout
    assert f"{arm.descriptor.digest} is not cached" in said
    assert (
        f"{arm.descriptor.digest} is not cached"
        in cli("verify", "--lock", lock, "--platform", "all", code=1).stdout
    )
    assert (
        "no image for linux/s390x"
        in cli("verify", "--lock", lock, "--platform", "linux/s390x", code=1).stdout
    )
    cli("pull", f"{lying.host}/app:2", "--platform", "all")
    cli("verify", "--lock", lock, "--platform", "all")


@pytest.mark.parametrize(
    "arguments",
    [["--deep"], ["--sample", "5%"], ["--all-tiers"]],
)
def test_options_that_contradict_a_lock_are_refused(cli: Caller, lock: str, arguments: list[str]) -> None:
    assert "leave out" in cli("verify", "--lock", lock, *arguments, code=2).stderr
    assert "needs --lock" in cli("verify", "--platform", "linux/amd64", code=2).stderr
    assert "has no digest" in cli("verify", "--lock", "-", stdin=b"alpine\n", code=2).stderr
