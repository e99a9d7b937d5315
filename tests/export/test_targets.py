"""A target is what it says: a registry is never meant by what looks like a path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from export.kept import keep

from layercache.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample

    from layercache.cache import Cache


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("out/app.tar", "docker-archive:out/app.tar"),
        ("app.tar", "oci-archive:app.tar"),
        ("app.tar:app:1", "docker-archive:app.tar:app:1"),
        ("APP.tgz", "docker-archive:APP.tgz"),
        ("app.tar.zst", "docker-archive:app.tar.zst"),
        ("./app", "oci:./app"),
        ("../app", "oci:../app"),
        ("/srv/app", "oci:/srv/app"),
        ("~/app", "oci:~/app"),
        ("app/", "oci:app/"),
        ("there", "oci:there"),
        ("team/app:1", "docker://team/app:1"),
        ("ghcr.io/team/app:1", "docker://ghcr.io/team/app:1"),
        ("localhost:5000/app", "docker://localhost:5000/app"),
        ("https://ghcr.io/team/app", "docker://ghcr.io/team/app"),
        ("oci://ghcr.io/team/app", "docker://ghcr.io/team/app"),
        ("oci://ghcr.io/team/app", "copy fills a cache"),
        ("s3://bucket/prefix", "layercache copy"),
        ("file:///srv/cache", "layercache copy"),
        ("dir:/srv", "oci:PATH[:REF]"),
        ("oci:-", "oci-archive:-"),
        ("oci:", "oci:PATH[:REF]"),
        ("docker-archive:", "docker-archive:PATH[:REF]"),
        ("oci-archive::app", "oci-archive:PATH[:REF]"),
        ("", "docker://REGISTRY/REPOSITORY[:TAG]"),
        ("/dev/null", "docker-archive:/dev/null"),
        ("docker-daemon", "docker-daemon:"),
        ("Not A Target", "docker-daemon:[NAME:TAG]"),
    ],
)
def test_what_is_not_a_target_is_refused_with_what_was_probably_meant(
    cache: Cache, tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch, target: str, meant: str
) -> None:
    name = keep(cache, sample.image)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError) as caught:
        cache.export(name, target, platform="linux/amd64")
    assert meant in caught.value.hint
    assert cache._registry.made() is None, "no registry was contacted"
    assert sorted(os.listdir(tmp_path)) == ["cache", "there"]


def test_a_password_in_a_wrong_target_is_not_printed(cache: Cache, sample: Sample) -> None:
    with pytest.raises(ConfigError) as caught:
        cache.export(keep(cache, sample.image), "user:secret@ghcr.io/team/app:1", platform="linux/amd64")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "target", ["-", "docker-archive:{folder}/a.tar", "docker-daemon:", "docker-daemon:app:1"]
)
def test_what_takes_one_platform_refuses_an_index(
    cache: Cache, tmp_path: Path, sample: Sample, target: str
) -> None:
    name = keep(cache, sample.index)
    with pytest.raises(ConfigError, match="one platform"):
        cache.export(name, target.format(folder=tmp_path), platform="all")


def test_a_home_folder_after_a_prefix_is_the_users(
    cache: Cache, tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = keep(cache, sample.image)
    cache.export(name, "oci:~/layout", platform="linux/amd64")
    cache.export(name, "oci-archive:~/layout.tar:v2", platform="linux/amd64")
    assert (tmp_path / "layout" / "index.json").exists()
    assert (tmp_path / "layout.tar").exists()
