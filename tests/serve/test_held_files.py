"""What the server below opens is what was found, although it opens that later, by a name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.asking import ask

from layercache.serve import held_files
from layercache.serve.held_files import HeldFiles
from layercache.serve.messages import FileAnswer, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.asking import Serve
    from servers.images import Sample


@pytest.fixture
def held() -> Iterator[HeldFiles]:
    made = HeldFiles()
    yield made
    made.close()


def names(held: HeldFiles, path: Path) -> Path:
    name = held.name(str(path), path.stat().st_size)
    assert name is not None
    return Path(name)


def test_a_name_leads_to_what_was_there_whatever_takes_its_place(held: HeldFiles, tmp_path: Path) -> None:
    blob, secret = tmp_path / "blob", tmp_path / "secret"
    blob.write_bytes(b"layer")
    secret.write_bytes(b"12345")
    name = names(held, blob)
    blob.unlink()
    assert name.read_bytes() == b"layer"
    blob.symlink_to(secret)
    assert held.name(str(blob), 5) is None
    assert name.read_bytes() == b"layer"
    blob.unlink()
    blob.write_bytes(b"other")
    assert (names(held, blob).read_bytes(), name.read_bytes()) == (b"other", b"layer")
    assert held.name(str(blob), 6) is None
    assert held.name(str(tmp_path), tmp_path.stat().st_size) is None


def test_files_are_few_and_are_closed_after_a_while(
    held: HeldFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "MOST", 2)
    files = [tmp_path / name for name in "abc"]
    for each in files:
        each.write_bytes(b"1")
    before = len(os.listdir("/proc/self/fd"))
    assert [names(held, each) for each in files[:2]] == [names(held, each) for each in files[:2]]
    assert held.name(str(files[2]), 1) is None
    assert len(os.listdir("/proc/self/fd")) == before + 2
    monkeypatch.setattr(held_files, "SECONDS", -1.0)
    names(held, files[0])
    names(held, files[1])
    assert names(held, files[2]).read_bytes() == b"1"
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_a_blob_is_sent_by_such_a_name(serve: Serve, sample: Sample, tmp_path: Path) -> None:
    mirror, layer = serve(), sample.image.layers[0]
    path = f"/v2/app/blobs/{layer.digest}"
    ask(mirror, "/v2/app/manifests/1")
    assert ask(mirror, path).body == layer.blob
    answer = mirror.answer(Request("GET", path, {}, {}))
    assert isinstance(answer, FileAnswer)
    stored = tmp_path / "cache/blobs/sha256" / layer.digest.hex
    stored.unlink()
    stored.symlink_to("/etc/passwd")
    assert Path(answer.path).read_bytes() == layer.blob
