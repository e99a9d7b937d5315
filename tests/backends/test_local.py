"""The local backend: the contract on both ways to publish, and what is particular to a disk."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from layercache.backend import Backend, open_backend
from layercache.errors import BackendError, ConfigError, InvalidNameError, NotFoundError
from layercache.testing import KEY, BackendContract, assert_absent, get, put
from layercache_backends.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIG = (9 << 20) + 1


def a_backend(root: Path, **options: bool) -> LocalBackend:
    return LocalBackend(str(root), **options)


def refuse(number: int) -> Callable[..., Any]:
    def refusing(*_args: object, **_options: object) -> Any:
        raise OSError(number, os.strerror(number))

    return refusing


class TestLocal(BackendContract):
    shared_between_processes = True
    leaves_leftovers = False  # files without a name go with their process

    @pytest.fixture
    def backend(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Backend]:
        backend = open_backend(f"file://{tmp_path}/cache")
        yield backend
        backend.close()
        # An unfinished write has no name. What replaces an object has one for a moment; a kill leaves it.
        left = len([*tmp_path.glob("cache/tmp/*")])
        assert left <= (1 if "killed" in request.node.name else 0)

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(backend.url)


@pytest.mark.slow
class TestWithoutUnnamedFiles(BackendContract):
    """As on macOS, NFS, or without /proc."""

    shared_between_processes = True

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return self.without(a_backend(tmp_path / "cache"))

    def reopen(self, backend: Backend) -> Backend:
        assert isinstance(backend, LocalBackend)
        return self.without(LocalBackend(backend.root))

    def without(self, backend: LocalBackend) -> LocalBackend:
        backend.unnamed_files = False
        return backend


@pytest.fixture(params=["unnamed", "named"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> LocalBackend:
    """Publishing by link and by rename."""
    backend = a_backend(tmp_path / "cache")
    if request.param == "named":
        backend.unnamed_files = False
    return backend


# The two ways to publish


def test_this_test_run_covers_files_without_a_name(tmp_path: Path) -> None:
    backend = a_backend(tmp_path)
    put(backend, KEY, b"")
    assert backend.unnamed_files is (sys.platform == "linux")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT])
def test_a_file_system_without_unnamed_files_is_written_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    really_open = os.open

    def open_named(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number), path)
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_named)
    check_writes_by_rename(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EXDEV, errno.EPERM])
def test_where_proc_or_links_are_missing_it_is_written_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    check_writes_by_rename(tmp_path)


def test_a_system_that_knows_no_unnamed_files_is_written_by_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.delattr(os, "posix_fadvise")
    check_writes_by_rename(tmp_path)


def check_writes_by_rename(root: Path) -> None:
    backend = a_backend(root / "cache")
    with backend.create(KEY) as sink:
        sink.write(bytes(BIG))
        assert len(os.listdir(root / "cache" / "tmp")) == 1
        assert_absent(backend, KEY)
        sink.commit()
    assert backend.unnamed_files is False
    assert get(backend, KEY) == bytes(BIG)
    put(backend, KEY, b"replaced")
    assert get(backend, KEY) == b"replaced"
    assert os.listdir(root / "cache" / "tmp") == []


@pytest.mark.parametrize("value", [b"", bytes(BIG)], ids=["empty", "big"])
def test_nothing_is_left_in_tmp(backend: LocalBackend, value: bytes) -> None:
    for _ in range(2):
        put(backend, KEY, value)
        with pytest.raises(KeyboardInterrupt), backend.create(KEY) as sink:  # noqa: PT012  # one scene
            sink.write(value)
            raise KeyboardInterrupt
        backend.create(KEY).write(value)  # and forgotten
        spool = backend.spool()
        spool.write(value)
        spool.close()
    assert os.listdir(backend.path("tmp")) == []


def test_an_unfinished_write_has_no_name(tmp_path: Path) -> None:
    backend = a_backend(tmp_path)
    with backend.create(KEY) as sink:
        sink.write(bytes(BIG))
        assert os.listdir(backend.path("tmp")) == []


@pytest.mark.parametrize("name", ["unnamed", "named"])
def test_objects_have_the_mode_that_the_umask_leaves(tmp_path: Path, name: str) -> None:
    # In a process of its own: the umask is everybody's.
    program = """
