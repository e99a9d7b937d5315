"""Images are read out of OCI layouts that are tars, and out of archives that come through pipes."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.calling import Caller
from servers.archives import file_member, link_member, write_modern_archive, write_tar
from servers.images import make_image, sample_layers
from servers.programs import skopeo_copy
from servers.pulling import pulled

from layercache.errors import DigestMismatchError, FormatError, NotFoundError, SourceError
from layercache.oci.descriptor import Index, decode
from layercache.oci.platforms import parse_platform, select
from layercache.sources.opening import open_source
from layercache.sources.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Sample

    from layercache.sources import Source


def source_of(name: str) -> Source:
    return open_source(name, RegistryClient)


def packed(layout: Path, path: Path, mode: Any = "w") -> Path:
    """A tar of a layout, as tar(1) makes it."""
    with tarfile.open(path, mode) as tar:
        tar.add(layout, ".")
    return path


@pytest.fixture
def archive(sample: Sample, tmp_path: Path) -> str:
    return f"oci-archive:{packed(sample.layout, tmp_path / 'layout.tar')}"


def test_an_image_is_found_by_its_name_and_by_its_digest(sample: Sample, archive: str) -> None:
    for ref in (":image", f"@{sample.image.descriptor.digest}"):
        source = source_of(f"{archive}{ref}")
        assert source.name == f"{archive}{ref}"
        assert source.document(source.root()) == sample.image.manifest
        assert pulled(source) == sample.image.blobs
        source.close()


def test_a_platform_is_chosen_out_of_an_index(sample: Sample, archive: str) -> None:
    source = source_of(f"{archive}:index")
    index = decode(source.document(source.root()), Index, "the index")
    chosen = select(index.manifests, parse_platform("linux/arm64"))
    assert pulled(source, chosen) == sample.index.images[1].blobs
    source.close()


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_an_archive_may_be_compressed(sample: Sample, tmp_path: Path, compression: str) -> None:
    path = packed(sample.layout, tmp_path / "layout.tar.x", f"w:{compression}")
    source = source_of(f"oci-archive:{path}:image")
    assert pulled(source) == sample.image.blobs
    source.close()


def test_what_skopeo_writes_is_read(sample: Sample, tmp_path: Path) -> None:
    skopeo_copy(f"oci:{sample.layout}:image", f"oci-archive:{tmp_path}/x.tar:a", ["--preserve-digests"])
    source = source_of(f"oci-archive:{tmp_path}/x.tar")
    assert source.root().digest == sample.image.descriptor.digest
    source.close()


def test_what_newer_dockers_save_keeps_its_digests(tmp_path: Path) -> None:
    image = make_image(sample_layers())
    path = write_modern_archive(tmp_path / "a.tar", {"app:1": image}, compressed=True)
    source = source_of(f"oci-archive:{path}@{image.descriptor.digest}")
    with source.open_blob(image.layers[0].descriptor) as blob:
        assert blob.read() == image.layers[0].blob
    source.close()


def test_what_is_missing_or_too_long_or_leads_out_is_an_error(sample: Sample, tmp_path: Path) -> None:
    digest = sample.image.descriptor.digest
    name = f"blobs/sha256/{digest.hex}"
    index = (sample.layout / "index.json").read_bytes()
    cases = {
        "missing": ([file_member("index.json", index)], NotFoundError),
        "outside": ([file_member("index.json", index), link_member(name, "../../../x")], SourceError),
        "long": ([file_member("index.json", index), file_member(name, b" " * (5 << 20))], FormatError),
        "other": ([file_member("index.json", index), file_member(name, b"{}")], DigestMismatchError),
    }
    for case, (members, error) in cases.items():
        path = write_tar(tmp_path / f"{case}.tar", members)
        source = source_of(f"oci-archive:{path}:image")
        root = source.root()
        with pytest.raises(error):
            source.document(root)
        source.close()


def test_a_layer_that_is_cut_off_is_an_error(sample: Sample, tmp_path: Path) -> None:
    path = packed(sample.layout, tmp_path / "layout.tar")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(SourceError, match=r"cut off|not a valid tar|no index"):
        source_of(f"oci-archive:{path}:image").root()


@pytest.mark.parametrize(
    ("members", "hint"),
    [(["manifest.json"], "docker-archive:"), (["other"], "it has no index.json"), ([], "index.json")],
)
def test_another_archive_is_refused_with_what_it_is(tmp_path: Path, members: list[str], hint: str) -> None:
    path = write_tar(tmp_path / "a.tar", [file_member(name, b"[]") for name in members])
    with pytest.raises(SourceError, match="not an archive of an OCI layout") as caught:
        source_of(f"oci-archive:{path}").root()
    assert hint in caught.value.hint


def test_a_folder_and_a_file_that_is_not_there_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder") as caught:
        source_of(f"oci-archive:{tmp_path}")
    assert f"oci:{tmp_path}" in caught.value.hint
    for transport in ("oci-archive", "docker-archive"):
        with pytest.raises(NotFoundError):
            source_of(f"{transport}:{tmp_path}/absent")


# Pipes


@pytest.fixture
def fifo(sample: Sample, tmp_path: Path) -> Iterator[Path]:
    """A named pipe with the layout as a tar in it, for one who reads."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = packed(sample.layout, tmp_path / "layout.tar").read_bytes()
    thread = threading.Thread(target=path.write_bytes, args=(data,))
    thread.start()
    yield path
    thread.join()


