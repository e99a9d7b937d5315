"""The format of a store: asked for once, beside the first question; none looks empty that is not."""

from __future__ import annotations

import inspect
import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.layers import read, sample
from fixtures.stores import Store, content, open_cache, refuses_writes, write, write_blob

import layercache
from layercache.backend import BackendURL, capabilities
from layercache.errors import BackendError, ConfigError, NotFoundError, StoreFormatError
from layercache.oci.digest import Hash
from layercache.testing import in_forked_child
from layercache.tiers import format, gate, keys
from layercache.tiers.folder import state_of
from layercache.tiers.gate import gated, ungated
from layercache.tiers.guarded import guarded
from layercache.tiers.opening import open_tier, tier_on
from layercache.tiers.policy import Policy
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.backend import Backend, Reader
    from layercache.events import Event
    from layercache.tiers.backend.tier import BackendTier

LAYER = sample()
ABSENT = Hash.of(b"absent")
COMMAND = "layercache upgrade store://"
OLD = f"associations/computed/by-digest/{LAYER.digest.replace(':', '/')}"

NOT_MARKERS = [
    b"x",
    b"{}",
    b"[]",
    b"null",
    b"2",
    b'"layercache"',
    b'{"layercache":2}',
    b'{"layercache":{}}',
    b'{"layercache":{"format":"2"}}',
    b'{"layercache":{"format":2.0}}',
    b'{"layercache":{"format":true}}',
    b'{"layercache":{"format":0}}',
    b'{"layercache":{"format":-2}}',
    b'{"layercache":{"format":null}}',
    b'{"layercache":{"format":[2]}}',
    b'{"layercache":{"format":' + b"9" * 900 + b"}}",
    b"[" * 1000,
    b'{"layercache":{"format":2}} and more',
    b'{"layercache":{"format":2}',
    b"\xff\xfe\0\0",
    b"\x1b]0;title\x07",
    b"\0" * 28,
    b" " * 2000,
    format.MARKER + b" " * 1024,
]


def tier(backend: Backend, *, readonly: bool = False) -> BackendTier:
    return tier_on(gated(guarded(backend), lambda: COMMAND), Policy(readonly=readonly))


def store(*objects: str, marker: bytes | None = None) -> Store:
    """A remote store with these objects."""
    made = Store(MemoryBackend())
    for key in objects:
        write(made.inner, key, b"x")
    if marker is not None:
        write(made.inner, format.KEY, marker)
    return made


def marked(number: int) -> bytes:
    return b'{"layercache": {"format": %d}, "later": ["more"]}' % number


# What it costs


def test_a_store_is_asked_once_for_its_format() -> None:
    remote = store(marker=format.MARKER)
    one = tier(remote)
    for _ in range(3):
        assert not one.blobs.has(ABSENT)
    write_blob(one, LAYER.digest, LAYER.blob)
    with one.blobs.open(LAYER.digest) as reader:
        assert reader.read() == LAYER.blob
    assert remote.did("open").count(format.KEY) == 1
    assert remote.did("create", "stat", below=format.KEY) == remote.did("scan") == []


def test_a_new_store_costs_one_listing_more_and_the_first_write_marks_it() -> None:
    remote = store()
    one = tier(remote)
    for _ in range(3):
        assert not one.blobs.has(ABSENT)
    assert content(remote.inner) == {}, "reading writes nothing"
    assert remote.did("scan") == [format.EARLIER]
    for name in (LAYER.digest, LAYER.diff_id):
        one.blobs.put(name, b"small")
    assert content(remote.inner)[format.KEY] == format.MARKER
    assert remote.did("create").count(format.KEY) == 1
    assert remote.did("scan") == [format.EARLIER], "it is listed once"
    assert remote.did("create")[0] == format.KEY, "before anything else is there"
    again = tier(remote)
    again.blobs.put(ABSENT, b"other")
    assert remote.did("create").count(format.KEY) == 1


