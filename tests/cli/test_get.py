from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.calling import PROGRAM, Caller
from servers.images import make_layer, noise

from layercache.cli.layer_output import copy
from layercache.oci.digest import Digest
from layercache.streams.named_file import RESERVED_FROM, writing

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Layer

NOWHERE = f"sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def kept(cli: Caller, file: Path) -> None:
    cli("put", str(file))


def test_a_digest_gives_the_blob_and_a_diff_id_the_tar(cli: Caller, layer: Layer) -> None:
    assert cli("get", layer.digest).stdout_bytes == layer.blob
    assert cli("get", layer.diff_id).stdout_bytes == layer.tar


def test_the_form_can_be_chosen(cli: Caller, layer: Layer) -> None:
    assert cli("get", layer.digest, "--form", "uncompressed").stdout_bytes == layer.tar
    assert cli("get", layer.diff_id, "--form", "compressed").stdout_bytes == layer.blob


def test_the_bytes_of_a_name_that_is_both_are_its_own(cli: Caller, tmp_path: Path, layer: Layer) -> None:
    (tmp_path / "plain.tar").write_bytes(layer.tar)
    cli("put", str(tmp_path / "plain.tar"))
    assert cli("get", layer.diff_id).stdout_bytes == layer.tar


def test_a_hash_may_be_cut_short_or_lack_its_algorithm(cli: Caller, layer: Layer) -> None:
    for text in (layer.digest[:20], layer.digest.hex, layer.digest.hex[:12]):
        assert cli("get", text).stdout_bytes == layer.blob
    assert cli("get", layer.diff_id.hex[:6]).stdout_bytes == layer.tar


def test_the_beginning_of_several_hashes_is_refused(cli: Caller, tmp_path: Path) -> None:
    one, other = same_beginning()
    for number, content in enumerate((one, other)):
        (tmp_path / str(number)).write_bytes(content)
        cli("put", "--any", str(tmp_path / str(number)))
    said = cli("get", Digest.of(one).hex[:6], code=2).stderr
    assert Digest.of(one) in said
    assert Digest.of(other) in said


def same_beginning() -> tuple[bytes, bytes]:
    """Two contents whose digests have the same first six digits."""
    seen: dict[str, bytes] = {}
    for number in count():
        content = b"%d" % number
        other = seen.setdefault(Digest.of(content).hex[:6], content)
        if other != content:
            return other, content
    raise AssertionError("numbers end")


def test_what_is_not_cached_is_not_found(cli: Caller) -> None:
    said = cli("get", NOWHERE, code=1).stderr
    assert said.startswith(f"layercache: {NOWHERE} is not cached\n  looked in  {cli.url}\n  hint")
    assert "abcdefabcdef is not cached" in cli("get", "abcdefabcdef", code=1).stderr


@pytest.mark.parametrize(
    "text", ["nonsense", "sha256:abc", f"{NOWHERE}0", f"md5:{'0' * 32}", NOWHERE.upper()]
)
def test_an_invalid_hash_is_a_usage_error(cli: Caller, text: str) -> None:
    assert "not a digest or diff ID" in cli("get", text, code=2).stderr


