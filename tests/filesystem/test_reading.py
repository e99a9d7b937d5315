"""Files of images and layers by fsspec: URLs, listings, links, ranges, and that nothing is written."""

from __future__ import annotations

import errno
import io
import os
import pickle
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fixtures.counted import counted
from fixtures.rootfs import BIG, IMAGE, LOWER, NAME, OS_RELEASE, TIME, contents, file, layer_of, store
from servers.images import make_image, make_index, write_layout

from layercache import ConfigError
from layercache.files.merged import ImageFiles
from layercache.filesystem.open_file import OpenFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ETC = ["/etc/dangling", "/etc/os-release", "/etc/passwd", "/etc/shadow"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache that has the image; shared, so do not change it."""
    return store(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture(autouse=True)
def configured(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured cache is that one."""
    monkeypatch.setenv("LAYERCACHE_URL", url)


@pytest.fixture
def fs(url: str) -> Any:
    return fsspec.filesystem("image", image=NAME, cache=url)


@pytest.mark.parametrize(
    "address",
    [
        f"image://{NAME}/etc/os-release",
        f"image://{NAME}//etc//os-release",
        f"image://{NAME}/bin/../lib/os-release",
    ],
)
def test_a_file_is_read_by_its_url(address: str) -> None:
    with fsspec.open(address) as opened:
        assert opened.read() == OS_RELEASE


@pytest.mark.parametrize("name", [LOWER.digest, LOWER.diff_id])
def test_a_layer_is_read_by_either_of_its_names(name: str) -> None:
    with fsspec.open(f"layer://{name}/etc/os-release", "r") as opened:
        assert opened.read() == "ID=replaced\n"


def test_a_file_system_of_one_image_has_paths_from_its_root(fs: Any) -> None:
    assert fs.ls("/etc", detail=False) == fs.ls("etc/", detail=False) == ETC
    assert fs.ls(f"image://{NAME}/etc", detail=False) == fs.ls("image:///etc", detail=False) == ETC
    assert fs.unstrip_protocol("/etc/passwd") == f"image://{NAME}/etc/passwd"
    with pytest.raises(ValueError, match="debian:12"):
        fs.ls("image://debian:12/etc")


def test_any_name_of_an_image_is_an_option(tmp_path: Path) -> None:
    store(tmp_path, fill=False)
    fs = fsspec.filesystem("image", image=f"oci:{tmp_path / 'layout'}:{NAME}")
    assert fs.cat("/etc/os-release") == OS_RELEASE
    assert fs.unstrip_protocol("/etc") == "image:///etc"


def test_a_path_that_begins_with_the_image_is_listed_under_it(url: str) -> None:
    fs = fsspec.filesystem("image", cache=url)
    assert fs.ls(f"{NAME}/etc", detail=False) == [f"{NAME}{path}" for path in ETC]
    assert [fs.unstrip_protocol(path) for path in fs.glob(f"image://{NAME}/usr/**/os-*")] == [
        f"image://{NAME}/usr/lib/os-release"
    ]


def test_details_are_those_of_the_tar(fs: Any) -> None:
    known = fs.info("/usr/bin/tool")
    assert known["type"] == "file"
    assert known["size"] == 20
    assert stat.filemode(known["mode"]) == "-rwsr-xr-x"
    assert known["mtime"] == TIME
    assert known["sha256"] == fs.info("/usr/bin/below")["sha256"] != ""
    assert fs.info("/")["type"] == fs.info("/etc")["type"] == "directory"
    assert fs.info("/dev/null")["type"] == fs.info("/run/pipe")["type"] == "other"
    assert fs.modified("/etc") == fs.created("/etc") == datetime.fromtimestamp(TIME, UTC)


def test_links_are_followed_inside_the_image(fs: Any) -> None:
    known = fs.info("/etc/os-release")
    assert (known["type"], known["size"], known["islink"]) == ("file", len(OS_RELEASE), True)
    assert known["destination"] == "../usr/lib/os-release"
    assert fs.info("/bin")["type"] == "directory"
    assert "/bin/tool" in fs.ls("/bin", detail=False)
    assert fs.info("/etc/dangling")["type"] == "link"
    with pytest.raises(FileNotFoundError):
        fs.open("/etc/dangling")


def test_links_in_a_circle_do_not_hold_up_a_walk(fs: Any) -> None:
    found = fs.find("/")
    assert "/usr/bin/self" in found
    assert not [path for path in found if path.startswith(("/bin/", "/usr/bin/self/"))]
    assert fs.cat("/usr/bin/self/self/tool") == fs.cat("/usr/bin/tool")


def test_what_is_not_there_is_no_file_and_no_folder(fs: Any) -> None:
    for path in ("/nope", "/etc/passwd/x", "/tmp/removed", "/etc/dangling/x"):
        assert not fs.exists(path)
        assert not fs.isfile(path)
        assert not fs.isdir(path)
        with pytest.raises(FileNotFoundError):
            fs.info(path)
    with pytest.raises(FileNotFoundError, match="there is etc/passwd"):
        fs.open("/passwd")
    with pytest.raises(FileNotFoundError, match="not cached"):
        fsspec.open("image://nope:1/x").open()
    with pytest.raises(IsADirectoryError):
        fs.open("/etc")
    with pytest.raises(OSError, match="character"):
        fs.open("/dev/null")


def test_a_cache_that_cannot_be_asked_is_not_an_absent_file() -> None:
    fs = fsspec.filesystem("image", image=NAME, cache="@nope")
    for ask in (fs.exists, fs.isfile, fs.isdir, fs.info):
        with pytest.raises(ConfigError):
            ask("/etc")


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, None), (0, 10), (10, None), (-5, None), (5, -5), (999_990, 2_000_000), (7, 3), (2**40, None)],
)
def test_ranges_are_pythons_slices(fs: Any, start: int | None, end: int | None) -> None:
    assert fs.cat_file("/big", start, end) == BIG[start:end]


