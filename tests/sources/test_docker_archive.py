"""Images are read out of what docker save and skopeo write, and hostile archives do no harm."""

from __future__ import annotations

import gzip
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from servers.archives import file_member, link_member, write_legacy_archive, write_modern_archive, write_tar
from servers.images import compressed, make_image, make_layer, noise, sample_layers, write_dir
from servers.programs import skopeo_copy
from servers.pulling import manifest_of, pulled

from layercache.errors import FormatError, NotFoundError, SourceError
from layercache.oci.descriptor import DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.sources.opening import open_source
from layercache.sources.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.images import Image, Sample

    from layercache.sources import Source

FORMS = [write_legacy_archive, write_modern_archive]


def source_of(name: object) -> Source:
    return open_source(f"docker-archive:{name}", RegistryClient)


def tars_of(image: Image) -> dict[Digest, bytes]:
    """Config and layers as a plain archive has them."""
    return {
        image.config_digest: image.config,
        **{Digest(str(layer.diff_id)): layer.tar for layer in image.layers},
    }


@pytest.mark.parametrize("write", FORMS)
def test_an_image_is_read_with_its_diff_ids_as_digests(write: Callable[..., Path], tmp_path: Path) -> None:
    image = make_image(sample_layers())
    source = source_of(write(tmp_path / "image.tar", {"team/app:1": image}))
    root = source.root()
    assert root.media_type == DOCKER_MANIFEST
    assert source.name == f"docker-archive:{tmp_path}/image.tar"
    manifest = manifest_of(source)
    assert [layer.media_type for layer in manifest.layers] == [DOCKER_LAYER] * 3
    assert pulled(source) == tars_of(image)
    assert source.root() == root
    source.close()
    assert source.root() == root
    source.close()


def test_compressed_layers_keep_their_digests(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    source = source_of(write_modern_archive(tmp_path / "image.tar", {"app": image}, compressed=True))
    assert pulled(source) == image.blobs
    types = [layer.media_type for layer in manifest_of(source).layers]
    assert types == [DOCKER_LAYER_GZIP, f"{DOCKER_LAYER}.zstd", DOCKER_LAYER]
    source.close()


def test_what_skopeo_writes_is_read(sample: Sample, tmp_path: Path) -> None:
    folder = write_dir(tmp_path / "image", sample.docker)
    skopeo_copy(f"dir:{folder}", f"docker-archive:{tmp_path}/image.tar:team/app:1")
    source = source_of(f"{tmp_path}/image.tar:team/app:1")
    assert pulled(source) == tars_of(sample.docker)
    source.close()


def test_what_is_pulled_out_of_an_archive_is_an_image_to_skopeo(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    source = source_of(write_legacy_archive(tmp_path / "image.tar", {"app": image}))
    folder = tmp_path / "dir"
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(source.document(source.root()))
    for digest, blob in pulled(source).items():
        (folder / digest.hex).write_bytes(blob)
    skopeo_copy(f"dir:{folder}", f"oci:{tmp_path}/layout:app")
    source.close()


@pytest.mark.parametrize("write", FORMS)
@pytest.mark.parametrize("ref", ["team/app:1", "docker.io/team/app:1", "@0"])
def test_a_reference_chooses_among_images(write: Callable[..., Path], ref: str, tmp_path: Path) -> None:
    shared = make_layer({"shared": noise(3000)})
    images = {
        "team/app:1": make_image([shared, make_layer({"a": b"a"})]),
        "app:latest": make_image([shared, make_layer({"b": b"b"})]),
    }
    path = write(tmp_path / "images.tar", images)
    source = source_of(f"{path}:{ref}")
    assert pulled(source) == tars_of(images["team/app:1"])
    source.close()
    source = source_of(f"{path}:app")
    assert pulled(source) == tars_of(images["app:latest"])
    source.close()


def test_of_several_images_one_must_be_named_and_all_are_listed(tmp_path: Path) -> None:
    images = {"app:1": make_image(sample_layers(1)), "": make_image(sample_layers(2))}
    path = write_legacy_archive(tmp_path / "images.tar", images)
    with pytest.raises(SourceError, match="several images") as caught:
        source_of(path).root()
    assert "app:1; @1 (untagged)" in caught.value.hint
    for ref in ("app:2", "@2", "@x"):
        with pytest.raises(NotFoundError, match="app:1"):
            source_of(f"{path}:{ref}").root()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_archive_that_is_compressed_as_a_whole_is_read(compression: str, tmp_path: Path) -> None:
    image = make_image(sample_layers())
    path = write_legacy_archive(tmp_path / "image.tar", {"app": image})
    packed = tmp_path / "image.tar.packed"
    packed.write_bytes(compressed(path.read_bytes(), compression))
    source = source_of(packed)
    assert pulled(source) == tars_of(image)
    source.close()
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(FormatError, match="cut off"):
        source_of(packed).root()


def test_blobs_are_read_by_several_threads_and_from_an_offset(tmp_path: Path) -> None:
    image = make_image([make_layer({"noise": noise(300_000, seed)}, "none") for seed in range(4)])
    source = source_of(write_legacy_archive(tmp_path / "image.tar", {"app": image}))
    descriptors = manifest_of(source).layers

    def fetch(number: int) -> bool:
        start = 1000 * number
        with source.open_blob(descriptors[number % 4], start) as reader:
            parts = iter(lambda: reader.read(7000), b"")
            return b"".join(parts) == image.layers[number % 4].tar[start:]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fetch, range(40)))
    reader = source.open_blob(descriptors[0], 1000)
    source.close()
    buffer = bytearray(descriptors[0].size + 5000)
    assert reader.readinto(buffer) == descriptors[0].size - 1000
    assert buffer[: descriptors[0].size - 1000] == image.layers[0].tar[1000:]
    reader.close()
    with pytest.raises(ValueError, match="no offset"):
        source.open_blob(descriptors[0], descriptors[0].size + 1)
    source.close()


