"""manifest, info IMAGE, ls --image and --sort: what is asked about images and their layers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Sample
    from servers.lying import LyingRegistry


def test_the_manifest_is_printed_byte_for_byte(cli: Caller, lying: LyingRegistry, sample: Sample) -> None:
    image, index = sample.image, sample.index
    one, several = lying.add_image("1", image), lying.add_image("2", index)
    assert cli("manifest", one).stdout_bytes == image.manifest
    assert cli("manifest", one, "--config").stdout_bytes == image.config
    assert cli("manifest", several).stdout_bytes == index.manifest
    arm = index.images[1]
    assert cli("manifest", several, "--platform", "linux/arm64").stdout_bytes == arm.manifest
    assert cli("manifest", several, "--platform", "linux/arm64", "--config").stdout_bytes == arm.config
    assert cli("manifest", several, "--digest").stdout == f"{index.descriptor.digest}\n"
    assert cli("manifest", one, "--config", "--digest").stdout == f"{image.config_digest}\n"
    assert not any(lying.asked(f"/blobs/{layer.digest}") for layer in image.layers)


def test_a_manifest_that_is_not_there_is_not_found(cli: Caller, lying: LyingRegistry) -> None:
    assert "is not in its registry" in cli("manifest", f"{lying.host}/app:9", code=1).stderr


def test_info_shows_an_image_its_layers_and_what_made_them(cli: Caller, lying: LyingRegistry) -> None:
    layers = [make_layer({"noise": noise(size)}) for size in (900, 500)]
    history = [
        {"created_by": "COPY a\t\x1b[31mred  b"},
        {"created_by": "ENV x", "empty_layer": True},
        {"created_by": "RUN c"},
    ]
    image = make_image(layers, history=history, created="2026-01-02T03:04:05Z")
    name = lying.add_image("1", image)
    looked = cli.json("info", name)
    assert [layer["cached"] for layer in looked["layers"]] == [[], []]
    assert looked["complete"] is False
    cli("pull", name)
    requests = len(lying.requests)
    looked = cli.json("info", name)
    assert len(lying.requests) == requests, "what is cached is shown without asking its registry"
    assert (looked["name"], looked["digest"]) == (name, image.descriptor.digest)
    assert (looked["root"], looked["platforms"]) == (image.descriptor.digest, [])
    assert (looked["created"], looked["complete"]) == ("2026-01-02T03:04:05Z", True)
    assert looked["size"] == sum(len(layer.blob) for layer in layers)
    assert [layer["created_by"] for layer in looked["layers"]] == ["COPY a [31mred b", "RUN c"]
    assert [(layer["digest"], layer["diff_id"]) for layer in looked["layers"]] == [
        (layer.digest, layer.diff_id) for layer in layers
    ]
    shown = cli("info", name).stdout
    assert "cached   2 of 2 layers" in shown
    assert "\x1b" not in shown
    assert cli("info", image.descriptor.digest).stdout == shown
    assert cli("info", image.descriptor.digest.hex[:12]).stdout == shown


def test_info_of_an_index_lists_its_platforms(cli: Caller, lying: LyingRegistry, sample: Sample) -> None:
    name = lying.add_image("1", sample.index)
    looked = cli.json("info", name, "--platform", "linux/arm64")
    assert looked["platforms"] == ["linux/amd64", "linux/arm64"]
    assert looked["platform"] == "linux/arm64"
    assert looked["root"] == sample.index.descriptor.digest
    assert f"index    {sample.index.descriptor.digest}" in cli("info", name).stdout


def test_a_history_of_another_length_is_not_shown(cli: Caller, lying: LyingRegistry) -> None:
    for number, history in enumerate(([{"created_by": "one"}], "nonsense", [1, 2], None)):
        layers = [make_layer({"noise": noise(size)}) for size in (30, 40)]
        name = lying.add_image(str(number), make_image(layers, history=history))
        assert [layer["created_by"] for layer in cli.json("info", name)["layers"]] == ["", ""]


def test_offline_an_image_that_is_not_cached_is_not_found(cli: Caller, lying: LyingRegistry) -> None:
    assert "is not cached" in cli("--offline", "info", f"{lying.host}/app:1", code=1).stderr
    assert not lying.requests


def test_ls_lists_the_layers_of_an_image_in_its_order(
    cli: Caller, lying: LyingRegistry, sample: Sample
) -> None:
    other = make_image([make_layer({"other": b"image"})])
    name = lying.add_image("1", sample.image)
    cli("pull", name, lying.add_image("2", other))
    assert [line[0] for line in cli.lines("ls", "--image", name)] == [
        layer.digest for layer in sample.image.layers
    ]
    assert len(cli.lines("ls")) == len(sample.image.layers) + 1
    gone = sample.image.layers[0]
    cli("rm", "--force", "--image", name, "--blobs")
    assert "is not cached" in cli("ls", "--image", name, code=1).stderr
    assert gone.digest not in cli("ls").stdout


def test_ls_sorts_by_name_size_last_use_and_age(cli: Caller, tmp_path: Path) -> None:
    made = [make_layer({"noise": noise(size)}) for size in (400, 200, 300)]
    for number, layer in enumerate(made):
        (tmp_path / "layer").write_bytes(layer.blob)
        cli("put", str(tmp_path / "layer"))
        for blob in (layer.digest, layer.diff_id):
            os.utime(tmp_path / "cache" / "blobs" / "sha256" / blob.hex, (0, 1000 + number))
        os.utime(tmp_path / "cache" / "records" / "sha256" / layer.digest.hex, (0, 5000 - number))

    def listed(*options: str) -> list[int]:
        digests = [layer.digest for layer in made]
        return [digests.index(Digest(line[0])) for line in cli.lines("ls", *options)]

    by_name = sorted(range(3), key=lambda number: made[number].digest)
    assert listed("--sort", "name") == by_name
    assert listed("--sort", "name", "-r") == by_name[::-1]
    assert listed("--sort", "size") == [0, 2, 1]
    assert listed("--sort", "used") == [2, 1, 0]
    assert listed("--sort", "used", "--reverse") == [0, 1, 2]
    assert listed("--sort", "age") == [0, 1, 2]


@pytest.mark.parametrize("arguments", [["ls", "--sort", "colour"], ["info"], ["manifest"], ["tags", "a:1"]])
def test_wrong_arguments_are_usage_errors(cli: Caller, arguments: list[str]) -> None:
    cli(*arguments, code=2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("oci:/tmp", "not a repository in a registry: 'oci:/tmp'"),
        ("./layout", "./layout is a path, not an image in a registry"),
        ("dir:x", "unknown transport dir:"),
        ("debian:12", "leave out the tag and the digest"),
    ],
)
def test_only_repositories_of_registries_have_tags(cli: Caller, name: str, said: str) -> None:
    assert said in cli("tags", name, code=2).stderr
