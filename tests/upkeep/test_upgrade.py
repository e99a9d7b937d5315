"""upgrade: what an earlier version has written is found under both names again, whenever it was cut off."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from fixtures.earlier import CLAIMED, DERIVED, GZIP, TAG, ZSTD, association, fill_earlier
from fixtures.layers import read, sample
from fixtures.stores import Store, content, fact, write
from servers.stores import CREDENTIALS

import layercache
from layercache.errors import BackendError, ConfigError, ForbiddenError, StoreFormatError
from layercache.testing import in_forked_child
from layercache.testing.children import ForkedChild
from layercache.tiers import format, keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.gate import gated, ungated
from layercache.tiers.guarded import guarded
from layercache.tiers.opening import open_tier, tier_on
from layercache.tiers.policy import Policy
from layercache.upkeep.upgrade import Upgrade
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.stores import Action

    from layercache.backend import Backend
    from layercache.upkeep.upgrade import Upgraded

OTHER_USER = 4243
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def tier(backend: Backend) -> BackendTier:
    return tier_on(gated(guarded(backend), lambda: "layercache upgrade"), Policy(trusted=True))


def upgrade(backend: Backend, *, jobs: int | None = 1, dry_run: bool = False) -> Upgraded:
    return Upgrade(tier(backend), jobs=jobs, dry_run=dry_run).run()


def earlier() -> MemoryBackend:
    backend = MemoryBackend()
    fill_earlier(backend)
    return backend


def assert_upgraded(backend: Backend) -> None:
    """All that was known is known, and nothing else is there than should be."""
    found = content(backend)
    assert found[format.KEY] == format.MARKER
    assert [key for key in found if key.startswith(format.EARLIER)] == []
    assert found[DERIVED] == b"derived"
    assert found[TAG].startswith(b'{"mediaType"')
    names = [name for layer in (GZIP, ZSTD, CLAIMED) for name in (layer.digest, layer.diff_id)]
    assert sorted(key for key in found if key.startswith(keys.RECORDS)) == sorted(map(keys.record, names))
    facts = tier(backend).facts
    for layer in (GZIP, ZSTD):
        (known,) = facts.inflates_to(layer.digest)
        assert (known.diff_id, known.uncompressed_size) == (layer.diff_id, len(layer.tar))
        assert known.computed
        assert facts.made_from(layer.diff_id) == [known]
    (claim,) = facts.inflates_to(CLAIMED.digest)
    assert (claim.diff_id, claim.computed) == (CLAIMED.diff_id, False), "a claim stays one"


@pytest.fixture(params=["local", "memory", "seaweedfs"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cache of the earlier format."""
    if request.param == "seaweedfs":
        endpoint = request.getfixturevalue("seaweedfs_endpoint")
        bucket = request.getfixturevalue("seaweedfs_bucket_name")
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        place = f"s3://{bucket}/{uuid.uuid4().hex}?endpoint_url={endpoint}&region=us-east-1"
    else:
        place = f"file://{tmp_path}/cache" if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    with closing(open_tier(place, nearest=True)) as opened:
        assert isinstance(opened, BackendTier)
        fill_earlier(ungated(opened.backend))
    return place


def test_an_earlier_cache_is_refused_until_it_is_upgraded_and_has_everything_then(url: str) -> None:
    with layercache.open(url) as cache, pytest.raises(StoreFormatError, match="run layercache upgrade"):
        cache.get(GZIP.digest)
    caller = Caller(url)
    with closing(open_tier(url, nearest=True)) as opened:
        assert isinstance(opened, BackendTier)
        before = content(ungated(opened.backend))
        planned = caller.json("upgrade", "--dry-run")
        assert content(ungated(opened.backend)) == before, "a dry run writes nothing"
        (done,) = caller.json("upgrade")["tiers"]
        assert_upgraded(ungated(opened.backend))
        after = content(ungated(opened.backend))
    assert planned == {"dry_run": True, "tiers": [{**done, "removed": 0}]}
    assert done == {
        "tier": opened.name,
        "found": 1,
        "associations": 3,
        "torn": 0,
        "removed": 6,
        "refused": 0,
    }
    kept = {key: data for key, data in before.items() if not key.startswith(format.EARLIER)}
    assert kept.items() <= after.items(), "blobs, images, tags and derived objects are as they were"
    with layercache.open(url) as cache:
        for layer in (GZIP, ZSTD, CLAIMED):
            assert read(cache.get(layer.digest).uncompressed()) == layer.tar
            assert read(cache.get(layer.diff_id).compressed()) == layer.blob
    (again,) = caller.json("upgrade")["tiers"]
    assert (again["found"], again["associations"], again["removed"]) == (2, 0, 0)


# Cut off


