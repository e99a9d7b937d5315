"""OCI layouts that other tools made: read as a tier as they are, and adopted as a cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.images import make_image, make_index, make_layer, noise, sample_layers, write_layout
from servers.programs import requires, run, skopeo_copy, trusting_policy
from tiers.layout.caches import DIFF_ID, REF_NAME, add_entry, index_of, named

import layercache
from layercache.tiers.backend.tier import BackendTier
from layercache.upkeep import verify

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Image

WRITERS = ("skopeo", "umoci", "buildah")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written_by(program: str, folder: Path, image: Image) -> Path:
    """A layout that the program wrote, with the image under the name ``app``."""
    requires(program)
    source = write_layout(folder / "source", {"image": image})
    target = folder / "target"
    match program:
        case "skopeo":
            skopeo_copy(f"oci:{source}:image", f"oci:{target}:app", ["--preserve-digests"])
        case "umoci":
            run("umoci", "init", "--layout", str(target))
            skopeo_copy(f"oci:{source}:image", f"oci:{target}:first", ["--preserve-digests"])
            run("umoci", "config", "--author=umoci", "--image", f"{target}:first", "--tag", "app")
        case _:
            stores = ["--storage-driver", "vfs", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
            trusting = [f"--signature-policy={trusting_policy(folder)}"]
            pulled = run("buildah", *stores, "pull", "--quiet", *trusting, f"oci:{source}:image").strip()
            run("buildah", *stores, "push", "--quiet", *trusting, pulled, f"oci:{target}:app")
    return target


@pytest.mark.parametrize("program", WRITERS)
def test_a_layout_of_another_program_is_a_tier_that_finds_layers_by_diff_id(
    tmp_path: Path, program: str
) -> None:
    layers = [make_layer({"etc/name": b"lower"}), make_layer({"noise": noise(9000)})]
    folder = written_by(program, tmp_path, make_image(layers))
    before = snapshot(folder)
    with layercache.open(
        [tmp_path / "cache", f"file://{folder}?readonly=true"],
        offline=True,
    ) as cache:
        for layer in layers:
            with cache.get(layer.diff_id).uncompressed() as tar:
                assert tar.read() == layer.tar
        image = cache.image("localhost/imported:app")
        assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in layers]
    assert snapshot(folder) == before


@pytest.mark.parametrize("program", WRITERS)
def test_a_layout_of_another_program_is_adopted_and_still_what_it_was_to_it(
    tmp_path: Path, program: str
) -> None:
    layers = [make_layer({"etc/name": b"lower"}), make_layer({"noise": noise(9000)})]
    folder = written_by(program, tmp_path, make_image(layers))
    names = named(folder)
    done = Caller("unused")("adopt", str(folder), "--verify").stdout
    assert done.endswith(" 2 layers, 2 inflated\n")
    assert named(folder) == names
    with layercache.open(folder, offline=True) as cache:
        assert all(cache.get(layer.diff_id).computed for layer in layers)
        assert cache.image("localhost/imported:app").layers[0].diff_id == layers[0].diff_id
    if program == "umoci":
        run("umoci", "unpack", "--rootless", "--image", f"{folder}:app", f"{tmp_path}/bundle")
    else:
        skopeo_copy(f"oci:{folder}:app", f"dir:{tmp_path}/dir")


def test_a_layout_in_front_is_read_as_it_is(tmp_path: Path) -> None:
    image = make_image(sample_layers(1))
    write_layout(tmp_path, {"a/strange:name": image})
    before = snapshot(tmp_path)
    cli = Caller(f"file://{tmp_path}?readonly=true")
    listed = cli.lines("images")
    assert [(row[0], row[3], row[4]) for row in listed] == [
        (image.descriptor.digest, "linux/amd64", "localhost/imported:a_strange_name")
    ]
    assert {row[1] for row in cli.lines("ls")} == {layer.diff_id for layer in image.layers}
    assert snapshot(tmp_path) == before


def test_what_we_listed_ourselves_is_read_in_a_copy_without_our_folders(tmp_path: Path) -> None:
    layer = make_layer({"name": b"copied"})
    image = make_image([layer])
    with layercache.open(write_layout(tmp_path, {"registry.example/app:1": image})) as cache:
        cache.adopt()
    for folder in ("records", "images"):
        (tmp_path / folder).rename(tmp_path.parent / f"{tmp_path.name}-{folder}")
    with layercache.open(f"file://{tmp_path}?readonly=true", offline=True) as cache:
        assert cache.image("registry.example/app:1").digest == image.descriptor.digest
        assert cache.get(layer.diff_id).digest == layer.digest


def test_verify_finds_false_claims_and_broken_blobs(tmp_path: Path) -> None:
    true, lying, broken = (make_layer({"name": name}) for name in (b"true", b"lying", b"broken"))
    other = make_layer({"name": b"other"})
    image = make_image([true, lying, broken])
    config = image.config.replace(lying.diff_id.encode(), other.diff_id.encode())
    manifest = image.manifest.replace(image.config_digest.encode(), layercache.Digest.of(config).encode())
    fake = type(image)(image.layers, image.platform, config, manifest, image.media_type)
    write_layout(tmp_path, {"app": fake})
    blob = tmp_path / "blobs" / "sha256" / broken.digest.hex
    blob.write_bytes(broken.blob[:-9] + b"\0" + broken.blob[-8:])
    done = Caller("unused")("adopt", str(tmp_path), "--verify", code=3)
    assert done.stdout == "1 image, 3 layers, 1 inflated\n"
    assert lying.digest in done.stderr
    with layercache.open(tmp_path, offline=True) as cache:
        assert cache.get(true.diff_id).computed
        assert other.diff_id not in cache


def test_what_is_no_layout_is_not_adopted(tmp_path: Path) -> None:
    told = Caller("unused")("adopt", str(tmp_path), code=2).stderr
    assert "is not an OCI image layout" in told
    assert list(tmp_path.iterdir()) == []


def test_all_platforms_and_annotations_are_adopted(tmp_path: Path) -> None:
    made = make_index([make_image(sample_layers(1)), make_image(sample_layers(2), "linux/arm64")])
    write_layout(tmp_path, {"many": made})
    assert Caller("unused").json("adopt", str(tmp_path)) == {
        "images": 1, "layers": 6, "verified": 0, "wrong": []
    }  # fmt: skip
    assert Caller(f"file://{tmp_path}").lines("images")[0][3] == "linux/amd64,linux/arm64"


@pytest.mark.parametrize("who", ["a config", "an annotation"])
@pytest.mark.parametrize("nearest", [True, False], ids=["alone", "behind a cache"])
def test_a_diff_id_that_an_index_json_gives_to_a_layer_of_another_tar_leads_to_nothing(
    tmp_path: Path, who: str, *, nearest: bool
) -> None:
    wanted, evil = make_layer({"bin/sh": b"good"}), make_layer({"bin/sh": b"evil"})
    lying = {"type": "layers", "diff_ids": [wanted.diff_id]}
    image = make_image([evil], rootfs=lying) if who == "a config" else make_image([evil])
    folder = write_layout(tmp_path / "layout", {"app": image})
    if who == "an annotation":
        entry = {"mediaType": evil.media_type, "digest": evil.digest, "size": len(evil.blob)}
        add_entry(folder, {**entry, "annotations": {DIFF_ID: wanted.diff_id}})
    layout = f"file://{folder}?readonly=true"
    with layercache.open([layout] if nearest else [tmp_path / "cache", layout], offline=True) as cache:
        with pytest.raises(layercache.LayercacheError):
            cache.get(wanted.diff_id).compressed().read()
        with pytest.raises(layercache.LayercacheError):
            cache.get(wanted.diff_id).uncompressed().read()
        with cache.get(evil.digest).compressed() as blob:
            assert blob.read() == evil.blob


def test_an_adopted_claim_stays_a_claim(tmp_path: Path) -> None:
    wanted, evil = make_layer({"bin/sh": b"good"}), make_layer({"bin/sh": b"evil"})
    lying = {"type": "layers", "diff_ids": [wanted.diff_id]}
    folder = write_layout(tmp_path / "layout", {"app": make_image([evil], rootfs=lying)})
    with layercache.open(folder, offline=True) as cache:
        cache.adopt()
        with pytest.raises(layercache.DigestMismatchError):
            cache.get(wanted.diff_id).compressed().read()
        with pytest.raises(layercache.NotFoundError):
            cache.get(wanted.diff_id)


def test_what_containerd_exports_is_known_by_its_full_names(tmp_path: Path) -> None:
    made = [make_image(sample_layers(seed)) for seed in range(2)]
    folder = write_layout(tmp_path / "l", {str(number): image for number, image in enumerate(made)})
    document = json.loads((folder / "index.json").read_text())
    for entry, name in zip(document["manifests"], ("docker.io/team/a:1", "docker.io/team/b:1"), strict=True):
        entry["annotations"] = {REF_NAME: "1", "io.containerd.image.name": name}
    (folder / "index.json").write_text(json.dumps(document))
    with layercache.open(folder, offline=True) as cache:
        assert cache.adopt().images == 2
        for image, name in zip(made, ("team/a:1", "team/b:1"), strict=True):
            assert cache.image(name, platform="linux/amd64").digest == image.descriptor.digest
    listed = [entry["annotations"].get(REF_NAME) for entry in index_of(folder)]
    assert listed.count("1") == 2, "in index.json it keeps the name that the tool gave it"


@pytest.mark.parametrize("stated", [True, False])
def test_entries_of_one_name_and_several_platforms_become_an_index(tmp_path: Path, stated: bool) -> None:
    names = ("amd64", "arm64")
    made = {name: make_image(sample_layers(seed), f"linux/{name}") for seed, name in enumerate(names)}
    folder = write_layout(tmp_path / "l", made)
    document = json.loads((folder / "index.json").read_text())
    for entry in document["manifests"]:
        if stated:
            entry["platform"] = {"os": "linux", "architecture": entry["annotations"][REF_NAME]}
        entry["annotations"] = {REF_NAME: "registry.example/app:1"}
    (folder / "index.json").write_text(json.dumps(document))
    with layercache.open(folder, offline=True) as cache:
        assert cache.adopt().images == 1
        for name, image in made.items():
            found = cache.image("registry.example/app:1", platform=f"linux/{name}")
            assert found.digest == image.descriptor.digest
        assert len(cache.platforms("registry.example/app:1")) == 2
        tier = cache.tiers[0]
        assert isinstance(tier, BackendTier)
        assert [each for each in verify(tier) if each.problem] == []
    assert [entry["platform"] for entry in index_of(folder) if "platform" in entry] == []