def test_ranges_of_one_file_open_it_once(fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = counted(monkeypatch, ImageFiles, "open")
    found = fs.cat_ranges(["/big", "/nope", "/big", "/big"], [500_000, 0, 3, 10], [500_010, 1, 7, 10])
    assert [found[0], *found[2:]] == [BIG[500_000:500_010], BIG[3:7], b""]
    assert isinstance(found[1], FileNotFoundError)
    assert len(opened) == 1
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["/nope"], 0, 1, on_error="raise")
    with pytest.raises(ValueError, match="as many"):
        fs.cat_ranges(["/big"], [0, 1], [1])


def test_an_open_file_is_seekable_and_can_be_pickled(fs: Any) -> None:
    with fs.open("/big") as opened:
        assert isinstance(opened, OpenFile)
        assert (opened.size, opened.path, opened.mode) == (len(BIG), "/big", "rb")
        assert opened.full_name == f"image://{NAME}/big"
        assert opened.seek(-4, io.SEEK_END) == len(BIG) - 4
        with pickle.loads(pickle.dumps(opened)) as again:
            assert again.read() == opened.read() == BIG[-4:]
    assert fs.read_text("/data/naïve name.txt", encoding="utf-8") == "ä\n"
    assert fs.cat(f"/data/bytes-{os.fsdecode(bytes([255]))}") == b"not UTF-8\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda fs: fs.open("/new", "wb"),
        lambda fs: fs.open("/etc/passwd", "ab"),
        lambda fs: fs.open("/etc/passwd", "r+b"),
        lambda fs: fs.write_text("/new", "x"),
        lambda fs: fs.pipe("/new", b""),
        lambda fs: fs.pipe_file("/etc/passwd", b"", mode="create"),
        lambda fs: fs.touch("/etc/passwd", truncate=False),
        lambda fs: fs.mkdir("/new"),
        lambda fs: fs.makedirs("/etc", exist_ok=True),
        lambda fs: fs.rm("/etc/passwd"),
        lambda fs: fs.rm("/etc", recursive=True),
        lambda fs: fs.rmdir("/tmp"),
        lambda fs: fs.mv("/etc/passwd", "/new"),
        lambda fs: fs.copy("/etc/passwd", "/new"),
        lambda fs: fs.put(__file__, "/new"),
    ],
)
def test_what_writes_is_refused(fs: Any, write: Callable[[Any], object]) -> None:
    with pytest.raises(OSError, match="read-only") as refused:
        write(fs)
    assert refused.value.errno == errno.EROFS


@pytest.mark.parametrize(
    ("protocol", "option"), [("image", "plattform"), ("layer", "platform"), ("layer", "layers")]
)
def test_an_option_that_there_is_not_is_refused(protocol: str, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        fsspec.filesystem(protocol, **{option: "linux/arm64"})


def test_a_file_is_known_by_its_bytes(fs: Any) -> None:
    assert fs.ukey("/usr/bin/tool") == fs.ukey("/usr/bin/again") == fs.info("/usr/bin/tool")["sha256"]
    assert fs.checksum("/etc/passwd") != fs.checksum("/etc/shadow")
    assert fs.ukey("/etc") != fs.ukey("/usr")


def test_times_far_off_have_a_date_too(tmp_path: Path) -> None:
    late, data = file("late")
    late.mtime = 10**15
    url = store(tmp_path, make_image([layer_of((late, data))]))
    fs = fsspec.filesystem("image", image=NAME, cache=url)
    assert fs.modified("/late").year == 2262  # 2**63 ns


def test_caches_of_fsspec_do_not_mix_images_up(tmp_path: Path, url: str) -> None:
    store(tmp_path, contents({"etc/os-release": b"another"}), "localhost/team/app:2", cache=url)
    options = {"filecache": {"cache_storage": str(tmp_path / "files")}, "image": {"cache": url}}
    found = []
    for name in (NAME, "localhost/team/app:2"):
        with fsspec.open(f"filecache::image://{name}/etc/os-release", **options) as opened:
            found.append(opened.read())
    assert found == [OS_RELEASE, b"another"]


def test_the_platform_is_an_option(tmp_path: Path) -> None:
    arm = make_image([layer_of(file("arch", b"arm64"))], "linux/arm64")
    write_layout(tmp_path / "layout", {"": make_index([IMAGE, arm])})
    name = f"oci:{tmp_path / 'layout'}"
    assert fsspec.filesystem("image", image=name, platform="linux/arm64").cat("/arch") == b"arm64"
    with pytest.raises(FileNotFoundError, match="s390x"):
        fsspec.filesystem("image", image=name, platform="linux/s390x").info("/")
