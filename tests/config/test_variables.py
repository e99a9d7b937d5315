"""Every key of the configuration has a variable; it overrides the files, and a mistyped one is reported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import layercache
from layercache.config import environment
from layercache.config.checker import keys_of
from layercache.config.from_variables import names, variable_of
from layercache.config.opening import load
from layercache.config.schema import CacheTable, HostTable, RegistryTable
from layercache.config.show import settings
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_no_key_lacks_a_variable() -> None:
    keys = {key for table in (CacheTable, RegistryTable, HostTable) for key in keys_of(table)} - {"tiers"}
    assert {variable_of(key) for key in keys} - {*names(), *environment.OWN} == set()


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("LAYERCACHE_STRICT", "1", "strict", True),
        ("LAYERCACHE_STRICT", "YES", "strict", True),
        ("LAYERCACHE_OFFLINE", "false", "offline", False),
        ("LAYERCACHE_VERIFY", "always", "verify", "always"),
        ("LAYERCACHE_TAG_AGE", "5m", "tag_age", 300),
        ("LAYERCACHE_TAG_AGE", "0", "tag_age", 0),
        ("LAYERCACHE_MAX_INFLATED_SIZE", "20GB", "max_inflated_size", 20 * 10**9),
        ("LAYERCACHE_MAX_RATIO", " 9 ", "max_ratio", 9),
        ("LAYERCACHE_CONNECT_TIMEOUT", "5", "registry.connect_timeout", 5),
        ("LAYERCACHE_READ_TIMEOUT", "2m", "registry.read_timeout", 120),
        ("LAYERCACHE_RETRIES", "0", "registry.retries", 0),
        (
            "LAYERCACHE_MIRRORS",
            "docker.io=a.example/hub, docker.io=localhost:5000",
            'registries."docker.io".mirrors',
            ["a.example/hub", "localhost:5000"],
        ),
        ("LAYERCACHE_CREDENTIALS_HELPER", "ghcr.io=pass", 'registries."ghcr.io".credentials_helper', "pass"),
        ("LAYERCACHE_SERVE_PORT", "5001", "serve.port", 5001),
        ("LAYERCACHE_SERVE_TAG_AGE", "5m", "serve.tag_age", 300),
        ("LAYERCACHE_SERVE_REDIRECT", "yes", "serve.redirect", True),
        ("LAYERCACHE_SERVE_ADDRESS", "::", "serve.address", "::"),
    ],
)
def test_a_variable_sets_its_key_and_is_named_as_its_origin(
    name: str, text: str, key: str, value: object, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    file = write("offline = true\nstrict = false\ntag_age = 1\n[registry]\nretries = 9\n[serve]\nport = 1")
    found = dict(settings(load(file)))[key]
    assert (found.value, found.origin) == (value, name)


def test_a_variable_overrides_a_named_cache_and_an_argument_overrides_the_variable(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERCACHE_STRICT", "true")
    file = write("[caches.team]\ntiers = ['memory://x']\nstrict = false")
    with layercache.open("@team", config=file) as cache:
        assert cache.strict
    with layercache.open("@team", config=file, strict=False) as cache:
        assert not cache.strict
    with layercache.open("memory://x") as cache:
        assert cache.strict, "the environment counts for a library, too"


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("LAYERCACHE_STRICT", "perhaps", "LAYERCACHE_STRICT: is 'perhaps'(.|\n)*expected true or false"),
        ("LAYERCACHE_STRICT", "2", "LAYERCACHE_STRICT: is '2'"),
        ("LAYERCACHE_VERIFY", "allways", "LAYERCACHE_VERIFY: is 'allways'(.|\n)*expected size or always"),
        ("LAYERCACHE_TAG_AGE", "-1", "LAYERCACHE_TAG_AGE: not a time"),
        ("LAYERCACHE_TAG_AGE", "9" * 5000, "LAYERCACHE_TAG_AGE: the unit of"),
        ("LAYERCACHE_MAX_RATIO", "0", "LAYERCACHE_MAX_RATIO: is '0'(.|\n)*at least 1"),
        ("LAYERCACHE_CA_FILE", "/nowhere.pem", "LAYERCACHE_CA_FILE: there is no file /nowhere.pem"),
        ("LAYERCACHE_SERVE_PORT", "65536", "LAYERCACHE_SERVE_PORT: is '65536'|is 65536"),
        ("LAYERCACHE_SERVE_WORKERS", "many", "LAYERCACHE_SERVE_WORKERS: is 'many'(.|\n)*at least 1"),
        ("LAYERCACHE_MIRRORS", "docker.io", "LAYERCACHE_MIRRORS: 'docker.io' is not a pair"),
        ("LAYERCACHE_MIRRORS", "docker.io=a b", "'b' is not a pair"),
        ("LAYERCACHE_MIRRORS", "docker.io=://x", "not a registry"),
        ("LAYERCACHE_MIRRORS", "me:hunter2@a.b=x", "holds credentials"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable(
    name: str, text: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    for opening in (load, lambda: layercache.open("memory://x")):
        with pytest.raises(ConfigError, match=wanted) as caught:
            opening()
        assert name in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCACHE_STRICT", "")
    monkeypatch.setenv("LAYERCACHE_NONSENSE", "  ")
    layercache.open("memory://x").close()


def test_an_unknown_variable_is_a_warning_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAYERCACHE_STRIKT", "1")
    monkeypatch.setenv("LAYERCACHE_CACHE", "/x")
    with pytest.warns(
        UserWarning,
        match=r"CACHE_CACHE \(did you mean LAYERCACHE_URL\?\), LAYERCACHE_STRIKT \(did you mean \w+STRICT",
    ):
        layercache.open("memory://x").close()


def test_a_dollar_in_a_variable_stands_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCACHE_VERIFY", "${HOME}")
    with pytest.raises(ConfigError, match=r"is '\$\{HOME\}'"):
        load()


def test_the_program_warns_once(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "layercache", "--cache", "memory://x"]
    environ = {"LAYERCACHE_OFFLIEN": "1", "LAYERCACHE_CONFIG": "/dev/null", "HOME": str(tmp_path)}

    def stderr(*arguments: str) -> str:
        done = subprocess.run([*program, *arguments], env=environ, capture_output=True, text=True, check=True)
        return done.stderr

    warning = "layercache: warning: unknown variables have no effect: LAYERCACHE_OFFLIEN "
    assert stderr("ls").count(f"{warning}(did you mean LAYERCACHE_OFFLINE?)") == 1
    assert stderr("-q", "ls") == ""