def test_the_format_is_asked_for_at_the_same_time_as_the_first_question() -> None:
    both = threading.Barrier(2, timeout=60)

    def meets(action: str, key: str) -> bool:
        if action in ("stat", "open") and (key == format.KEY or key.startswith(keys.BLOBS)):
            both.wait()
        return False

    assert not tier(Store(MemoryBackend(), fails=meets)).blobs.has(ABSENT)


def test_of_many_first_questions_one_asks_for_the_format() -> None:
    remote = store(marker=format.MARKER)
    one, together = tier(remote), threading.Barrier(8)

    def ask(_: int) -> bool:
        together.wait(60)
        return one.blobs.has(ABSENT)

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(ask, range(8)))
    assert remote.did("open") == [format.KEY]


def test_of_many_first_writes_one_writes_the_marker() -> None:
    remote = store()
    one, together = tier(remote), threading.Barrier(8)

    def put(number: int) -> None:
        together.wait(60)
        one.blobs.put(Hash.of(b"%d" % number), b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))
    assert Counter(remote.did("create"))[format.KEY] == 1
    assert len(content(remote.inner)) == 9


@pytest.mark.parametrize("place", ["local", "memory"])
def test_once_it_is_known_each_method_is_the_backends_own(place: str, tmp_path: Path) -> None:
    """So a warm look-up costs what it cost without a format."""
    backend: Backend = LocalBackend(str(tmp_path)) if place == "local" else MemoryBackend()
    one = tier(backend)
    assert one.backend.open != backend.open
    one.blobs.put(ABSENT, b"x")
    for name in (*gate.QUESTIONS, *gate.CHECKED, *gate.WRITES, *gate.FREE):
        assert getattr(one.backend, name, None) == getattr(backend, name, None), name


def test_every_method_of_every_capability_has_its_place_at_the_gate() -> None:
    """A method that is forgotten would use a store of another format, or be lost."""
    placed = [*gate.QUESTIONS, *gate.CHECKED, *gate.WRITES, *gate.FREE]
    assert len(set(placed)) == len(placed)
    of_others = {
        "Spool",
        "Spliced",
        "Stamped",
        "Counting",
        "CopyingReader",
        "Lock",
        "Finding",
    }  # of what a backend returns
    methods = {"open", "create", "stat", "scan", "delete", "close"}
    for name, kind in inspect.getmembers(capabilities, inspect.isclass):
        if kind.__module__ == capabilities.__name__ and name not in of_others and name[0] != "_":
            methods |= {each for each in vars(kind) if not each.startswith("_")}
    assert set(placed) == methods


def test_what_a_backend_can_do_is_what_it_can_do_behind_the_gate(tmp_path: Path) -> None:
    for backend in (LocalBackend(str(tmp_path)), MemoryBackend(), guarded(store())):
        for name, kind in inspect.getmembers(capabilities, inspect.isclass):
            if "_methods" in vars(kind):
                assert isinstance(gated(backend, str), kind) == isinstance(backend, kind), name
    assert ungated(gated(backend, str)) is backend


def test_a_child_that_was_forked_while_the_format_was_asked_for_asks_itself() -> None:
    asked, go = threading.Event(), threading.Event()

    def holds(action: str, key: str) -> bool:
        if key == format.KEY and threading.current_thread() is not threading.main_thread():
            asked.set()
            go.wait(60)
        return False

    remote = Store(MemoryBackend(), fails=holds)
    one = tier(remote)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.blobs.has, ABSENT)
        assert asked.wait(60)
        remote.fails = lambda _action, _key: False
        assert in_forked_child(lambda: one.blobs.has(ABSENT)) == "False"
        go.set()
        assert not waiting.result(60)


# Stores that cannot be used


def told(backend: Backend) -> str:
    with pytest.raises(StoreFormatError) as caught:
        tier(backend).blobs.has(ABSENT)
    assert isinstance(caught.value, BackendError)
    assert isinstance(caught.value, ConfigError)
    return str(caught.value)


def test_an_earlier_cache_is_refused_with_the_command_that_converts_it() -> None:
    remote = store(OLD)
    assert COMMAND in told(remote)
    assert remote.did("scan") == [format.EARLIER]
    assert content(remote.inner) == {OLD: b"x"}


