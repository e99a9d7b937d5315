"""What commands do, done by a program: files found, layers described, settings, totals, checks, a mirror."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise

import layercache
from layercache import ConfigError, ImageInfo, LayerInfo, NotFoundError
from layercache.bench import measure
from layercache.doctor import diagnose
from layercache.serve import serve

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

    from layercache import Cache

BASE = make_layer({"etc/os-release": b"ID=test\n", "etc/passwd": b"root\n"})
IMAGES = [make_image([BASE, make_layer({"app.conf": noise(900, number)})]) for number in (1, 2)]
PLATFORM = "linux/amd64"


@pytest.fixture
def names(lying: LyingRegistry) -> list[str]:
    """Two images that share a layer."""
    return [lying.add_image(str(number), image) for number, image in enumerate(IMAGES)]


def test_files_are_found_in_images_and_what_fails_is_a_result(
    cache: Cache, names: list[str], lying: LyingRegistry
) -> None:
    nowhere, steps = f"{lying.host}/app:nowhere", list[tuple[int, int]]()
    found = list(
        cache.find(
            [names[0], nowhere, names[1]],
            ["/etc/os-*", "*.conf"],
            platform=PLATFORM,
            progress=lambda *step: steps.append(step),
        )
    )
    (failed,) = [each for each in found if each.error]
    assert (failed.name, failed.image, failed.files) == (nowhere, None, ())
    assert isinstance(failed.error, NotFoundError)
    searched = [each for each in found if not each.error]
    assert [each.name for each in searched] == names
    assert [[file.path for file in each.files] for each in searched] == [["app.conf", "etc/os-release"]] * 2
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert len(lying.asked(f"GET /v2/app/blobs/{BASE.digest}")) == 1, "images share it"
    with pytest.raises(TypeError, match="expected a pattern of paths"):
        cache.find(names, 5)  # type: ignore[arg-type]


def test_a_layer_is_described_by_either_name_and_an_image_by_its_name_or_digest(
    cache: Cache, names: list[str], lying: LyingRegistry
) -> None:
    cache.pull(names[0], platform=PLATFORM)
    asked = len(lying.requests)
    for hash in (BASE.digest, BASE.diff_id):
        layer = cache.info(hash)
        assert isinstance(layer, LayerInfo)
        assert ([blob.digest for blob in layer.blobs], layer.diff_id) == ([BASE.digest], BASE.diff_id)
        assert (layer.images, layer.tiers[0].uncompressed) == ((names[0],), False)
    for name in (names[0], IMAGES[0].descriptor.digest):
        image = cache.info(name, platform=PLATFORM)
        assert isinstance(image, ImageInfo)
        assert (image.name, image.complete, len(image.layers)) == (names[0], True, 2)
    assert len(lying.requests) == asked, "what is cached is described without its registry"
    fetched = cache.info(names[1], platform=PLATFORM)
    assert isinstance(fetched, ImageInfo)
    assert not fetched.complete
    with pytest.raises(NotFoundError):
        cache.info("sha256:" + 64 * "0")


def test_index_json_is_written_when_a_program_asks(cache: Cache, names: list[str], tmp_path: Path) -> None:
    cache.pull(names, platform=PLATFORM)
    written = cache.write_index(layers=False)
    assert (written.images, written.others) == (2, 0)
    assert len(json.loads((tmp_path / "cache" / "index.json").read_text())["manifests"]) == 2
    with (
        layercache.open(f"file://{tmp_path}/cache?readonly=true") as reading,
        pytest.raises(ConfigError, match="no tier can hold"),
    ):
        reading.write_index()


def test_settings_have_their_origin_and_no_secrets(tmp_path: Path) -> None:
    file = tmp_path / "layercache.toml"
    file.write_text('strict = true\n[caches.far]\ntiers = ["s3://bucket?secret_access_key=hush"]\n')
    found = {each.key: each for each in layercache.settings(config=file)}
    assert (found["strict"].value, found["strict"].origin) == (True, f"{file}: strict")
    assert found["offline"].origin == "default"
    assert "hush" not in str(found)
    (used,) = layercache.config_files(file)
    assert (used.path, used.in_use) == (str(file), True)
    with pytest.raises(TypeError, match="the path of a configuration file"):
        layercache.check_config(5)  # type: ignore[arg-type]


def test_every_problem_of_a_file_is_returned(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text('stict = true\ntag_age = "soon"\ntiers = ["s4://bucket"]\n')
    checked = layercache.check_config(file)
    assert checked.files == (str(file),)
    assert [problem.key for problem in checked.problems] == ["stict", "tag_age", "tiers[0]"]


def test_totals_are_those_of_the_user(
    tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert layercache.totals().hit_rate is None
    for _ in range(2):
        with layercache.open(tmp_path / "cache", statistics=True) as cache:
            cache.pull(names[0], platform=PLATFORM)
    found = layercache.totals(max_age=86400)
    assert (found.hits, found.fetched, found.hit_rate) == (2, 2, 0.5)
    assert {place.kind for place in found.places} == {"tier", "registry"}
    assert "layercache_hits_total" in layercache.totals_for_prometheus()
    assert str(tmp_path) in str(layercache.reset_totals())
    assert layercache.reset_totals() is None


def test_a_login_that_cannot_be_sent_is_refused_without_its_password() -> None:
    for user, password in (("", "hush"), ("a:b", "hush"), ("me", "hush\udcff"), ("me", b"hush")):
        with pytest.raises((ConfigError, TypeError)) as refused:
            layercache.login("localhost:1", user, password)  # type: ignore[arg-type]
        assert "hush" not in str(refused.value)


def test_a_tier_that_cannot_be_opened_is_a_result_without_its_secrets() -> None:
    names: list[str] = []
    urls = ["memory://", "s3://bucket?colour=blue&secret_access_key=hush"]
    near, far = diagnose(urls, progress=names.append)
    assert near.ok
    assert {check.result for check in near.checks} <= {"ok", "warning", "skipped"}
    assert (far.ok, far.checks[-1].result) == (False, "failed")
    assert "hush" not in str([far, names])


def test_a_cache_is_measured_and_impossible_sizes_are_refused() -> None:
    runs: list[int] = []
    measured = measure("memory://", size=100_000, count=1, runs=2, progress=runs.append)
    assert {each.name for each in measured.results} >= {"big layer up", "look-up"}
    assert all(each.ours > 0 for each in measured.results)
    assert runs == [1, 2]
    for wrong in ({"size": 5}, {"count": 0}, {"runs": 0}):
        with pytest.raises(ValueError, match="expected"):
            measure("memory://", **wrong)  # type: ignore[arg-type]


def test_the_settings_of_a_mirror_are_checked(tmp_path: Path) -> None:
    serve(tmp_path / "cache", check=True, port=0, upstreams=("ghcr.io/team/*",), writable=True)
    with pytest.raises(TypeError, match="no setting 'prot': did you mean port"):
        serve(tmp_path / "cache", check=True, prot=0)
    with pytest.raises(ConfigError, match="port"):
        serve(tmp_path / "cache", check=True, port=70_000)
    with pytest.raises(ConfigError, match="there is no file"):
        serve(tmp_path / "cache", check=True, tls_key=tmp_path / "key.pem")
