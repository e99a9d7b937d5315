"""What is extracted is what umoci and buildah unpack: file by file, hash by hash, mode by mode."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from files.made import hardlink, info, layout_of, make_tar, on_disk, symlink
from servers.images import noise
from servers.programs import as_root, requires, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import layercache

pytestmark = pytest.mark.slow

LONG = "/".join("long-name-of-a-folder" * 4 for _ in range(3))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that a tar can have."""
    as_root()
    root = tmp_path_factory.mktemp("tree") / "root"
    for folder in ("etc", "usr/bin", "usr/share/doc", "var/lib/empty", f"var/{LONG}", "tmp", "dev"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(
        (
            "etc/passwd",
            "etc/motd",
            "usr/bin/tool",
            "usr/bin/su",
            f"var/{LONG}/{'n' * 200}",
            "etc/ñandú",
            "etc/a b",
        )
    ):
        (root / name).write_bytes(noise(10_000 * number, number))
        os.chmod(root / name, 0o640 + number)
        os.chown(root / name, 1000 + number, 70_000 + number)
    (root / os.fsdecode(b"etc/\xff\xfe")).write_bytes(b"no UTF-8")
    os.chmod(root / "usr/bin/su", 0o4755)
    os.chmod(root / "tmp", 0o1777)
    os.chmod(root / "var/lib", 0o2750)
    for number in range(300):
        (root / f"usr/share/doc/{number}").write_bytes(noise(number * 7, number))
    os.link(root / "etc/passwd", root / "usr/share/same")
    os.link(root / "usr/bin/tool", root / "usr/bin/again")
    os.symlink("usr/bin", root / "bin")
    os.symlink("/etc/passwd", root / "usr/absolute")
    os.symlink("../nowhere", root / "usr/dangling")
    with open(root / "var/sparse", "wb") as file:
        for at in (100_000, 700_000):
            file.seek(at)
            file.write(noise(5000, at))
        file.truncate(3 << 20)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(root / "dev/pipe", 0o622)
    os.setxattr(root / "etc/motd", "user.note", b"kept \0 as it is")
    for above, folders, files in os.walk(root):
        for name in (*folders, *files):
            time = 1_500_000_000_123_456_789 + len(name)
            os.utime(os.path.join(above, name), ns=(time, time), follow_symlinks=False)
    return root


def by_python(format: int) -> Callable[[str, str], None]:
    def write(root: str, target: str) -> None:
        with tarfile.open(target, "w", format=format) as tar:
            tar.add(root, ".")

    return write


def by(*command: str) -> Callable[[str, str], None]:
    def write(root: str, target: str) -> None:
        requires(command[0])
        done = subprocess.run([*command, "-C", root, "-cf", target, "."], capture_output=True, check=False)
        assert not done.returncode, done.stderr

    return write


WRITERS: dict[str, Callable[[str, str], None]] = {
    "gnu": by("tar", "--format=gnu", "--numeric-owner"),
    "gnu sparse": by("tar", "--format=gnu", "--sparse"),
    "gnu pax": by("tar", "--format=pax", "--sparse", "--xattrs"),
    "gnu pax sparse 0.1": by("tar", "--format=pax", "--sparse", "--sparse-version=0.1"),
    "bsdtar": by("bsdtar", "--format=pax", "--xattrs"),
    "bsdtar gnu": by("bsdtar", "--format=gnutar"),
    "python pax": by_python(tarfile.PAX_FORMAT),
    "python gnu": by_python(tarfile.GNU_FORMAT),
}

CHANGES = [
    make_tar(
        info("etc/", mode=0o711),
        "etc/.wh.motd",
        (info("etc/passwd", mode=0o600, uid=7), b"changed"),
        "usr/",
        hardlink("usr/link-to-below", "usr/bin/tool"),
        "usr/share/",
        "usr/share/.wh.doc",
        "var/",
        (info("var/lib", mode=0o644), b"a file, no folder"),
        "bin/",
        ("bin/sh", b"bin is no link any more"),
        symlink("tmp", "usr"),
    ),
    make_tar(
        "usr/",
        ("usr/.wh..wh..opq", b""),
        "usr/new/",
        ("usr/new/file", noise(50_000)),
        "var/",
        "var/lib/",
        ("var/lib/file", b"a folder again"),
        symlink("lib64", "usr/new"),
    ),
    make_tar(("lib64/through-the-link", b"it is in usr/new"), hardlink("hard", "lib64/file")),
]


def extracted(image: layercache.Image, folder: Path) -> dict[str, Any]:
    image.extract(folder, owners=True, devices=True, set_id=True)
    return with_xattrs(folder)


def with_xattrs(folder: Path) -> dict[str, Any]:
    found = on_disk(folder)
    for path in found:
        names = os.listxattr(folder / path, follow_symlinks=False)
        found[path] += tuple(
            (name, os.getxattr(folder / path, name)) for name in names if name[:5] == "user."
        )
    return found


def unpacked_by_umoci(layout: str, folder: Path) -> Path:
    requires("umoci")
    run("umoci", "unpack", "--image", layout.removeprefix("oci:"), str(folder))
    return folder / "rootfs"


@pytest.mark.parametrize("writer", WRITERS)
def test_a_layer_is_extracted_as_the_folder_that_it_was_made_of(
    cache: layercache.Cache, tmp_path: Path, tree: Path, writer: str
) -> None:
    WRITERS[writer](str(tree), str(tmp_path / "tar"))
    layer = cache.put(str(tmp_path / "tar"))
    layer.extract(tmp_path / "out", owners=True, devices=True, set_id=True)
    keeps_all = writer.startswith(("gnu pax", "bsdtar")) and writer != "bsdtar gnu"
    expected, found = (
        without_fractions(each, keeps_all=keeps_all)
        for each in (with_xattrs(tree), with_xattrs(tmp_path / "out"))
    )
    assert found == expected
    if "sparse" in writer or writer == "gnu pax":
        assert os.stat(tmp_path / "out/var/sparse").st_blocks * 512 < 1 << 20


def without_fractions(found: dict[str, Any], *, keeps_all: bool) -> dict[str, Any]:
    """Without what some formats do not keep: fractions of seconds, extended attributes."""
    kept = {}
    for path, each in found.items():
        each = tuple(value for value in each if not isinstance(value, tuple))
        if not keeps_all and each[0][0] != "l":
            each = (*each[:3], each[3] // 1_000_000_000, *each[4:])
        kept[path] = each
    return kept


@pytest.mark.parametrize(
    "writer", [writer for writer in WRITERS if writer != "gnu sparse"]
)  # no umoci reads it
def test_an_image_is_extracted_as_umoci_unpacks_it(
    cache: layercache.Cache, tmp_path: Path, tree: Path, writer: str
) -> None:
    WRITERS[writer](str(tree), str(tmp_path / "tar"))
    tars = [(tmp_path / "tar").read_bytes(), *CHANGES]
    layout = layout_of(tmp_path / "layout", *tars)
    expected = with_xattrs(unpacked_by_umoci(layout, tmp_path / "bundle"))
    assert len(expected) > 20
    image = cache.image(layout)
    assert extracted(image, tmp_path / "out") == expected
    check_view(image, expected)


def check_view(image: layercache.Image, expected: dict[str, Any]) -> None:
    """The merged view says the same as the disk, and the bytes of files are the same."""
    assert [each.path for each in image.files()] == sorted(expected, key=lambda path: path.replace("/", "\0"))
    for each in image.files():
        entry, found = each.entry, expected[each.path]
        assert found[1:3] == (entry.uid, entry.gid)
        if entry.type == "file":
            assert (entry.size, entry.sha256) == (found[4], found[6])
        if entry.type == "symlink":
            assert entry.link == found[3]
        else:
            assert stat.S_IMODE(entry.mode) == mode_of(found[0])
            assert entry.mtime == found[3]


def mode_of(text: str) -> int:
    """The number of what `stat.filemode` prints."""
    mode = sum(1 << (8 - at) for at, letter in enumerate(text[1:]) if letter not in "-ST")
    return mode | (text[3] in "sS") << 11 | (text[6] in "sS") << 10 | (text[9] in "tT") << 9


def test_layers_that_umoci_writes_are_extracted_as_they_were_when_it_wrote_them(
    cache: layercache.Cache, tmp_path: Path, tree: Path
) -> None:
    WRITERS["gnu pax"](str(tree), str(tmp_path / "tar"))
    layout = layout_of(tmp_path / "layout", (tmp_path / "tar").read_bytes())
    root = unpacked_by_umoci(layout, tmp_path / "bundle")
    change(root)
    run("umoci", "repack", "--image", layout.removeprefix("oci:"), str(tmp_path / "bundle"))
    assert extracted(cache.image(layout), tmp_path / "out") == with_xattrs(root)


def change(root: Path) -> None:
    """What programs do to files between two layers."""
    shutil.rmtree(root / "usr/share/doc")
    (root / "etc/motd").unlink()
    (root / "usr/bin/tool").write_text("rewritten")
    shutil.rmtree(root / "var/lib")
    (root / "var/lib").write_text("a file, no folder")
    (root / "etc/passwd").rename(root / "etc/moved")
    (root / "bin").unlink()
    (root / "bin").mkdir()
    (root / "bin/sh").write_text("new")
    os.link(root / "bin/sh", root / "bin/bash")
    for above, folders, files in os.walk(root, topdown=False):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            if os.stat(path, follow_symlinks=False).st_mtime_ns % 1_000_000_000:  # neither writes fractions
                os.utime(path, (0, 1_600_000_000), follow_symlinks=False)


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Callable[..., str]]:
    as_root()
    requires("buildah")
    storage = (
        "--storage-driver",
        "vfs",
        "--root",
        str(tmp_path / "storage"),
        "--runroot",
        str(tmp_path / "run"),
    )

    def call(command: str, *arguments: str) -> str:
        options = ("--signature-policy", str(policy)) if command in ("from", "commit") else ()
        return run("buildah", *storage, command, *options, *arguments).strip()

    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    yield call
    call("umount", "--all")
    call("rm", "--all")


def test_an_image_is_extracted_as_buildah_mounts_it(
    cache: layercache.Cache, tmp_path: Path, tree: Path, buildah: Callable[..., str]
) -> None:
    WRITERS["gnu pax"](str(tree), str(tmp_path / "tar"))
    layout = layout_of(tmp_path / "layout", (tmp_path / "tar").read_bytes(), *CHANGES[:2])
    mounted = buildah("mount", buildah("from", layout))
    expected = with_xattrs(tmp_path / mounted)
    assert extracted(cache.image(layout), tmp_path / "out") == expected


def test_layers_that_buildah_writes_are_extracted_as_they_were_when_it_wrote_them(
    cache: layercache.Cache, tmp_path: Path, tree: Path, buildah: Callable[..., str]
) -> None:
    container = buildah("from", "scratch")
    mounted = tmp_path / buildah("mount", container)
    shutil.copytree(tree, mounted, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("dev"))
    base = f"oci:{tmp_path / 'base'}:latest"
    buildah("commit", "--quiet", container, base)
    upper = buildah("from", base)
    mounted = tmp_path / buildah("mount", upper)
    change(mounted)
    target = f"oci:{tmp_path / 'image'}:latest"
    buildah("commit", "--quiet", upper, target)
    expected = {
        path: found for path, found in with_xattrs(mounted).items() if path not in ("dev", "proc", "sys")
    }
    found = extracted(cache.image(target), tmp_path / "out")
    assert {path: each for path, each in found.items() if path not in ("dev", "proc", "sys")} == expected