def test_an_upgrade_that_is_killed_at_any_point_is_finished_by_the_next() -> None:
    """After each single step the store is refused, or is complete; never does it look empty."""
    points = 0
    while True:
        memory, left, complete = earlier(), iter(range(points)), True

        def cut(action: Action, key: str, left: Iterator[int] = left) -> bool:
            return action in ("commit", "delete") and next(left, None) is None

        try:
            upgrade(Store(memory, fails=cut))
        except BackendError:
            complete = False
        if format.KEY in content(memory):
            assert not tier(memory).blobs.has(sample(9).digest)
            for layer in (GZIP, ZSTD, CLAIMED):
                assert tier(memory).facts.made_from(layer.diff_id)
        else:
            with pytest.raises(StoreFormatError):
                tier(memory).blobs.has(GZIP.digest)
        upgrade(memory)
        assert_upgraded(memory)
        if complete:
            break
        points += 1
    assert points == 6 + 1 + 6, "six records, the marker, six objects"


@pytest.mark.parametrize("point", [0, 3, 7, 20, 41])
def test_a_folder_whose_upgrade_was_killed_is_upgraded_by_the_next(tmp_path: Path, point: int) -> None:
    folder, layers = tmp_path / "cache", [sample(seed, size=10) for seed in range(10, 20)]
    backend = LocalBackend(str(folder))
    fill_earlier(backend, *layers)

    def work(report: object) -> None:
        class Fatal(LocalBackend):
            left = point

            def write_if(self, key: str, data: bytes, version: str | None) -> bool:
                self.count()
                return super().write_if(key, data, version)

            def delete(self, key: str) -> None:
                self.count()
                super().delete(key)

            def count(self) -> None:
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.left -= 1

        upgrade(Fatal(str(folder)), jobs=2)

    with ForkedChild(work) as child:
        assert child.result() == "killed"
    done = upgrade(backend, jobs=4)
    assert done.refused == 0
    for layer in (GZIP, ZSTD, *layers):
        assert [each.digest for each in tier(backend).facts.made_from(layer.diff_id)] == [layer.digest]
    assert not (folder / "associations").exists(), "its folders go, too"


def test_what_is_upgraded_already_is_not_written_to() -> None:
    memory = earlier()
    upgrade(memory)
    store = Store(memory)
    assert upgrade(store).found == format.FORMAT
    assert store.did("create", "commit", "delete") == []
    assert store.did("open") == [format.KEY]


def test_several_upgrades_at_once_do_it_together(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "cache"))
    fill_earlier(backend)
    children = [
        ForkedChild(lambda _: upgrade(LocalBackend(str(tmp_path / "cache")), jobs=2)) for _ in range(4)
    ]
    for child in children:
        with child:
            assert "Error" not in child.result(), child.result()
    assert_upgraded(backend)


# Beside others


def test_what_an_older_version_writes_meanwhile_is_converted_and_not_lost() -> None:
    memory, late = earlier(), sample(7)

    def writes(action: Action, key: str) -> bool:
        if action == "create" and key == format.KEY:
            for name, data in association(late).items():
                write(memory, name, data)
        return False

    assert upgrade(Store(memory, fails=writes)).associations == 4
    assert [each.digest for each in tier(memory).facts.made_from(late.diff_id)] == [late.digest]
    assert [key for key in content(memory) if key.startswith(format.EARLIER)] == []


def test_what_a_newer_version_has_recorded_meanwhile_stays() -> None:
    memory = earlier()
    new = fact(CLAIMED.digest, CLAIMED.diff_id, len(CLAIMED.blob), tar_size=len(CLAIMED.tar))
    BackendTier(memory, Policy()).facts.record(new)
    upgrade(memory)
    assert tier(memory).facts.inflates_to(CLAIMED.digest) == [new], "a claim undoes nothing computed"


def test_a_cache_to_which_an_older_version_still_writes_can_be_upgraded_again() -> None:
    memory, late = earlier(), sample(7)
    upgrade(memory)
    for name, data in association(late).items():
        write(memory, name, data)
    assert not tier(memory).facts.made_from(late.diff_id)
    done = upgrade(memory)
    assert (done.found, done.associations, done.removed) == (2, 1, 2)
    assert tier(memory).facts.made_from(late.diff_id)


# What else may be there


def test_torn_associations_are_dropped_and_half_of_one_is_enough() -> None:
    memory, half, torn, wrong = earlier(), sample(7), sample(8), sample(9)
    (by_diff_id, data), (by_digest, _) = association(half).items()
    write(memory, by_diff_id, data)
    (_, _), (only_by_digest, data) = association(torn).items()
    write(memory, only_by_digest, data)
    write(memory, next(iter(association(torn))), data[:50])
    write(memory, next(iter(association(wrong))), b"")
    write(memory, [*association(wrong)][1], association(half)[by_digest])
    done = upgrade(memory)
    assert (done.associations, done.torn, done.removed) == (5, 3, 11)
    facts = tier(memory).facts
    assert facts.made_from(half.diff_id)
    assert facts.inflates_to(half.digest)
    assert facts.made_from(torn.diff_id)
    assert facts.inflates_to(wrong.digest) == []