def test_a_file_is_written(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    target = tmp_path / "out" / "layer.tar"
    target.parent.mkdir()
    target.write_bytes(b"what was there before")
    assert cli("get", layer.diff_id, "-o", str(target)).stdout == ""
    assert target.read_bytes() == layer.tar
    assert os.listdir(target.parent) == ["layer.tar"]


def test_a_new_file_has_the_mode_that_the_user_wants(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    target = tmp_path / "layer.tar"
    subprocess.run(
        [
            "sh",
            "-c",
            'umask 027; "$@"',
            "sh",
            *PROGRAM,
            "--cache",
            cli.url,
            "get",
            layer.digest,
            "-o",
            target,
        ],
        check=True,
        timeout=60,
    )
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_link_is_followed(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    cli("get", layer.digest, "-o", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == layer.blob


def test_a_device_is_written_to_and_not_replaced(cli: Caller, layer: Layer) -> None:
    cli("get", layer.digest, "-o", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_stdout_has_a_name(cli: Caller, layer: Layer) -> None:
    assert cli("get", layer.digest, "-o", "-").stdout_bytes == layer.blob


def test_a_full_disk_is_a_failure_that_names_the_file(cli: Caller, layer: Layer) -> None:
    said = cli("get", layer.digest, "-o", "/dev/full", code=4).stderr
    assert said == "layercache: cannot write /dev/full: No space left on device\n"
    with open("/dev/full", "wb") as full:
        done = cli.process("get", layer.digest, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stderr) == (
        4,
        b"layercache: cannot write stdout: No space left on device\n",
    )


def test_a_place_where_no_file_can_be_is_a_usage_error(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere" / "file"):
        assert str(place) in cli("get", layer.digest, "-o", str(place), code=2).stderr


def test_wrong_bytes_leave_no_file(tmp_path: Path) -> None:
    layer = make_layer({"noise": noise(1 << 20)})
    far = tmp_path / "far"
    blob = far / "blobs" / "sha256" / layer.digest.hex
    blob.parent.mkdir(parents=True)
    blob.write_bytes(layer.blob[:-1] + b"?")
    target = tmp_path / "out" / "layer"
    target.parent.mkdir()
    caller = Caller(f"file://{tmp_path}/near")
    caller("get", layer.digest, "-o", str(target), "--cache", f"file://{far}", code=3)
    assert os.listdir(target.parent) == []
    assert caller.lines("ls", "--all") == []


def test_a_reader_that_leaves_ends_it_quietly(cli: Caller, tmp_path: Path) -> None:
    big = make_layer({"noise": noise(5 << 20)})
    (tmp_path / "big").write_bytes(big.blob)
    cli("put", str(tmp_path / "big"))
    with cli.begin("get", big.digest) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_terminal_gets_no_binary_unless_it_insists(cli: Caller, layer: Layer, tmp_path: Path) -> None:
    code, seen = cli.on_terminal("get", layer.digest)
    assert code == 2
    assert "-o FILE" in seen
    code, seen = cli.on_terminal("get", layer.digest, "-o", str(tmp_path / "file"))
    assert (code, seen) == (0, "")
    assert (tmp_path / "file").read_bytes() == layer.blob
    (tmp_path / "text").write_text("a blob that can be read")
    cli("put", "--any", str(tmp_path / "text"))
    name = Digest.of(b"a blob that can be read")
    assert cli.on_terminal("get", name, "-o", "-") == (0, "a blob that can be read")


@pytest.mark.skipif(sys.platform != "linux", reason="copying past a process is Linux's")
@pytest.mark.parametrize("call", ["copy_file_range", "sendfile"])
def test_what_the_system_stops_to_copy_by_itself_is_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Another file system, an old kernel, a file that is appended to: the bytes are the same."""
    data = noise(300_000)
    (tmp_path / "source").write_bytes(data)
    system = getattr(os, call)
    calls = 0

    def refuses(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EINVAL, "not between these two")
        count: int = system(*arguments[:-1], 1000)
        return count

    def has_none(*_: Any) -> int:
        raise OSError(errno.EXDEV, "not between these two")

    for name in ("copy_file_range", "sendfile"):
        monkeypatch.setattr(os, name, refuses if name == call else has_none)
    with open(tmp_path / "source", "rb") as source, writing(str(tmp_path / "target")) as target:
        copy(source, target)
    assert calls == 2
    assert (tmp_path / "target").read_bytes() == data


@pytest.mark.skipif(sys.platform != "linux", reason="room is reserved on Linux")
@pytest.mark.parametrize(("there", "size"), [(False, RESERVED_FROM), (True, RESERVED_FROM), (False, 5000)])
def test_room_for_a_big_new_file_is_reserved_before_it_is_copied_and_for_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, size: int
) -> None:
    from layercache.streams.reserving import reserve

    data, reserved, copied = noise(size), list[int](), os.copy_file_range
    (tmp_path / "source").write_bytes(data)
    with open(tmp_path / "tried", "wb") as tried:
        try:
            reserve(tried.fileno(), RESERVED_FROM)
        except OSError:
            pytest.skip("the file system cannot reserve room")

    def watched(source: int, target: int, count: int) -> int:
        status = os.fstat(target)
        reserved.append(status.st_blocks * 512 if status.st_size == 0 else -1)
        return copied(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", watched)
    if there:
        (tmp_path / "target").write_bytes(b"what it replaces")
    with open(tmp_path / "source", "rb") as source, writing(str(tmp_path / "target")) as target:
        copy(source, target)
    assert (reserved[0] >= size) == (not there and size >= RESERVED_FROM)
    assert (tmp_path / "target").read_bytes() == data
    assert (tmp_path / "target").stat().st_blocks * 512 < size + (1 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="room is reserved on Linux")
def test_a_file_is_written_where_no_room_can_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_file: int, _size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not on this file system")

    monkeypatch.setattr("layercache.streams.reserving.reserve", refused)
    data = noise(RESERVED_FROM)
    (tmp_path / "source").write_bytes(data)
    with open(tmp_path / "source", "rb") as source, writing(str(tmp_path / "target")) as target:
        copy(source, target)
    assert (tmp_path / "target").read_bytes() == data


def test_a_layer_that_is_bigger_than_a_pipe_goes_through_one_whole(cli: Caller, tmp_path: Path) -> None:
    big = make_layer({"noise": noise(5 << 20)})
    (tmp_path / "big").write_bytes(big.blob)
    cli("put", str(tmp_path / "big"))
    for name, data in ((big.digest, big.blob), (big.diff_id, big.tar)):
        assert cli("get", name).stdout_bytes == data


def test_what_its_reader_leaves_after_much_of_it_is_finished_says_so_and_is_kept(
    cli: Caller, tmp_path: Path
) -> None:
    big = make_layer({"noise": noise(3 << 20)})
    (tmp_path / "big").write_bytes(big.blob)
    cli("put", str(tmp_path / "big"))
    near = Caller(f"file://{tmp_path}/near")
    process = near.begin("--cache", cli.url, "get", big.digest)
    assert process.stdout is not None
    assert process.stderr is not None
    assert len(process.stdout.read(1 << 20)) == 1 << 20
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 141
    assert f"layercache: finishing {big.digest}, " in said
    assert "Ctrl-C drops it" in said
    assert near("get", big.digest).stdout_bytes == big.blob