def test_what_is_not_in_the_image_is_not_found(tmp_path: Path) -> None:
    source = source_of(write_legacy_archive(tmp_path / "image.tar", {"app": make_image(sample_layers())}))
    other = Descriptor(digest=Digest.of(b"other"), size=5)
    with pytest.raises(NotFoundError):
        source.document(other)
    with pytest.raises(NotFoundError):
        source.open_blob(other)
    source.close()


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci"])
def test_a_path_with_a_nul_byte_is_not_there(transport: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        open_source(f"{transport}:{tmp_path}/a\0b", RegistryClient)


def test_a_path_may_hold_colons(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    path = write_legacy_archive(tmp_path / "a:b.tar", {"team/app:1": image})
    for name in (path, f"{path}:team/app:1"):
        source = source_of(name)
        assert pulled(source) == tars_of(image)
        source.close()


def test_a_missing_archive_is_not_found_and_a_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        source_of(tmp_path / "absent.tar")
    with pytest.raises(SourceError, match="not a regular file"):
        source_of(tmp_path)


def hostile(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes], **item: Any) -> Source:
    """An archive of one image with one layer, some of it replaced by what is given."""
    layer = make_layer({"a": b"a"})
    image = make_image([layer])
    manifest = {"Config": "config.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"], **item}
    defaults = [
        file_member("config.json", image.config),
        file_member("layer.tar", layer.tar),
        file_member("manifest.json", json.dumps([manifest]).encode()),
    ]
    given = {info.name for info, _ in members}
    every = [*(each for each in defaults if each[0].name not in given), *members]
    return source_of(write_tar(tmp_path / "hostile.tar", every))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../etc/passwd", ".."])
def test_a_name_that_leads_out_of_the_archive_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="leads out of the archive"):
        hostile(tmp_path, file_member(name, b"x"), Layers=[name]).root()
    with pytest.raises(SourceError, match="leads out of the archive"):
        hostile(tmp_path, Config=name).root()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd"])
