from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.images import compressed

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer


def test_both_names_are_printed(cli: Caller, file: Path, layer: Layer) -> None:
    assert cli("put", str(file)).stdout == f"{layer.digest}\t{layer.diff_id}\t{file}\n"


def test_stdin_is_a_file_too(cli: Caller, layer: Layer) -> None:
    assert cli("put", "-", stdin=layer.blob).stdout == f"{layer.digest}\t{layer.diff_id}\t-\n"
    assert cli("get", layer.diff_id).stdout_bytes == layer.tar


def test_put_refuses_a_terminal(cli: Caller) -> None:
    code, seen = cli.on_terminal("put", "-")
    assert code == 2
    assert "terminal" in seen


def test_if_one_fails_the_others_go_on(cli: Caller, file: Path, tmp_path: Path, layer: Layer) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(layer.blob[:-20])
    (tmp_path / "plain.tar").write_bytes(layer.tar)
    files = [str(cut), str(tmp_path / "missing"), str(file), str(tmp_path), str(tmp_path / "plain.tar")]
    put = cli("put", *files, code=3)
    assert [line.split("\t")[2] for line in put.stdout.splitlines()] == [files[2], files[4]]
    first, second, third = put.stderr.splitlines()
    assert first == f"layercache: {cut}: the blob: the gzip stream is cut off"
    assert second == f"layercache: {files[1]}: No such file or directory"
    assert third == f"layercache: {tmp_path}: Is a directory"


def test_a_file_that_is_not_there_is_a_usage_error(cli: Caller, tmp_path: Path) -> None:
    cli("put", str(tmp_path / "missing"), code=2)


def test_a_cut_layer_leaves_nothing(cli: Caller, layer: Layer) -> None:
    cli("put", "-", stdin=layer.blob[:-20], code=3)
    (tier,) = cli.json("stats")["tiers"]
    assert (tier["blobs"], tier["layers"]) == (0, 0)


@pytest.mark.parametrize(
    "content", [b"", b"no layer", compressed(b"no layer", "gzip"), compressed(b"no", "zstd")]
)
def test_a_file_that_is_not_a_layer_is_refused_unless_any_is_wanted(
    cli: Caller, tmp_path: Path, content: bytes, file: Path, layer: Layer
) -> None:
    (tmp_path / "text").write_bytes(content)
    put = cli("put", str(tmp_path / "text"), str(file), code=2)
    assert f"{tmp_path}/text: not a layer: " in put.stderr
    assert "--any" in put.stderr
    assert put.stdout.startswith(layer.digest), "the others are stored"
    assert not (tmp_path / "cache" / "blobs" / "sha256" / Digest.of(content).hex).exists()
    assert cli("put", "--any", str(tmp_path / "text")).stdout.startswith(Digest.of(content))
    assert cli("get", Digest.of(content)).stdout_bytes == content


def test_an_empty_tar_is_a_layer(cli: Caller) -> None:
    for tar in (bytes(1024), compressed(bytes(1024), "gzip"), compressed(bytes(10240), "zstd")):
        cli("put", "-", stdin=tar)


def test_a_file_that_exceeds_the_limit_is_refused_for_that_reason(
    cli: Caller, file: Path, layer: Layer
) -> None:
    limited = Caller(f"{cli.url}?max_size=10")
    put = limited("put", str(file), code=2)
    assert f"{len(layer.blob)} bytes exceed the limit of {cli.url}: max_size=10" in put.stderr
    assert "raise max_size" in put.stderr


def test_json_is_a_document_a_line(cli: Caller, file: Path, tmp_path: Path, layer: Layer) -> None:
    (tmp_path / "plain.tar").write_bytes(layer.tar)
    lines = cli("put", "--json", str(file), str(tmp_path / "plain.tar")).stdout.splitlines()
    packed, plain = map(json.loads, lines)
    assert packed == {
        "file": str(file),
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "size": len(layer.blob),
        "uncompressed_size": len(layer.tar),
        "media_type": layer.media_type,
    }
    assert plain["digest"] == plain["diff_id"] == layer.diff_id


def test_on_a_terminal_the_names_are_whole(cli: Caller, file: Path, layer: Layer) -> None:
    code, seen = cli.on_terminal("put", str(file))
    assert code == 0
    assert seen == f"{file}\ndigest   {layer.digest}\ndiff ID  {layer.diff_id}\n"


def test_a_cache_that_is_a_file_is_refused(file: Path) -> None:
    said = Caller(f"file://{file}")("put", str(file), code=2).stderr
    assert said.startswith(f"layercache: {file} is not a folder")
