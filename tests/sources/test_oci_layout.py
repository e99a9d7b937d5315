"""Images are read out of OCI layouts, those of skopeo and umoci among them."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, sample_layers, write_layout
from servers.programs import requires, run, skopeo_copy
from servers.pulling import pulled

from layercache.errors import DigestMismatchError, FormatError, InvalidNameError, NotFoundError, SourceError
from layercache.oci.descriptor import OCI_MANIFEST, Descriptor, Index, decode
from layercache.oci.digest import Digest
from layercache.oci.platforms import parse_platform, select
from layercache.sources.opening import open_source
from layercache.sources.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Sample

    from layercache.sources import Source


def source_of(name: str) -> Source:
    return open_source(name, RegistryClient)


def test_an_image_is_found_by_its_reference_name(sample: Sample) -> None:
    source = source_of(f"oci:{sample.layout}:image")
    assert source.name == f"oci:{sample.layout}:image"
    assert source.root().digest == sample.image.descriptor.digest
    assert source.document(source.root()) == sample.image.manifest
    assert pulled(source) == sample.image.blobs


@pytest.mark.parametrize("form", ["oci:{0}@{1}", "oci:{0}:@{1}", "oci:{0}:image@{1}"])
def test_the_digest_rules_over_the_name(form: str, sample: Sample) -> None:
    digest = sample.index.descriptor.digest
    assert source_of(form.format(sample.layout, digest)).root().digest == digest


def test_an_image_inside_of_an_index_is_found_by_its_digest(sample: Sample) -> None:
    inner = sample.index.images[1]
    source = source_of(f"oci:{sample.layout}@{inner.descriptor.digest}")
    assert source.root() == inner.descriptor
    assert pulled(source) == inner.blobs


def test_a_platform_is_chosen_out_of_an_index(sample: Sample) -> None:
    source = source_of(f"oci:{sample.layout}:index")
    index = decode(source.document(source.root()), Index, "the index")
    chosen = select(index.manifests, parse_platform("linux/arm64"))
    assert pulled(source, chosen) == sample.index.images[1].blobs


def test_the_only_image_needs_no_name_though_layers_are_listed_beside_it(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    layout = write_layout(tmp_path, {"": image})
    index = json.loads((layout / "index.json").read_text())
    layer = image.layers[0].descriptor
    index["manifests"].append({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size})
    (layout / "index.json").write_text(json.dumps(index))
    assert source_of(f"oci:{layout}").root().digest == image.descriptor.digest


def test_of_several_images_one_must_be_named_and_all_are_listed(sample: Sample) -> None:
    with pytest.raises(SourceError, match="several images") as caught:
        source_of(f"oci:{sample.layout}").root()
    assert "image, index" in caught.value.hint
    with pytest.raises(NotFoundError) as missing:
        source_of(f"oci:{sample.layout}:other").root()
    assert "image, index" in missing.value.hint


def test_a_layout_without_images_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no image at all"):
        source_of(f"oci:{write_layout(tmp_path, {})}").root()


def test_what_is_no_layout_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        source_of(f"oci:{tmp_path}/absent:ref")
    with pytest.raises(SourceError, match="not an OCI layout"):
        source_of(f"oci:{tmp_path}")
    (tmp_path / "index.json").write_text("[")
    with pytest.raises(FormatError, match=r"index\.json"):
        source_of(f"oci:{tmp_path}").root()


def test_a_path_may_hold_colons_and_a_reference_too(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    layout = write_layout(tmp_path / "a:b@c", {"ghcr.io/team/app:1": image})
    for name in (
        f"oci:{layout}",
        f"oci:{layout}:ghcr.io/team/app:1",
        f"oci:{layout}@{image.descriptor.digest}",
    ):
        assert source_of(name).root().digest == image.descriptor.digest


def test_a_digest_that_is_none_is_refused(sample: Sample) -> None:
    with pytest.raises(InvalidNameError):
        source_of(f"oci:{sample.layout}@sha256:abc")


def test_a_blob_is_read_from_an_offset_and_can_be_sought_in(sample: Sample) -> None:
    source = source_of(f"oci:{sample.layout}:image")
    layer = sample.image.layers[0]
    with source.open_blob(layer.descriptor, 100) as reader:
        assert reader.seekable()
        assert reader.size == len(layer.blob) - 100
        assert isinstance(reader, io.RawIOBase)
        buffered = io.BufferedReader(reader, 64)
        assert buffered.read() == layer.blob[100:]
        buffered.detach()
        reader.seek(-10, io.SEEK_END)
        assert reader.read(20) == layer.blob[-10:]
        reader.seek(5)
        buffer = bytearray(7)
        assert reader.readinto(buffer) == 7
        assert buffer == layer.blob[105:112]
        reader.seek(len(layer.blob))
        assert reader.read() == b""
        assert reader.readinto(buffer) == 0
        with pytest.raises(ValueError, match="no offset"):
            reader.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
    with pytest.raises(ValueError, match="no offset"):
        source.open_blob(layer.descriptor, len(layer.blob) + 1)


def test_a_missing_blob_is_not_found_and_one_of_another_size_is_a_mismatch(tmp_path: Path) -> None:
    image = make_image([make_layer({"a": b"a"}), make_layer({"b": b"b"})])
    source = source_of(f"oci:{write_layout(tmp_path, {'': image})}")
    first, second = (tmp_path / "blobs" / "sha256" / layer.digest.hex for layer in image.layers)
    first.unlink()
    with pytest.raises(NotFoundError) as caught:
        source.open_blob(image.layers[0].descriptor)
    assert caught.value.looked_in == (str(first),)
    second.write_bytes(b"short")
    with pytest.raises(DigestMismatchError, match="5 bytes"):
        source.open_blob(image.layers[1].descriptor)


def test_a_manifest_of_another_content_is_a_mismatch(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    source = source_of(f"oci:{write_layout(tmp_path, {'': image})}")
    path = tmp_path / "blobs" / "sha256" / image.descriptor.digest.hex
    path.write_bytes(path.read_bytes().replace(b"linux", b"unixx").replace(b"2", b"3", 1))
    with pytest.raises(DigestMismatchError):
        source.document(image.descriptor)


def test_a_pipe_or_a_folder_in_a_blobs_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    image = make_image([make_layer({"a": b"a"}), make_layer({"b": b"b"})])
    source = source_of(f"oci:{write_layout(tmp_path, {'': image})}")
    first, second = (tmp_path / "blobs" / "sha256" / layer.digest.hex for layer in image.layers)
    for path, replace in ((first, os.mkfifo), (second, os.mkdir)):
        path.unlink()
        replace(path)
    for layer in image.layers:
        with pytest.raises(SourceError, match="not a regular file"):
            source.open_blob(layer.descriptor)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "device"]
)
def test_a_pipe_or_a_device_in_the_place_of_an_index_is_refused_and_not_waited_for(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    layout = write_layout(tmp_path, {"": make_image(sample_layers())})
    (layout / "index.json").unlink()
    make(layout / "index.json")
    with pytest.raises(SourceError, match=r"index\.json"):
        source_of(f"oci:{layout}").root()


def test_a_digest_cannot_lead_out_of_the_layout(tmp_path: Path) -> None:
    layout = write_layout(tmp_path, {"": make_image(sample_layers())})
    entry = {"mediaType": OCI_MANIFEST, "digest": "sha256:../../../../etc/passwd", "size": 1}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    with pytest.raises(FormatError, match=r"index\.json"):
        source_of(f"oci:{layout}").root()


def test_a_manifest_of_unbelievable_size_is_refused(tmp_path: Path) -> None:
    layout = write_layout(tmp_path, {"": make_image(sample_layers())})
    data = b" " * ((4 << 20) + 1)
    digest = Digest.of(data)
    (layout / "blobs" / "sha256" / digest.hex).write_bytes(data)
    with pytest.raises(FormatError, match="at most 4194304 are read"):
        source_of(f"oci:{layout}").document(
            Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(data))
        )


def test_a_blob_that_is_no_manifest_is_no_image(sample: Sample) -> None:
    layer = sample.image.layers[0]
    with pytest.raises(FormatError, match="not JSON"):
        source_of(f"oci:{sample.layout}@{layer.digest}").root()


def test_layouts_of_skopeo_and_umoci_are_read(sample: Sample, tmp_path: Path) -> None:
    skopeo_copy(f"oci:{sample.layout}:image", f"oci:{tmp_path}/skopeo:team", ["--preserve-digests"])
    assert pulled(source_of(f"oci:{tmp_path}/skopeo:team")) == sample.image.blobs
    requires("umoci")
    run("umoci", "init", "--layout", f"{tmp_path}/umoci")
    run("umoci", "new", "--image", f"{tmp_path}/umoci:empty")
    assert len(pulled(source_of(f"oci:{tmp_path}/umoci:empty"))) == 1