def test_other_peoples_files_stay(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "cache"))
    fill_earlier(backend)
    notes = tmp_path / "cache" / "associations" / "computed" / "notes"
    notes.write_text("mine")
    upgrade(backend)
    assert notes.read_text() == "mine"
    assert [path.name for path in (tmp_path / "cache" / "associations").iterdir()] == ["computed"]
    assert not tier(backend).blobs.has(sample(9).digest)


def test_folders_behind_a_link_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "empty").mkdir(parents=True)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / format.KEY).write_bytes(b"broken")
    (cache / "associations").symlink_to(tmp_path / "theirs")
    upgrade(LocalBackend(str(cache)))
    assert (tmp_path / "theirs" / "empty").is_dir()
    (cache / format.KEY).write_bytes(b"broken")
    (cache / "associations").unlink()
    (cache / "associations").mkdir()
    (cache / "associations" / "there").symlink_to(tmp_path / "theirs")
    upgrade(LocalBackend(str(cache)))
    assert (tmp_path / "theirs" / "empty").is_dir()


def test_a_newer_cache_a_read_only_one_and_a_registry_are_refused(tmp_path: Path) -> None:
    memory = earlier()
    write(memory, format.KEY, b'{"layercache":{"format":3}}')
    before = content(memory)
    with pytest.raises(StoreFormatError, match="format 3"):
        upgrade(memory)
    assert content(memory) == before
    with pytest.raises(ConfigError, match="read-only"):
        Upgrade(tier_on(MemoryBackend(), Policy(readonly=True)))
    caller = Caller(f"file://{tmp_path}/cache")
    caller("put", "-", stdin=GZIP.blob)
    assert "every tier is read-only" in caller("upgrade", f"{caller.url}?readonly=true", code=2).stderr
    assert "needs no upgrade" in caller("upgrade", "oci://localhost:1/team/cache", code=2).stderr


def test_a_broken_marker_is_repaired() -> None:
    memory = MemoryBackend()
    write(memory, format.KEY, b"rubbish")
    with pytest.raises(StoreFormatError):
        tier(memory).blobs.has(GZIP.digest)
    upgrade(memory)
    assert content(memory) == {format.KEY: format.MARKER}


def test_a_new_cache_and_a_layout_of_another_tool_are_left_as_they_are(tmp_path: Path) -> None:
    memory = MemoryBackend()
    write(memory, keys.INDEX, b"{}")
    assert upgrade(memory).found == 0
    assert content(memory) == {keys.INDEX: b"{}"}
    caller = Caller(f"file://{tmp_path}/cache")
    assert f"there is no cache at {tmp_path}/cache" in caller("upgrade", code=1).stderr
    (tmp_path / "cache").mkdir()
    assert caller("upgrade").stdout == f"file://{tmp_path}/cache has nothing to upgrade\n"


# What it costs


def test_many_associations_are_worked_on_at_a_time_in_a_bucket() -> None:
    memory, together = earlier(), threading.Barrier(3, timeout=60)

    def meets(action: Action, key: str) -> bool:
        if action == "open" and key.startswith(f"{format.EARLIER}computed/by-diffid/"):
            together.wait()
        return False

    more = sample(7)
    for name, data in association(more).items():
        write(memory, name, data)
    upgrade(Store(memory, fails=meets), jobs=None)


def test_each_association_is_read_once() -> None:
    store = Store(earlier())
    upgrade(store)
    assert len(store.did("open", below=format.EARLIER)) == 3, "the other half of each is not read"
    assert len(store.did("scan", below=format.EARLIER)) == 1 + 3 * 4


# On the command line


def test_the_first_command_on_an_old_default_cache_prints_the_exact_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my cache"))
    monkeypatch.delenv("LAYERCACHE_URL", raising=False)
    folder = tmp_path / "my cache" / "layercache"
    fill_earlier(LocalBackend(str(folder)))
    command = f"layercache upgrade '{folder}'"
    default = Caller(str(folder))
    for used in (["ls"], ["images"], ["stats"], ["verify"], ["prune"], ["get", GZIP.digest], ["index"]):
        said = default(*used, code=2).stderr
        assert f"an earlier version has written this cache, in another format: run {command}" in said
    assert default("put", "-", stdin=GZIP.blob, code=2).stderr.endswith("stay as they are\n")
    assert "FAILED   format" in default("doctor", code=4).stdout
    done = default("upgrade", str(folder))
    assert done.stdout == (
        f"converted 3 associations in file://{folder}, removed 6 objects of the earlier format\n"
    )
    assert default("upgrade").stdout == f"file://{folder} has format 2 already\n"
    assert len(default.lines("ls")) == 3


