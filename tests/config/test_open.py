"""A cache as it is configured: which tiers, how it behaves, and what counts more than the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import layercache
from layercache.config.opening import load
from layercache.config.show import settings, shown_url
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = """
tiers = ["./near", { url = "~/far", keep = "uncompressed", readonly = true, max_size = "1kB", max_age = 60 }]
offline = true
strict = true
verify = "always"
max_ratio = 7

[caches.team]
tiers = ["memory://${TEAM:-none}"]
offline = false
max_inflated_size = "1kB"

[registry]
read_timeout = "2m"
retries = 0

[registries."docker.io"]
mirrors = ["a.example:5000/hub"]
credentials_helper = "docker-credential-pass"

[registries."b.example"]
plain_http = true
insecure = true
"""


def test_tiers_and_behaviour_come_from_the_file(tmp_path: Path, write: Callable[..., str]) -> None:
    with layercache.open(config=write(FILE)) as cache:
        near, far = cache.tiers
        assert [near.name, far.name] == [f"file://{tmp_path}/near", f"file://{tmp_path}/home/far"]
        assert (far.policy.keep, far.policy.readonly) == ("uncompressed", True)
        assert (far.policy.max_size, far.policy.max_age) == (1000, 60.0)
        assert (near.policy.keep, near.policy.trusted) == ("both", True)
        assert (cache.offline, cache.strict) == (True, True)


def test_a_named_cache_has_its_own_tiers_and_inherits_the_rest(
    project: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(FILE)
    monkeypatch.setenv("LAYERCACHE_CONFIG", path)
    monkeypatch.setenv("TEAM", "blue")
    for opened in (layercache.open("@team"), layercache.open(["@team"], config=path)):
        with opened as cache:
            assert [tier.name for tier in cache.tiers] == ["memory://blue"]
            assert (cache.offline, cache.strict) == (False, True)
    monkeypatch.setenv("LAYERCACHE_URL", "@team")
    with layercache.open() as cache:
        assert [tier.name for tier in cache.tiers] == ["memory://blue"]


@pytest.mark.parametrize(
    ("urls", "said"),
    [("@tame", "no cache named tame(.|\n)*defined caches: @team"), (["@team", "/x"], "use it alone")],
)
def test_a_cache_name_must_be_defined_and_used_alone(
    urls: str | list[str], said: str, write: Callable[..., str]
) -> None:
    with pytest.raises(ConfigError, match=said):
        layercache.open(urls, config=write(FILE))


def test_a_name_without_a_file_reports_the_places_searched() -> None:
    with pytest.raises(ConfigError, match=r"looked in(.|\n)*layercache\.toml(.|\n)*\[caches\.team\]"):
        layercache.open("@team")


def test_arguments_and_the_environment_count_more_than_the_file(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(FILE)
    with layercache.open("memory://x", config=path, strict=False) as cache:
        assert [tier.name for tier in cache.tiers] == ["memory://x"]
        assert (cache.offline, cache.strict) == (True, False)
    monkeypatch.setenv("LAYERCACHE_URL", "memory://y memory://z")
    with layercache.open(config=path, offline=False) as cache:
        assert [tier.name for tier in cache.tiers] == ["memory://y", "memory://z"]
        assert (cache.offline, cache.strict) == (False, True)


def test_a_library_that_is_given_urls_reads_no_file(project: Path, write: Callable[..., str]) -> None:
    path = write("nonsense = 1", project / "layercache.toml")
    layercache.open("memory://x").close()
    with pytest.raises(ConfigError, match="nonsense"):
        layercache.open()
    write("strict = true", Path(path))
    with layercache.open("memory://x") as cache:
        assert not cache.strict


def test_a_wrong_url_of_the_environment_is_reported_with_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAYERCACHE_URL", "nonsense")
    with pytest.raises(ConfigError, match=r"^LAYERCACHE_URL: not a cache URL"):
        layercache.open()


def test_registry_settings_combine_file_environment_and_arguments(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERCACHE_PLAIN_HTTP", "c.example")
    ca_file = write("", tmp_path / "variable.pem")
    monkeypatch.setenv("LAYERCACHE_CA_FILE", ca_file)
    configuration = load(write(FILE))
    found = configuration.registries(insecure=["d.example"])
    assert (found.read_timeout, found.connect_timeout, found.retries) == (120.0, 10.0, 0)
    assert found.mirrors_of("docker.io") == ("a.example:5000/hub",)
    assert found.helper_for("docker.io") == "pass"
    assert [found.is_plain_http(f"{each}.example") for each in "bcd"] == [True, True, False]
    assert [found.is_insecure(f"{each}.example") for each in "bcd"] == [True, False, True]
    assert found.ca_file == ca_file
    assert configuration.registries(ca_file="/option.pem").ca_file == "/option.pem"


def test_each_value_comes_with_where_it_is_from(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(FILE)
    monkeypatch.setenv("LAYERCACHE_URL", "@team")
    monkeypatch.setenv("LAYERCACHE_INSECURE", "c.example")
    found = {key: setting.origin for key, setting in settings(load(path))}
    assert found["tiers[0]"] == f"{path}: caches.team.tiers[0]"
    assert found["offline"] == f"{path}: caches.team.offline"
    assert found["strict"] == f"{path}: strict"
    assert found["max_ratio"] == f"{path}: max_ratio"
    assert found["registry.retries"] == f"{path}: registry.retries"
    assert found["registry.connect_timeout"] == "default"
    assert found['registries."docker.io".mirrors'] == f'{path}: registries."docker.io".mirrors'
    assert found['registries."c.example".insecure'] == "LAYERCACHE_INSECURE"
    assert dict(settings(load(os.devnull), ["memory://x"], "--cache"))["tiers[0]"].origin == "--cache"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy:3128")
    url = "x+y://me:hunter2@host/path?token=hunter2&endpoint_url=https%3A%2F%2Fme%3Ahunter2%40host&region=eu"
    shown = shown_url(url)
    assert "hunter2" not in shown
    assert shown.endswith("&region=eu")
    told = json.dumps([(key, str(each.value)) for key, each in settings(load(os.devnull), [url], "--cache")])
    assert "hunter2" not in told
    assert "proxy:3128" in told


def test_without_a_file_the_parser_is_not_imported() -> None:
    program = (
        "import layercache, sys; layercache.open().close()\n"
        "files = ['tomllib', 'difflib', 'layercache.config.schema', 'layercache.registry.settings']\n"
        "print(*[name for name in files if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
