"""upgrade: what an earlier version has written is found under both names again; what it costs."""

from __future__ import annotations

import threading
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from fixtures.earlier import CLAIMED, GZIP, ZSTD, association, fill_earlier
from fixtures.layers import read, sample
from fixtures.stores import Store, content, write
from servers.stores import CREDENTIALS
from upkeep.upgrading import assert_upgraded, earlier, tier, upgrade

import layercache
from layercache.errors import ConfigError, StoreFormatError
from layercache.tiers import format, keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.gate import ungated
from layercache.tiers.opening import open_tier, tier_on
from layercache.tiers.policy import Policy
from layercache.upkeep.upgrade import Upgrade
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.stores import Action


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
