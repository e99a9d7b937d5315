"""The programs of docs/examples: each does what it says, against a registry and real servers on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.pages import ROOT
from servers.images import make_image, make_layer, noise
from servers.lying import status

import layercache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.lying import LyingRegistry

EXAMPLES = ROOT / "docs" / "examples"
STATUS = b"Package: bash\nStatus: install ok\nVersion: 5.2-1\n\nPackage: dash\nVersion: 0.5\n"
BASE = make_layer({"var/lib/dpkg/status": STATUS, "etc/os-release": b"one"})
TOP = make_layer({"etc/os-release": b"two", "big": noise(300_000)})


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/cache"


@pytest.fixture
def image(lying: LyingRegistry) -> str:
    return lying.add_image("1", make_image([BASE, TOP]))


def test_every_example_is_tested_here_and_says_how_it_is_run() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"scan", "find_file", "prewarm", "flatten", "serve_layers"}
    for path in EXAMPLES.glob("*.py"):
        assert path.name in path.read_text() or path.stem in path.read_text()
        assert len(path.read_text().splitlines()) < 90, "short enough to be read"


def test_the_scanner_finds_packages(image: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    example("scan").main(image, url)
    found = json.loads(capsys.readouterr().out)
    assert found["packages"] == {"bash": "5.2-1", "dash": "0.5"}
    assert found["world_writable"] == found["set_id"] == []


def test_one_file_is_found_in_ten_images_and_shared_layers_are_read_once(
    lying: LyingRegistry, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        lying.add_image(f"{number}", make_image([BASE, make_layer({"file": noise(100, number)})]))
        for number in range(9)
    ]
    names.append(lying.add_image("other", make_image([make_layer({"file": b""})])))
    assert example("find_file").main("etc/os-release", names, url) == 0
    lines = capsys.readouterr().out.splitlines()
    digest = layercache.Digest.of(b"one").hex
    assert [line.split()[0] for line in lines] == [digest] * 9 + ["not"]
    assert len(lying.asked(f"/blobs/{BASE.digest}")) == 1


def test_a_cache_is_filled_before_the_jobs_begin(
    image: str, url: str, lying: LyingRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, lock = tmp_path / "images.txt", tmp_path / "images.lock"
    listed.write_text(f"{image}  # ours\n")
    prewarm = example("prewarm").main
    assert prewarm(url, str(listed), str(lock)) == 0
    assert "0 layers were there" in capsys.readouterr().out
    assert prewarm(url, str(listed), str(lock)) == 0
    assert "2 layers were there, 0 bytes came" in capsys.readouterr().out
    assert lock.read_text().startswith(f"{image}@sha256:")
    shutil.rmtree(tmp_path / "cache")
    lying.on("/blobs/", *[status(404)] * 20)
    assert prewarm(url, str(listed), str(lock)) == 1


def test_an_image_is_flattened_to_a_root_file_system(image: str, url: str, tmp_path: Path) -> None:
    assert example("flatten").main(image, str(tmp_path / "root"), url) == 0
    assert (tmp_path / "root/etc/os-release").read_bytes() == b"two"
    assert (tmp_path / "root/big").read_bytes() == noise(300_000)
    assert (tmp_path / "root.env").exists()


@contextmanager
def served(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The application in uvicorn, in a thread."""
    uvicorn = pytest.importorskip("uvicorn", reason="make test installs uvicorn")
    monkeypatch.setenv("LAYERS", url)
    config = uvicorn.Config(example("serve_layers").app, port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_starlette_application_streams_layers_and_parts_of_them(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpx = pytest.importorskip("httpx", reason="make test installs httpx")
    (tmp_path / "layer").write_bytes(TOP.blob)
    with layercache.open(url) as cache:
        cache.put(tmp_path / "layer")
    with served(url, monkeypatch) as address, httpx.Client(base_url=address) as client:
        whole = client.get(f"/layers/{TOP.digest}")
        assert (whole.status_code, whole.content) == (200, TOP.blob)
        assert whole.headers["content-length"] == str(len(TOP.blob))
        tar = client.get(f"/layers/{TOP.diff_id}", params={"form": "uncompressed"})
        assert tar.content == TOP.tar
        for ranged, expected in {
            "0-9": TOP.blob[:10],
            "1000-": TOP.blob[1000:],
            "-7": TOP.blob[-7:],
            f"5-{len(TOP.blob) + 99}": TOP.blob[5:],
        }.items():
            part = client.get(f"/layers/{TOP.digest}", headers={"range": f"bytes={ranged}"})
            assert (part.status_code, part.content) == (206, expected)
            first = len(TOP.blob) - len(expected) if ranged != "0-9" else 0
            assert part.headers["content-range"].startswith(f"bytes {first}-")
        assert client.get(f"/layers/{TOP.digest}", headers={"range": "bytes=9999999-"}).status_code == 416
        assert client.get(f"/layers/{BASE.digest}").status_code == 404
        assert client.get("/layers/alpine").status_code == 400


@pytest.mark.slow
def test_the_examples_have_strict_types_for_mypy_and_pyright(tmp_path: Path) -> None:
    """Slow: pyright reads all that they import. mypy reads them in make check, too."""
    pytest.importorskip("pyright", reason="make test-slow installs pyright")
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"include": [str(EXAMPLES)], "typeCheckingMode": "strict", "pythonVersion": "3.11"})
    )
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
