"""zstd:chunked as podman writes it: files come out of its layers by the tables that these have themselves."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest
from files.made import hardlink, layout_of, make_tar, symlink
from fixtures.stores import content, open_cache
from servers.images import noise
from servers.programs import requires, run, trusting_policy
from servers.registry import Registry

from layercache.errors import DigestMismatchError
from layercache.files import own_tar, tables
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import layercache
    from layercache.events import Event

pytestmark = pytest.mark.slow

FILES = {f"usr/lib/{number}": noise(700_000, number) for number in range(4)} | {
    "usr/text": b"".join(b"%d\n" % number for number in range(100_000)),
    "usr/holes": noise(70_000, 8) + bytes(900_000) + noise(50_000, 9),
    "usr/zeros": bytes(200_000),
    "usr/empty": b"",
    "etc/os-release": b"ID=test\n",
}
PADDED = make_tar(
    "etc/", "usr/", "usr/lib/", *FILES.items(), symlink("usr/link", "text"), hardlink("usr/hard", "usr/text")
)
TAR = PADDED[: 512 * (-(-len(PADDED.rstrip(b"\0")) // 512) + 2)]
"""With two empty blocks at its end, as Go's writer makes it: podman 4.3 fails at some tars with more."""


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Runs podman with a storage of its own."""
    requires("podman")
    conf = tmp_path / "containers.conf"
    conf.write_text(f'[engine]\ntmp_dir = "{tmp_path}"\nevents_logger = "none"\nlock_type = "file"\n')
    monkeypatch.setenv("CONTAINERS_CONF", str(conf))
    run_root = tempfile.mkdtemp(prefix="lc-")  # podman wants a name of 50 characters at most
    storage = ["--root", str(tmp_path / "storage"), "--runroot", run_root, "--storage-driver", "vfs"]
    policy = str(trusting_policy(tmp_path))

    def call(command: str, *arguments: str) -> str:
        return run("podman", *storage, command, "--signature-policy", policy, "--quiet", *arguments).strip()

    yield call
    shutil.rmtree(run_root, ignore_errors=True)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def pushed(tmp_path: Path, podman: Callable[..., str], registry: Registry) -> str:
    """The reference of an image of the files above, which podman has compressed."""
    image = podman("pull", layout_of(tmp_path / "layout", TAR))
    name = f"{registry.host}/team/chunked:1"
    podman("push", "--tls-verify=false", "--compression-format", "zstd:chunked", image, f"docker://{name}")
    return name


def middle_of_table(image: layercache.Image) -> int:
    """An offset in the blob, in the middle of the table, by the annotation that says where it is."""
    stated = image.manifest["layers"][0]["annotations"]
    (position,) = [value for key, value in stated.items() if key.endswith(".zstd-chunked.manifest-position")]
    start, size, *_ = map(int, position.split(":"))
    return int(start + size // 2)


def test_files_are_read_by_the_table_of_a_layer_that_podman_pushed(pushed: str, registry: Registry) -> None:
    with open_cache() as cache:
        image = cache.image(pushed)
        (layer,) = image.layers
        listed = {file.path: file.entry for file in image.files()}
        assert {path: each.size for path, each in listed.items() if path in FILES} == {
            path: len(data) for path, data in FILES.items()
        }
        assert set(listed) == {*FILES, "etc", "usr", "usr/lib", "usr/link", "usr/hard"}
        for path, data in FILES.items():
            with image.open(path) as file:
                assert file.read() == data, path
        for path in ("usr/link", "usr/hard"):
            assert image.open(path).read() == FILES["usr/text"]
        kept = content(cache.tiers[0])
        assert keys.derived(own_tar.KIND, layer.digest) in kept
        assert keys.derived(tables.KIND, layer.digest) not in kept
        assert not cache.counters.inflated
    asked = [each for each in registry.accesses() if each.method == "GET" and str(layer.digest) in each.path]
    assert {each.status for each in asked} == {206}


def test_one_file_of_it_takes_a_small_part_of_the_layer(pushed: str, registry: Registry) -> None:
    with open_cache() as cache:
        image = cache.image(pushed)
        assert image.open("etc/os-release").read() == FILES["etc/os-release"]
        (layer,) = image.layers
    asked = [each for each in registry.accesses() if each.method == "GET" and str(layer.digest) in each.path]
    assert 0 < sum(each.sent for each in asked) < (layer.size or 0) // 20


def test_a_table_that_was_changed_in_the_registry_is_refused(pushed: str, registry: Registry) -> None:
    events: list[Event] = []
    with open_cache() as cache, cache.watch(events.append):
        image = cache.image(pushed)
        (layer,) = image.layers
        with registry.blob_file(layer.digest).open("r+b") as blob:
            blob.seek(middle_of_table(image))
            blob.write(b"changed")
        with pytest.raises(DigestMismatchError, match=str(layer.digest)):
            image.open("etc/os-release")
        assert keys.derived(own_tar.KIND, layer.digest) not in content(cache.tiers[0])
    (refused,) = [event.note for event in events if event.kind == "failed" and event.where == "its image"]
    assert "its own table of files is not used" in refused