def test_a_named_pipe_is_read_once_for_many_questions(sample: Sample, fifo: Path) -> None:
    source = source_of(f"oci-archive:{fifo}:image")
    assert pulled(source) == sample.image.blobs
    assert source.document(source.root()) == sample.image.manifest
    source.close()


@pytest.mark.parametrize("form", ["docker-archive:-", "docker-archive:-:app:1", "docker-archive:/dev/stdin"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("piped", [False, True])
def test_an_archive_is_pulled_from_stdin(
    cli: Caller, tmp_path: Path, form: str, compressed: bool, piped: bool
) -> None:
    image = make_image(sample_layers())
    data = write_modern_archive(tmp_path / "a.tar", {"app:1": image}).read_bytes()
    (tmp_path / "in").write_bytes(gzip.compress(data) if compressed else data)
    if piped:
        done = cli.process("pull", form, stdin=None, input=(tmp_path / "in").read_bytes())
    else:
        with open(tmp_path / "in", "rb") as file:
            done = cli.process("pull", form, stdin=file)
    assert done.returncode == 0, done.stderr
    for layer in image.layers:
        assert cli("get", layer.diff_id).stdout_bytes == layer.tar


def test_a_layout_is_pulled_from_stdin_with_all_its_platforms(
    cli: Caller, sample: Sample, tmp_path: Path
) -> None:
    data = packed(sample.layout, tmp_path / "layout.tar").read_bytes()
    cli("pull", "--platform", "all", "oci-archive:-:index", stdin=data)
    for image in sample.index.images:
        for layer in image.layers:
            assert cli("get", layer.digest).stdout_bytes == layer.blob


def test_stdin_that_is_empty_or_no_archive_is_an_error(cli: Caller) -> None:
    assert "is empty" in cli("pull", "docker-archive:-", stdin=b"", code=4).stderr
    assert "not a valid tar" in cli("pull", "docker-archive:-", stdin=b"no archive" * 200, code=4).stderr


def test_stdin_that_is_a_terminal_is_refused(cli: Caller) -> None:
    code, seen = cli.on_terminal("pull", "docker-archive:-")
    assert code == 2
    assert "pipe an archive into it" in seen


def test_an_export_goes_through_a_pipe_into_another_cache(
    cli: Caller, sample: Sample, tmp_path: Path
) -> None:
    cli("adopt", str(_copied(sample, tmp_path / "cache")))
    other = Caller(f"file://{tmp_path}/other")
    for target in ("-", "oci-archive:-"):
        data = cli.process("export", "localhost/imported:image", target, "--platform", "linux/amd64").stdout
        source = "docker-archive:-" if target == "-" else target
        other("pull", source, stdin=data)
    for layer in sample.image.layers:
        assert other("get", layer.digest).stdout_bytes == layer.blob


def _copied(sample: Sample, folder: Path) -> Path:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(sample.layout, ".")
    data.seek(0)
    with tarfile.open(fileobj=data) as tar:
        tar.extractall(folder, filter="data")
    return folder