import os, sys
from layercache_backends.local import LocalBackend
os.umask(0o027)
backend = LocalBackend(sys.argv[1])
if sys.argv[2] == "named":
    backend.unnamed_files = False
with backend.create("a/b") as sink:
    sink.commit()
"""
    run_python(program, str(tmp_path), name)
    assert os.stat(tmp_path / "a" / "b").st_mode & 0o777 == 0o640
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o750


def test_a_folder_that_vanishes_is_made_again(backend: LocalBackend) -> None:
    put(backend, "a/b/c", b"1")
    with backend.create("a/b/d") as sink:
        os.unlink(backend.path("a/b/c"))
        os.rmdir(backend.path("a/b"))
        os.rmdir(backend.path("a"))
        sink.commit()
    assert get(backend, "a/b/d") == b""
    os.rmdir(backend.path("tmp"))
    put(backend, "a/b/c", b"2")
    assert get(backend, "a/b/c") == b"2"


# Durability


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, in order: "file", or the folder's name."""
    calls: list[str] = []
    fdatasync, fsync = os.fdatasync, os.fsync

    def sync_data(fd: int) -> None:
        calls.append("file")
        fdatasync(fd)

    def sync_all(fd: int) -> None:
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fdatasync", sync_data)
    monkeypatch.setattr(os, "fsync", sync_all)
    return calls


def test_a_commit_waits_for_the_file_and_for_every_folder_that_got_a_name(
    backend: LocalBackend, synced: list[str], tmp_path: Path
) -> None:
    with backend.create("a/b/c") as sink:
        sink.write(b"x")
        assert synced == [tmp_path.name, "cache"]  # cache, tmp
        synced.clear()
        sink.commit()
    assert synced == ["file", "cache", "a", "b"]
    synced.clear()
    put(backend, "a/b/c", b"y")
    with closing(backend.spool()) as spool:
        spool.publish("a/b/d")
    assert synced == ["file", "b"] * 2