def test_a_link_that_leads_out_of_the_archive_is_refused(kind: bytes, target: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="leads out of the archive"):
        hostile(tmp_path, link_member("layer.tar", target, kind)).root()


def test_links_inside_of_the_archive_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    layer = make_layer({"a": b"a"})
    source = hostile(
        tmp_path,
        file_member("./real/layer", layer.tar),
        link_member("one/layer.tar", "../real/layer"),
        link_member("layer.tar", "one/layer.tar", tarfile.LNKTYPE),
    )
    assert pulled(source)[Digest(str(layer.diff_id))] == layer.tar
    source.close()
    with pytest.raises(SourceError, match="link to a link"):
        hostile(tmp_path, link_member("layer.tar", "loop"), link_member("loop", "layer.tar")).root()


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_layer_that_is_no_plain_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("layer.tar")
    info.type = kind
    with pytest.raises(SourceError, match="not a regular file"):
        hostile(tmp_path, (info, b"")).root()


def test_a_sparse_layer_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("layer.tar")
    info.size = 512
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": "1000000000", "GNU.sparse.map": "0,512"}
    with pytest.raises(SourceError, match="not a regular file"):
        hostile(tmp_path, (info, bytes(512))).root()


@pytest.mark.parametrize(
    ("manifest", "error", "message"),
    [
        (b"", FormatError, "not valid"),
        (b"{}", FormatError, "not valid"),
        (b"[1]", FormatError, "not valid"),
        (b'[{"Config": 1}]', FormatError, "not valid"),
        (b"[]", NotFoundError, "no image at all"),
        (b'[{"Config": "absent"}]', SourceError, "missing"),
        (b'[{"Config": "layer.tar"}]', FormatError, "not a valid imageconfig"),
        (b'[{"Config": "config.json"}]', SourceError, "0 layers, its config 1"),
        (b'[{"Config": "config.json", "Layers": ["config.json"]}]', SourceError, "not a tar"),
        (b" " * (17 << 20), FormatError, "at most 4194304 are read"),
    ],
)
def test_a_broken_manifest_is_told(
    manifest: bytes, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        hostile(tmp_path, file_member("manifest.json", manifest)).root()


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "not a valid tar"), (noise(2000), "not a valid tar"), (bytes(1024), "no manifest.json")],
)
def test_what_is_no_archive_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=message):
        source_of(path).root()


def test_an_oci_archive_gets_a_hint(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "image.tar", [file_member("index.json", b"{}")])
    with pytest.raises(SourceError, match=f"oci-archive:{path}"):
        source_of(path).root()


def test_an_archive_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = write_legacy_archive(tmp_path / "image.tar", {"app": make_image(sample_layers())})
    data = path.read_bytes()
    for end in (700, 3000, len(data) // 2):
        path.write_bytes(data[:end])
        with pytest.raises(SourceError, match=r"cut off|not a valid tar|no manifest"):
            source_of(path).root()


def test_a_header_takes_no_more_memory_than_is_believed(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3 << 20
    path = tmp_path / "image.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(3 << 20))
    with pytest.raises(SourceError, match="a header of"):
        source_of(path).root()


def test_headers_that_go_backwards_or_are_too_many_end(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    first, second = tarfile.TarInfo("x"), tarfile.TarInfo("y")
    second.size = -1024
    path.write_bytes(first.tobuf() + second.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(SourceError, match=r"'y' is cut off|not a valid tar"):
        source_of(path).root()
    path.write_bytes(gzip.compress(first.tobuf() * 70_000, 1))
    with pytest.raises(SourceError, match="more than 65536 members"):
        source_of(path).root()


def test_a_layer_that_is_not_what_the_config_says_is_for_its_reader_to_find(tmp_path: Path) -> None:
    other = make_layer({"b": b"b"})
    source = hostile(tmp_path, file_member("layer.tar", other.tar))
    (layer,) = manifest_of(source).layers
    with source.open_blob(layer) as reader:
        assert Digest.of(reader.read()) != layer.digest
    source.close()