def test_a_far_tier_that_is_not_upgraded_is_named_by_what_uses_the_others(tmp_path: Path) -> None:
    fill_earlier(LocalBackend(str(tmp_path / "far")))
    near = Caller(f"file://{tmp_path}/near")
    command = f"run layercache upgrade {tmp_path}/far"
    both = ["--cache", f"file://{tmp_path}/far"]
    assert command in near(*both, "put", "-", stdin=GZIP.blob).stderr
    explained = near(*both, "explain", GZIP.digest)
    assert f"skipped: file://{tmp_path}/far: an earlier version has written this cache" in explained.stdout
    assert command in near(*both, "get", GZIP.digest).stderr + explained.stderr
    for used in (["get", ZSTD.digest], ["--offline", "pull", "registry.example/team/app:1"]):
        assert command in near(*both, *used, code=4).stderr
    for used in (
        ["stats"],
        ["verify", "--all-tiers"],
        ["prune", "--all-tiers"],
        ["--strict", "get", ZSTD.digest],
    ):
        assert command in near(*both, *used, code=2).stderr
    near(*both, "upgrade")
    near(*both, "get", ZSTD.digest)


def test_doctor_reports_associations_that_an_older_version_still_writes(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "cache"))
    fill_earlier(backend)
    upgrade(backend)
    caller = Caller(f"file://{tmp_path}/cache")
    assert "  ok       format         2\n" in caller("doctor").stdout
    for name, data in association(sample(7)).items():
        write(backend, name, data)
    said = caller("doctor").stdout
    assert "  warning  format         2, with associations of the earlier one" in said
    assert f"layercache upgrade {tmp_path}/cache" in " ".join(said.split())


def test_clean_empties_an_earlier_cache_and_what_an_upgrade_has_left(tmp_path: Path) -> None:
    for marked in (False, True):
        folder = tmp_path / f"cache-{marked}"
        backend = LocalBackend(str(folder))
        fill_earlier(backend)
        if marked:
            write(backend, format.KEY, format.MARKER)
        caller = Caller(f"file://{folder}")
        assert caller.json("clean", "--dry-run")["tiers"][0]["records"] == 6
        caller("clean", "--yes")
        left = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        assert {path.parts[0] for path in left} == {"index.json", "oci-layout", "locks"}
        caller("put", "-", stdin=GZIP.blob)
        assert len(caller.lines("ls")) == 1
        assert (folder / format.KEY).read_bytes() == format.MARKER


def test_clean_refuses_a_newer_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / format.KEY).write_bytes(b'{"layercache":{"format":3}}')
    assert "has format 3" in Caller(f"file://{tmp_path}/cache")("clean", "--yes", code=2).stderr


def test_copy_does_not_copy_the_marker_and_refuses_an_earlier_cache(tmp_path: Path) -> None:
    old, new, target = (f"file://{tmp_path}/{name}" for name in ("old", "new", "target"))
    for name in ("old", "new"):
        fill_earlier(LocalBackend(str(tmp_path / name)))
    caller = Caller(new)
    caller("upgrade")
    (tmp_path / "new" / format.KEY).write_bytes(b'{"layercache": {"format": 2, "by": "somebody"}}')
    caller("copy", new, target)
    assert (tmp_path / "target" / format.KEY).read_bytes() == format.MARKER
    for one, other in ((old, target), (new, old)):
        assert f"layercache upgrade {tmp_path}/old" in caller("copy", one, other, code=2).stderr


@as_root
def test_a_folder_of_another_user_is_an_error_that_says_so_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    fill_earlier(LocalBackend(str(folder)))
    for above in [tmp_path, *tmp_path.parents[:3]]:
        above.chmod(above.stat().st_mode | 0o011)
    before = content(LocalBackend(str(folder)))

    def as_other_user() -> object:
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        try:
            return upgrade(LocalBackend(str(folder)))
        except ForbiddenError as error:
            return str(error)

    said = in_forked_child(as_other_user)
    assert "Permission denied" in said
    assert f"check who owns {folder}" in said
    assert content(LocalBackend(str(folder))) == before


def test_several_tiers_are_upgraded_and_read_only_ones_left_out(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two", "three")]
    for place in places:
        fill_earlier(LocalBackend(str(place)))
    one, two, three = (f"file://{place}" for place in places)
    done = Caller(one).json("--cache", two, "--cache", f"{three}?readonly=true", "upgrade")
    assert [each["tier"] for each in done["tiers"]] == [one, two]
    assert (places[2] / "associations").exists()
    shutil.rmtree(places[2])


def test_upgrades_of_one_store_in_threads_do_not_undo_each_other() -> None:
    memory = earlier()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upgrade(memory, jobs=2), range(4)))
    assert_upgraded(memory)