def test_the_file_is_synced_before_it_has_its_name(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_sync = os.fdatasync

    def check(fd: int) -> None:
        assert not os.path.exists(backend.path(KEY))
        really_sync(fd)

    monkeypatch.setattr(os, "fdatasync", check)
    put(backend, KEY, b"x")
    assert get(backend, KEY) == b"x"


def test_without_sync_nothing_is_waited_for(tmp_path: Path, synced: list[str]) -> None:
    backend = open_backend(f"file://{tmp_path}/cache?sync=false")
    put(backend, KEY, bytes(BIG))
    put(backend, KEY, b"again")
    assert synced == []
    assert get(backend, KEY) == b"again"


def test_an_expendable_object_is_not_waited_for(backend: LocalBackend, synced: list[str]) -> None:
    with backend.create_expendable("facts/1") as sink:
        sink.write(b"x")
        sink.commit()
    assert synced == []
    assert get(backend, "facts/1") == b"x"


def test_the_disk_begins_to_write_a_big_file_early(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, start, length, _advice: sent.append((start, length)))
    put(backend, KEY, bytes(1000))
    with backend.create_expendable(KEY) as sink:
        sink.write(bytes(BIG))
        sink.commit()
    assert sent == []
    with backend.create(KEY) as sink:
        for _ in range(20):
            sink.write(bytes(1 << 20))
        sink.commit()
    assert sent == [(0, 8 << 20), (8 << 20, 8 << 20)]


def test_a_file_system_that_cannot_sync_folders_is_good_enough(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    put(backend, KEY, b"x")
    assert get(backend, KEY) == b"x"


def test_a_folder_that_fails_to_sync_is_an_error(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, KEY, b"x")
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(BackendError, match="Input/output error"):
        put(backend, KEY, b"y")


# Reading leaves nothing


def test_a_cache_that_is_only_looked_at_leaves_no_folder(tmp_path: Path) -> None:
    backend = a_backend(tmp_path / "no" / "cache")
    assert_absent(backend, KEY)
    assert list(backend.scan("blobs/")) == []
    backend.delete(KEY)
    backend.close()
    assert os.listdir(tmp_path) == []


def test_a_root_that_is_a_file_has_no_objects_and_takes_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = a_backend(tmp_path / "file")
    assert_absent(backend, KEY)
    with pytest.raises(BackendError, match=r"file: writing contract/"):
        backend.create(KEY)


def test_a_root_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"writing contract/.*No such file or directory"):
        a_backend(Path("/proc/no/cache")).create(KEY)


# Names


@pytest.mark.parametrize("key", ["tmp", "tmp/x", "locks", "locks/x/y"])
def test_the_roots_own_folders_are_no_keys(backend: LocalBackend, key: str) -> None:
    for act in (backend.open, backend.stat, backend.delete, backend.create, backend.create_expendable):
        with pytest.raises(InvalidNameError, match=r"reserves tmp/ and locks/"):
            act(key)
    with pytest.raises(InvalidNameError):
        backend.scan(f"{key}/")
    with closing(backend.spool()) as spool, pytest.raises(InvalidNameError):
        spool.publish(key)
    put(backend, f"below/{key}", b"fine")
    assert [entry.key for entry in backend.scan()] == [f"below/{key}"]


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../b", "", "a//b", ".hidden", "a\n"])
def test_no_name_leads_out_of_the_root(backend: LocalBackend, key: str) -> None:
    for act in (backend.open, backend.stat, backend.delete, backend.create, backend.path):
        with pytest.raises(InvalidNameError):
            act(key)


def test_the_path_of_a_lock_is_told(tmp_path: Path) -> None:
    assert a_backend(tmp_path).path("locks/x") == f"{tmp_path}/locks/x"


def test_scan_passes_over_what_is_no_object(backend: LocalBackend) -> None:
    put(backend, "blobs/a", b"1")
    for folder in ("locks", "blobs/.hidden", "blobs/empty"):
        os.mkdir(os.path.join(backend.root, folder))
    for name in ("locks/l", "tmp/t", "blobs/.hidden/a", "blobs/.nfs001", "blobs/with space", "blobs/ä"):
        with open(os.path.join(backend.root, name), "wb"):
            pass
    os.mkfifo(os.path.join(backend.root, "blobs/fifo"))
    os.symlink("nowhere", os.path.join(backend.root, "blobs/broken"))
    os.symlink("..", os.path.join(backend.root, "blobs/loop"))
    os.symlink("a", os.path.join(backend.root, "blobs/link"))
    assert [entry.key for entry in backend.scan()] == ["blobs/a"]
    assert list(backend.read_small("")) == [("blobs/a", b"1")]


def test_scan_closes_its_folders_when_it_is_left_early(backend: LocalBackend) -> None:
    for number in range(3):
        put(backend, f"a/b/c/{number}", b"")
    before = len(os.listdir("/proc/self/fd"))
    entries = backend.scan()
    next(entries)
    assert len(os.listdir("/proc/self/fd")) > before
    entries.close()  # type: ignore[attr-defined]  # a generator
    assert len(os.listdir("/proc/self/fd")) == before


def test_scan_copes_with_folders_that_vanish(backend: LocalBackend) -> None:
    for name in "abcdef":
        put(backend, f"{name}/x/y", b"")
    entries = backend.scan()
    first = next(entries).key
    for name in set("abcdef") - set(first):
        os.unlink(backend.path(f"{name}/x/y"))
        os.rmdir(backend.path(f"{name}/x"))
        os.rmdir(backend.path(name))
    assert list(entries) == []


def test_a_prefix_that_is_no_folder_is_refused(backend: LocalBackend) -> None:
    with pytest.raises(ValueError, match="not a folder"):
        backend.scan("blobs")


# Errors


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "check who owns")],
)
def test_a_failed_write_says_what_where_and_what_to_do(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    put(backend, KEY, b"old")
    with backend.create(KEY) as sink:
        monkeypatch.setattr(os, "write", refuse(number))
        with pytest.raises(BackendError) as caught:
            sink.write(b"x")
        monkeypatch.undo()
        assert caught.value.message == f"file://{backend.root}: writing {KEY}: {os.strerror(number)}"
        assert hint in caught.value.hint
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(BackendError):
            sink.commit()  # what came before may be torn
    assert get(backend, KEY) == b"old"


def test_a_write_that_is_taken_in_parts_is_whole(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: really_write(fd, memoryview(data)[:7]))
    put(backend, KEY, b"0123456789" * 10)
    monkeypatch.undo()
    assert get(backend, KEY) == b"0123456789" * 10


def test_a_disk_that_fails_at_publishing_leaves_what_was_there(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, KEY, b"old")
    with backend.create(KEY) as sink:
        sink.write(b"new")
        monkeypatch.setattr(os, "replace", refuse(errno.EIO))
        with pytest.raises(BackendError, match=r"writing contract/.*Input/output error"):
            sink.commit()
    assert get(backend, KEY) == b"old"
    assert os.listdir(backend.path("tmp")) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_failure_to_look_is_not_taken_for_absence(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(backend, KEY, b"x")
    for name in ("stat", "unlink", "scandir"):
        monkeypatch.setattr(os, name, refuse(number))
    monkeypatch.setattr("layercache_backends.local.backend.WholeFile", refuse(number))
    looks: list[Callable[[], object]] = [
        lambda: backend.open(KEY),
        lambda: backend.stat(KEY),
        lambda: backend.delete(KEY),
        lambda: next(backend.scan()),
    ]
    for look in looks:
        with pytest.raises(BackendError, match=os.strerror(number)) as caught:
            look()
        assert isinstance(caught.value.__cause__, OSError)


def test_absence_says_where_was_looked(backend: LocalBackend) -> None:
    with pytest.raises(NotFoundError) as caught:
        backend.open(KEY)
    assert str(caught.value) == f"{KEY} does not exist\n  looked in  file://{backend.root}"


def test_an_object_below_an_object_is_refused(backend: LocalBackend) -> None:
    put(backend, "a", b"x")
    with backend.create("a/b") as sink, pytest.raises(BackendError, match=r"writing a/b: Not a directory"):
        sink.commit()
    put(backend, "b/c", b"x")
    with backend.create("b") as sink, pytest.raises(BackendError, match=r"writing b: Is a directory"):
        sink.commit()
    assert os.listdir(backend.path("tmp")) == []


# URLs


def opened(url: str) -> LocalBackend:
    backend = open_backend(url)
    assert isinstance(backend, LocalBackend)
    return backend


def test_paths_are_resolved_when_the_backend_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for url, root in [
        ("/x/y", "/x/y"),
        ("/x/../y/", "/y"),
        ("./x", f"{tmp_path}/x"),
        ("../x", f"{tmp_path.parent}/x"),
        (".", str(tmp_path)),
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("file:///x/y", "/x/y"),
        ("file://localhost/x", "/x"),
        ("file:///with%20space?sync=true", "/with space"),
        ("file://~/x", "/home/me/x"),
    ]:
        assert (opened(url).root, opened(url).url) == (root, f"file://{root}"), url


def test_a_host_is_refused_with_the_path_that_was_meant() -> None:
    with pytest.raises(
        ConfigError, match=r"write ./var/cache, for one in the root of the disk file:///var/cache"
    ):
        open_backend("file://var/cache")


@pytest.mark.parametrize("url", ["file://", "file://localhost", "~nobody-here/x", "file:///a%00b"])
def test_what_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not (a|the path of a) folder"):
        open_backend(url)


def test_the_option_sync_is_known_and_no_other(tmp_path: Path) -> None:
    assert opened(f"file://{tmp_path}").sync is True
    assert opened(f"file://{tmp_path}?sync=false").sync is False
    with pytest.raises(ConfigError, match=r"unknown option fsync(.|\n)*options of file://: sync"):
        open_backend(f"file://{tmp_path}?fsync=true")
    with pytest.raises(ConfigError, match=r"sync(.|\n)*options of file://: sync"):
        open_backend(f"file://{tmp_path}?sync=perhaps")


# Processes


def run_python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", ["unnamed", "named"])
def test_a_forked_child_that_ends_in_order_leaves_its_parents_write_alone(tmp_path: Path, name: str) -> None:
    program = """
import os, sys
from layercache_backends.local import LocalBackend
backend = LocalBackend(sys.argv[1])
if sys.argv[2] == "named":
    backend.unnamed_files = False
sink = backend.create("a/b")
sink.write(b"first ")
child = os.fork()
if child == 0:
    sys.exit(0)  # which collects the child's copy of the sink
assert os.waitpid(child, 0)[1] == 0
sink.write(b"second")
sink.commit()
with backend.open("a/b") as reader:
    print(reader.read())
"""
    assert run_python(program, str(tmp_path), name) == "b'first second'\n"
    assert os.listdir(tmp_path / "tmp") == []


def test_a_kill_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from layercache_backends.local import LocalBackend
sink = LocalBackend(sys.argv[1]).create("a/b")
sink.write(bytes(20 << 20))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [name for _, _, names in os.walk(tmp_path) for name in names] == []


@pytest.mark.parametrize("name", ["unnamed", "named"])
def test_writers_killed_at_any_moment_leave_only_whole_objects(tmp_path: Path, name: str) -> None:
    """Each object is one letter, as many of it as its key says; one key is replaced all the time."""
    program = """
import itertools, sys
from layercache_backends.local import LocalBackend
backend = LocalBackend(sys.argv[1], sync=False)
backend.unnamed_files = None if sys.argv[2] == "unnamed" else False
print("go", flush=True)
for number in itertools.count():
    letter = b"abcdefgh"[number % 8 : number % 8 + 1]
    for key in (f"new/{sys.argv[3]}-{number}", "same"):
        with backend.create(key) as sink:
            for _ in range(10):
                sink.write(letter * 5000)
            sink.commit()
"""
    backend = a_backend(tmp_path)
    moments = random.Random(17)
    for generation in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name, str(generation)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        with writer.stdout:
            writer.stdout.readline()
            # A number of objects rather than a time: the moment within a write is the scheduler's.
            target = moments.randrange(1, 30)
            while sum(entry.key.startswith(f"new/{generation}-") for entry in backend.scan()) < target:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    seen = list(backend.scan())
    assert len(seen) > 6
    for entry in seen:
        value = get(backend, entry.key)
        assert (len(value), len(set(value))) == (50_000, 1), entry.key


def test_importing_the_backend_loads_nothing_heavy() -> None:
    heavy = ["dataclasses", "ctypes", "pathlib", "tempfile", "hashlib"]
    program = f"import sys; import layercache_backends.local; print([n for n in {heavy} if n in sys.modules])"
    assert run_python(program) == "[]\n"


def test_the_spools_folder_is_the_caches_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really_open = os.open

    def remember(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        fd = really_open(path, flags, mode, dir_fd=dir_fd)
        opened.append(os.readlink(f"/proc/self/fd/{fd}"))
        return fd

    monkeypatch.setattr(os, "open", remember)
    with closing(a_backend(tmp_path, sync=False).spool()) as spool:
        spool.write(b"x")
    assert {path for path in opened if not path.startswith(f"{tmp_path}/tmp")} == {str(tmp_path)}


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    with pytest.raises(ConfigError, match="is not a folder"):
        open_backend(f"file://{tmp_path}/file")