def test_a_newer_cache_is_refused_with_both_numbers_and_what_to_do() -> None:
    said = told(store(marker=marked(3)))
    assert "has format 3, and this version uses format 2" in said
    assert "install a newer version" in said


def test_a_marker_with_more_fields_is_understood() -> None:
    assert not tier(store(OLD, marker=marked(2))).blobs.has(ABSENT)
    assert COMMAND in told(store(marker=marked(1)))


@pytest.mark.parametrize("data", NOT_MARKERS)
def test_a_broken_marker_is_an_error_that_shows_it_and_what_was_expected(data: bytes) -> None:
    said = told(store(marker=data))
    assert 'layercache.json should be {"layercache": {"format": 2}}, and is ' in said
    assert COMMAND in said
    assert said.replace("\n", "").isprintable()
    assert len(said) < 400


def test_no_more_of_a_marker_is_read_than_one_may_have() -> None:
    huge = store(marker=b" " * (8 << 20))
    told(huge)
    assert len(huge.did("read", below=format.KEY)) <= 1


def test_an_empty_marker_counts_as_none_and_is_replaced() -> None:
    """A power failure may leave one, and a store that cannot delete under a condition."""
    remote = store(marker=b"")
    one = tier(remote)
    assert not one.blobs.has(ABSENT)
    one.blobs.put(ABSENT, b"x")
    assert content(remote.inner)[format.KEY] == format.MARKER


def test_nothing_is_written_or_deleted_in_a_store_that_cannot_be_used() -> None:
    for remote in (store(OLD), store(marker=marked(3)), store(marker=b"rubbish")):
        before, one = content(remote.inner), tier(remote)
        for use in (
            lambda: one.blobs.put(ABSENT, b"x"),  # noqa: B023  # called at once
            lambda: one.blobs.delete(ABSENT),  # noqa: B023
            lambda: list(one.blobs.scan()),  # noqa: B023
            lambda: list(one.facts.scan()),  # noqa: B023
            lambda: list(one.images.scan()),  # noqa: B023
        ):
            with pytest.raises(StoreFormatError):
                use()
        assert content(remote.inner) == before
        assert remote.did("create", "delete") == []


def test_a_store_that_got_another_format_since_it_was_read_is_not_written_to() -> None:
    remote = store()
    one = tier(remote)
    assert not one.blobs.has(ABSENT)
    write(remote.inner, format.KEY, marked(3))
    with pytest.raises(StoreFormatError, match="format 3"):
        one.blobs.put(ABSENT, b"x")
    assert content(remote.inner) == {format.KEY: marked(3)}


def test_the_reader_of_a_blob_is_closed_if_the_store_turns_out_to_have_another_format() -> None:
    opened: list[Any] = []

    class Watched(Store):
        def open(self, key: str, start: int = 0, end: int | None = None) -> Reader:
            reader = super().open(key, start, end)
            if key != format.KEY:
                opened.append(reader)
            return reader

    remote = Watched(MemoryBackend())
    write_blob(remote.inner, LAYER.digest, LAYER.blob)
    write(remote.inner, format.KEY, marked(3))
    with pytest.raises(StoreFormatError):
        tier(remote).blobs.open(LAYER.digest)
    assert [reader._raw.closed for reader in opened] == [True]


def test_a_failure_is_not_remembered() -> None:
    """A store may be upgraded, or respond again, while a server runs."""
    remote = store(OLD)
    one = tier(remote)
    with pytest.raises(StoreFormatError):
        one.blobs.has(ABSENT)
    remote.fails = lambda _action, key: key == format.KEY
    with pytest.raises(BackendError, match="on purpose"):
        one.blobs.has(ABSENT)
    remote.fails = lambda _action, _key: False
    write(remote.inner, format.KEY, format.MARKER)
    assert not one.blobs.has(ABSENT)


