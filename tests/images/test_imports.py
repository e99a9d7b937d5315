"""Images out of archives and layouts: known by the names they have there, and by no name of another's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fixtures.dict_source import REFERENCE, DictSource, source_of
from fixtures.stores import Store, content, far, near, open_cache
from servers.archives import file_member, write_legacy_archive, write_modern_archive, write_tar
from servers.images import make_image, make_index, sample_layers, write_layout
from servers.programs import skopeo_copy

from layercache import LayercacheError, NotFoundError, SourceError
from layercache.copy.copier import Copy
from layercache.copy.selection import Selection
from layercache.images.opening import Images
from layercache.oci.annotations import FULL_NAME, REF_NAME
from layercache.oci.descriptor import OCI_MANIFEST
from layercache.oci.platforms import parse_platform
from layercache.oci.reference import Reference
from layercache.tiers import keys
from layercache.tiers.layout.index_writer import write_index
from layercache.tiers.tag_origin import IMPORTED_FROM
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Image, ImageIndex

    from layercache.cache import Cache
    from layercache.events import Event
    from layercache.images.image import Image as Opened
    from layercache.oci.descriptor import Descriptor
    from layercache.tiers.tier import Tier

OURS, THEIRS = make_image(sample_layers(1)), make_image(sample_layers(2))
KEY = keys.image_key(REFERENCE)
AMD64 = parse_platform("linux/amd64")


@dataclass
class Archive(DictSource):
    """An archive that gives its image any names."""

    names: list[str] = field(default_factory=lambda: [str(REFERENCE)])

    def references(self) -> list[Reference]:
        return [Reference.parse(name) for name in self.names]


@dataclass
class Down(DictSource):
    """A registry that does not answer as it should."""

    error: LayercacheError = SourceError("the registry does not answer")  # noqa: RUF009  # never changed

    def root(self, *, new: bool = False) -> Descriptor:
        raise self.error


def archive(made: Image | ImageIndex, *names: str) -> Archive:
    source = source_of(made)
    return Archive(source.top, source.documents, source.blobs, name="docker-archive:x", names=list(names))


def imported(cache: Cache, source: DictSource) -> Opened:
    opened = Images(cache._asked, cache._resolver, cache._observers)
    return opened.from_source(source, None, AMD64)


def pulled(cache: Cache, source: DictSource, *, tag_age: float = 0) -> Opened:
    opened = Images(cache._asked, cache._resolver, cache._observers, tag_age=tag_age)
    return opened.from_source(source, REFERENCE, AMD64)


def names(tier: Tier) -> list[str]:
    return sorted(keys.image_name(key) for key, _ in tier.images.scan())


# Names


def test_what_docker_saved_is_an_image_by_each_of_its_tags(cli: Caller, tmp_path: Path) -> None:
    path = write_legacy_archive(tmp_path / "saved.tar", {"app:1": OURS, "quay.io/team/b:2": THEIRS})
    pull = cli("pull", f"docker-archive:{path}:app:1")
    assert f"recorded docker-archive:{path}:app:1 as docker.io/library/app:1\n" in pull.stderr
    cli("pull", f"docker-archive:{path}:quay.io/team/b:2")
    rows = [json.loads(line) for line in cli("images", "--json").stdout.splitlines()]
    assert {row["name"]: row["platforms"] for row in rows} == {
        "docker.io/library/app:1": ["linux/amd64"],
        "quay.io/team/b:2": ["linux/amd64"],
    }
    digest = cli("export", "app:1", f"oci:{tmp_path}/out:app").stdout.strip()
    cli("export", f"app@{digest}", f"docker-archive:{tmp_path}/again.tar")
    cli("--offline", "pull", "app:1")


@pytest.mark.parametrize("write", [write_legacy_archive, write_modern_archive])
def test_an_image_without_a_tag_has_its_digest_for_a_name(
    write: Callable[[Path, dict[str, Image]], Path], cli: Caller, tmp_path: Path
) -> None:
    path = write(tmp_path / "saved.tar", {"": OURS})
    cli("pull", f"docker-archive:{path}:@0")
    (name,) = (json.loads(line)["name"] for line in cli("images", "--json").stdout.splitlines())
    assert name.startswith("localhost/imported@sha256:")
    cli("export", name, f"oci:{tmp_path}/out:app")


@pytest.mark.parametrize(
    ("ref", "annotations", "name"),
    [
        ("1.0", {}, "localhost/imported:1.0"),
        ("a name/with:all", {}, "localhost/imported:a_name_with_all"),
        ("quay.io/team/app:1", {}, "quay.io/team/app:1"),
        ("1.0", {FULL_NAME: "quay.io/team/app:1.0"}, "quay.io/team/app:1.0"),
        ("", {}, f"localhost/imported@{OURS.descriptor.digest}"),
    ],
)
def test_an_image_of_a_layout_has_the_name_that_its_index_has(
    ref: str, annotations: dict[str, str], name: str, cli: Caller, tmp_path: Path
) -> None:
    folder = write_layout(tmp_path / "layout", {"x": OURS})
    index = json.loads((folder / "index.json").read_text())
    index["manifests"][0]["annotations"] = {**({REF_NAME: ref} if ref else {}), **annotations}
    (folder / "index.json").write_text(json.dumps(index))
    cli("pull", f"oci:{folder}")
    assert [json.loads(line)["name"] for line in cli("images", "--json").stdout.splitlines()] == [name]
    assert cli("export", name, f"oci:{tmp_path}/out:app").stdout.strip() == OURS.descriptor.digest
    skopeo_copy(f"oci:{cli.url.removeprefix('file://')}:{name}", f"oci:{tmp_path}/copied:it")


def test_tags_that_are_no_references_are_left_out_and_of_very_many_the_first_are_taken(
    cli: Caller, tmp_path: Path
) -> None:
    tags = ["../../etc:1", "UPPER", "a@b", *(f"many:{number}" for number in range(1000))]
    config = f"{OURS.config_digest.hex}.json"
    item = {"Config": config, "RepoTags": tags, "Layers": [layer.diff_id.hex for layer in OURS.layers]}
    members = [file_member(layer.diff_id.hex, layer.tar) for layer in OURS.layers]
    members += [file_member(config, OURS.config), file_member("manifest.json", json.dumps([item]).encode())]
    path = write_tar(tmp_path / "saved.tar", members)
    cli("-q", "pull", f"docker-archive:{path}")
    found = [json.loads(line)["name"] for line in cli("images", "--json").stdout.splitlines()]
    assert len(found) == 97
    assert all(name.startswith("docker.io/library/many:") for name in found)


def test_what_cannot_be_opened_gets_no_name() -> None:
    with open_cache() as cache:
        source = archive(OURS, "app:1")
        source.blobs.clear()
        with pytest.raises(Exception, match="no sha256"):
            imported(cache, source)
        assert names(cache.tiers[0]) == []


def test_every_platform_of_an_index_has_one_name() -> None:
    index = make_index([OURS, make_image(sample_layers(3), "linux/arm64")])
    with open_cache() as cache:
        opened = Images(cache._asked, cache._resolver, cache._observers)
        assert len(opened.all_from_source(archive(index, "app:1"), None)) == 2
        assert names(cache.tiers[0]) == ["docker.io/library/app:1"]


# Whose word counts


def test_an_archive_never_takes_a_tag_that_a_registry_gave(tmp_path: Path) -> None:
    events: list[Event] = []
    tiers = [near(), far(Store(MemoryBackend()))]
    by_digest = f"{REFERENCE.name}@{THEIRS.descriptor.digest}"
    with open_cache(*tiers) as cache, cache.watch(events.append):
        pulled(cache, source_of(OURS))
        imported(cache, archive(THEIRS, str(REFERENCE), "other:1"))
        cache.flush()
        for tier in tiers:
            assert tier.images.get(KEY).digest == OURS.descriptor.digest
            assert names(tier) == ["docker.io/library/other:1", str(REFERENCE), by_digest]
    (refused,) = [event for event in events if event.kind == "unconfirmed"]
    assert f"{REFERENCE} stays what its registry said" in refused.note
    assert by_digest in refused.note
    assert [event.note for event in events if event.kind == "imported"] == [
        by_digest,
        "docker.io/library/other:1",
    ]


def test_a_far_tier_keeps_its_registrys_tag_where_the_near_one_knows_none() -> None:
    nearest, shared = near(), far(Store(MemoryBackend()))
    with open_cache(near(), shared) as cache:
        pulled(cache, source_of(OURS))
    with open_cache(nearest, shared) as cache:
        imported(cache, archive(THEIRS, str(REFERENCE)))
    assert nearest.images.get(KEY).digest == THEIRS.descriptor.digest
    assert shared.images.get(KEY).digest == OURS.descriptor.digest


def test_a_later_import_replaces_an_earlier_one_and_the_registry_replaces_both() -> None:
    with open_cache() as cache:
        nearest = cache.tiers[0]
        for made in (THEIRS, OURS):
            imported(cache, archive(made, str(REFERENCE)))
            assert nearest.images.get(KEY).digest == made.descriptor.digest
            assert (nearest.images.get(KEY).annotations or {}) == {IMPORTED_FROM: "docker-archive"}
        pulled(cache, source_of(OURS))
        assert nearest.images.get(KEY) == OURS.descriptor, "now it is the registry's"
        imported(cache, archive(THEIRS, str(REFERENCE)))
        assert nearest.images.get(KEY) == OURS.descriptor


def test_an_import_is_never_fresh_the_registry_is_asked() -> None:
    with open_cache() as cache:
        imported(cache, archive(THEIRS, str(REFERENCE)))
        assert pulled(cache, source_of(OURS), tag_age=3600).digest == OURS.descriptor.digest


@pytest.mark.parametrize("strict", [False, True])
def test_offline_an_import_is_taken_without_a_warning_as_the_user_made_it(*, strict: bool) -> None:
    events: list[Event] = []
    with open_cache(near(), offline=True) as cache, cache.watch(events.append):
        imported(cache, archive(OURS, str(REFERENCE)))
        opened = Images(cache._asked, cache._resolver, cache._observers, strict=strict)
        assert opened.from_source(None, REFERENCE, AMD64).digest == OURS.descriptor.digest
    assert {event.kind for event in events} == {"imported"}


@pytest.mark.parametrize("error", [SourceError("it is down"), NotFoundError("no such tag")])
def test_an_import_serves_where_its_registry_cannot_which_is_reported(error: LayercacheError) -> None:
    events: list[Event] = []
    down = Down(OURS.descriptor, error=error)
    with open_cache() as cache:
        imported(cache, archive(OURS, str(REFERENCE)))
        with cache.watch(events.append):
            assert pulled(cache, down).digest == OURS.descriptor.digest
        (event,) = [event for event in events if event.kind == "unconfirmed"]
        assert f"{REFERENCE} is taken as it was imported, since its registry" in event.note
        opened = Images(cache._asked, cache._resolver, cache._observers, strict=True)
        with pytest.raises(type(error)):
            opened.from_source(down, REFERENCE, AMD64)


def test_a_registrys_own_tag_does_not_outlive_what_the_registry_says() -> None:
    with open_cache() as cache:
        pulled(cache, source_of(OURS))
        for error in (SourceError("it is down"), NotFoundError("no such tag")):
            with pytest.raises(type(error)):
                pulled(cache, Down(OURS.descriptor, error=error))


def test_what_is_asked_for_by_another_name_than_it_has_is_named_in_the_hint() -> None:
    other, by_digest = f"{REFERENCE.name}:2", f"{REFERENCE.name}@{OURS.descriptor.digest}"
    with open_cache(near(), offline=True) as cache:
        imported(cache, archive(OURS, str(REFERENCE)))
        with pytest.raises(NotFoundError) as tag:
            cache.image(other)
        assert f"cached is {REFERENCE}" in tag.value.hint
        with pytest.raises(NotFoundError) as digest:
            cache.forget_image(by_digest)
        assert f"cached is {REFERENCE}" in digest.value.hint
        with pytest.raises(NotFoundError) as nothing:
            cache.image("elsewhere:1")
        assert "cached is" not in nothing.value.hint


def test_a_second_import_writes_and_asks_nothing_more() -> None:
    store = Store(MemoryBackend())
    with open_cache(near(), far(store)) as cache:
        imported(cache, archive(OURS, "app:1"))
        cache.flush()
        store.asked.clear()
        before = content(cache.tiers[0])
        imported(cache, archive(OURS, "app:1"))
        cache.flush()
        assert store.asked == []
        assert content(cache.tiers[0]) == before


@pytest.mark.parametrize("there", ["a registry's", "an import", "nothing"])
def test_a_copied_import_replaces_no_registrys_tag(there: str) -> None:
    source, target = near(MemoryBackend()), near(MemoryBackend())
    source.name, target.name = "memory://source", "memory://target"
    with open_cache(source) as cache:
        imported(cache, archive(THEIRS, str(REFERENCE)))
    target.images.time = lambda key: 1.0  # type: ignore[method-assign]  # older than any
    with open_cache(target) as cache:
        if there == "a registry's":
            pulled(cache, source_of(OURS))
        elif there == "an import":
            imported(cache, archive(OURS, str(REFERENCE)))
    report = Copy(source, target, Selection()).run()
    expected = OURS if there == "a registry's" else THEIRS
    assert target.images.get(KEY).digest == expected.descriptor.digest
    assert report.tags_kept == (there == "a registry's")


def test_an_entry_that_another_tool_adds_under_a_registrys_name_replaces_no_tag(
    cli: Caller, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    with open_cache_of(cli) as cache:
        pulled(cache, source_of(OURS))
    skopeo_copy(
        f"oci:{write_layout(tmp_path / 'theirs', {'x': THEIRS})}:x",
        f"oci:{folder}:{REFERENCE}",
        ["--preserve-digests"],
    )
    with open_cache_of(cli) as cache:
        write_index(cache.tiers[0])  # type: ignore[arg-type]
        assert cache.tiers[0].images.get(KEY).digest == OURS.descriptor.digest
    listed = json.loads((folder / "index.json").read_text())["manifests"]
    found = {entry["digest"]: (entry.get("annotations") or {}).get(REF_NAME) for entry in listed}
    assert found[THEIRS.descriptor.digest] == f"{REFERENCE.name}@{THEIRS.descriptor.digest}"


def test_a_full_name_that_another_tool_claims_is_not_passed_on(cli: Caller, tmp_path: Path) -> None:
    index = tmp_path / "cache/index.json"
    with open_cache_of(cli) as cache:
        pulled(cache, source_of(OURS))
        for tier in cache.tiers:
            for digest, (_, data) in THEIRS.documents.items():
                tier.blobs.put(digest, data)
            for digest, data in THEIRS.blobs.items():
                tier.blobs.put(digest, data)
    listed = json.loads(index.read_text())
    named = {REF_NAME: "1.0", FULL_NAME: str(REFERENCE)}
    entry = {"mediaType": OCI_MANIFEST, "digest": THEIRS.descriptor.digest, "size": len(THEIRS.manifest)}
    listed["manifests"].append({**entry, "annotations": named})
    index.write_text(json.dumps(listed))
    with open_cache_of(cli) as cache:
        write_index(cache.tiers[0])  # type: ignore[arg-type]
    found = [each for each in json.loads(index.read_text())["manifests"] if each["digest"] == entry["digest"]]
    assert FULL_NAME not in found[0]["annotations"]
    assert found[0]["annotations"][REF_NAME] == f"{REFERENCE.name}@{THEIRS.descriptor.digest}"


def open_cache_of(cli: Caller) -> Cache:
    import layercache

    return layercache.open(cli.url)