def test_a_store_that_can_only_be_read_is_read_without_a_marker() -> None:
    remote = store()
    write_blob(remote.inner, LAYER.digest, LAYER.blob)
    remote.fails = refuses_writes
    with tier(remote, readonly=True).blobs.open(LAYER.digest) as reader:
        assert reader.read() == LAYER.blob
    assert format.KEY not in content(remote.inner)


# Several tiers


def test_a_far_tier_of_an_earlier_format_is_skipped_with_a_warning_that_has_the_command() -> None:
    far = store(OLD)
    write_blob(far.inner, LAYER.digest, LAYER.blob)
    events: list[Event] = []
    with open_cache(tier(MemoryBackend()), tier(far)) as cache, cache.watch(events.append):
        with pytest.raises(BackendError, match="in the tiers that could be asked"):
            cache.get(LAYER.digest)
        assert (
            read(cache.layer(LAYER.digest, fetch=lambda _: io.BytesIO(LAYER.blob)).compressed()) == LAYER.blob
        )
    assert [COMMAND in each.note for each in events if each.kind == "failed"] == [True]


def test_a_strict_cache_raises_for_a_far_tier_of_an_earlier_format() -> None:
    cache = layercache.Cache([tier(MemoryBackend()), tier(store(OLD))], strict=True)
    with cache, pytest.raises(StoreFormatError):
        cache.get(LAYER.digest)


@pytest.mark.parametrize("remote", [True, False])
def test_a_nearest_tier_of_an_earlier_format_is_an_error_of_every_request(remote: bool) -> None:
    near: Backend = store(OLD) if remote else store(OLD).inner
    with open_cache(tier(near), tier(MemoryBackend())) as cache:
        for use in (
            lambda: cache.get(LAYER.digest),
            lambda: LAYER.digest in cache,
            lambda: cache.put(io.BytesIO(LAYER.blob)),
            lambda: cache.layer(LAYER.digest, fetch=lambda _: io.BytesIO(LAYER.blob)).compressed(),
            lambda: cache.image("registry.example/team/app:1"),
            lambda: cache.delete(LAYER.digest),
            lambda: list(cache.tiers[0].facts.scan()),
        ):
            with pytest.raises(StoreFormatError, match="layercache upgrade"):
                use()
    assert content(near) == {OLD: b"x"}


# Folders


def test_a_folder_with_a_marker_is_a_cache(tmp_path: Path) -> None:
    (tmp_path / format.KEY).write_bytes(format.MARKER)
    assert state_of(str(tmp_path)) == "cache"


def test_a_cache_gets_its_marker_and_a_look_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with layercache.open(folder) as cache:
        with pytest.raises(NotFoundError):
            cache.get(ABSENT)
        assert not folder.exists()
        cache.put(io.BytesIO(LAYER.blob))
    assert (folder / "layercache.json").read_bytes() == b'{"layercache":{"format":2}}\n'


def test_a_folder_or_a_link_in_the_place_of_the_marker_is_no_marker(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(format.MARKER)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / format.KEY).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"a link is not followed")
    one = open_tier(str(cache), nearest=True)
    one.blobs.put(ABSENT, b"x")
    assert not (cache / format.KEY).is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"a link is not followed"
    (cache / format.KEY).unlink()
    (cache / format.KEY).mkdir()
    one = open_tier(str(cache), nearest=True)
    with pytest.raises(BackendError):
        one.blobs.put(LAYER.digest, LAYER.blob)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("/var/cache/my layers", "layercache upgrade '/var/cache/my layers'"),
        ("file:///var/cache/layers?shared=true", "layercache upgrade 'file:///var/cache/layers?shared=true'"),
        (
            "s3://team/prod?endpoint_url=http://localhost:8333",
            "layercache upgrade 's3://team/prod?endpoint_url=http%3A%2F%2Flocalhost%3A8333'",
        ),
        ("fsspec+sftp://host/layers?password=secret", "layercache upgrade 'fsspec+sftp://host/layers?…'"),
    ],
)
def test_the_command_is_that_of_a_shell_and_shows_no_secret(url: str, command: str) -> None:
    assert format.upgrade_command(BackendURL.parse(url)) == command
