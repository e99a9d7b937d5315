"""A file is read strictly: what is wrong is told with file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import layercache
from layercache.config import files
from layercache.config.opening import load
from layercache.config.schema import check
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("ofline = true", "ofline", "did you mean offline"),
        ("keep = 'both'", "keep", "an option of a tier"),
        ("offline = 'yes'", "offline", "is a string(.|\n)*true or false"),
        ("offline = 1", "offline", "is an integer"),
        ("verify = 'allways'", "verify", "'allways'(.|\n)*size or always"),
        ("verify = 1979-05-27", "verify", "a date or time"),
        ("max_inflated_size = 'much'", "max_inflated_size", "20GB"),
        ("max_inflated_size = -1", "max_inflated_size", "not negative"),
        ("max_inflated_size = inf", "max_inflated_size", "not negative"),
        ("finish = 'some'", "finish", "'some'(.|\n)*always, never, or a share, a size or both"),
        ("finish = '25%,50%'", "finish", "25%,64MiB"),
        ("finish = '101%'", "finish", "25%,64MiB"),
        ("finish = 'nan%'", "finish", "25%,64MiB"),
        ("finish = ''", "finish", "25%,64MiB"),
        ("finish = 25", "finish", "is an integer"),
        ("max_ratio = 0", "max_ratio", "at least 1"),
        ("max_ratio = true", "max_ratio", "is true or false"),
        ("tiers = './x'", "tiers", "is a string(.|\n)*an array"),
        ("tiers = []", "tiers", "is empty"),
        ("tiers = [1]", "tiers[0]", "is an integer"),
        ("tiers = ['./x', 'nonsense']", "tiers[1]", "not a cache URL"),
        ("tiers = [{keep = 'both'}]", "tiers[0]", "has no url"),
        ("tiers = [{url = './x', keep = 'no'}]", "tiers[0].keep", "both, compressed, uncompressed"),
        ("tiers = [{url = './x', max_size = [1]}]", "tiers[0].max_size", "is an array"),
        ("tiers = [{url = 'file:///x?keep=both', keep = 'both'}]", "tiers[0].keep", "given twice"),
        ("tiers = ['file:///x?readonly=yes']", "tiers[0]", "true or false"),
        ("tiers = ['${ABSENT}/x']", "tiers[0]", "ABSENT is not set"),
        ("caches = 1", "caches", "is an integer(.|\n)*a table"),
        ("[caches.team]\nstrict = true", "caches.team", "has no tiers"),
        ("[caches.team]\ntiers = ['./x']\nofline = true", "caches.team.ofline", "did you mean offline"),
        ("[caches.'@team']\ntiers = ['./x']", 'caches."@team"', "not a name"),
        ("[registry]\nretries = -1", "registry.retries", "not negative"),
        ("[registry]\nread_timeout = 0", "registry.read_timeout", "more than 0"),
        ("[registry]\nread_timeout = 'soon'", "registry.read_timeout", "30d"),
        ("[registry]\nca_file = './absent.pem'", "registry.ca_file", "there is no file /"),
        ("[registry.'ghcr.io']\ninsecure = true", 'registry."ghcr.io"', r'\[registries."ghcr.io"\]'),
        ("registry = 1", "registry", "a table"),
        ("[registries.'index.docker.io']", 'registries."index.docker.io"', "is named docker.io"),
        ("[registries.ghcr]\ninsecure = true", "registries.ghcr", "not a registry"),
        ("[registries.'https://ghcr.io']", 'registries."https://ghcr.io"', "not a registry"),
        ("[registries.'ghcr.io']\nmirror = 'x'", 'registries."ghcr.io".mirror', "did you mean mirrors"),
        ("[registries.'a.b']\nmirrors = 'c.d'", 'registries."a.b".mirrors', "is a string(.|\n)*an array"),
        ("[registries.'a.b']\nmirrors = ['c.d', 'http://c.d']", 'registries."a.b".mirrors[1]', "HOST"),
        ("serve = 1", "serve", "a table"),
        ("[serve]\nprot = 1", "serve.prot", "did you mean port"),
        ("[serve]\naddress = ''", "serve.address", "an address of this machine"),
        ("[serve]\naddress = 'http://x'", "serve.address", "an address of this machine"),
        ("[serve]\nport = 65536", "serve.port", "to 65535"),
        ("[serve]\nport = '5000'", "serve.port", "is a string"),
        ("[serve]\nworkers = 0", "serve.workers", "at least 1"),
        ("[serve]\ntls_key = './absent.pem'", "serve.tls_key", "there is no file /"),
        ("[serve]\ndefault_upstream = 'https://ghcr.io'", "serve.default_upstream", "not a registry"),
        ("[serve]\nupstreams = 'ghcr.io'", "serve.upstreams", "an array"),
        ("[serve]\nupstreams = ['https://ghcr.io']", "serve.upstreams[0]", "not a pattern of repositories"),
        ("[serve]\nupstreams = ['ghcr.io/Team']", "serve.upstreams[0]", "not a pattern of repositories"),
        ("[serve]\nupstreams = ['ghcr.io', 1]", "serve.upstreams[1]", "is an integer"),
        ("[serve]\ninside = ['10.0.0.0/33']", "serve.inside[0]", "not a network"),
        ("[serve]\ninside = ['http://x']", "serve.inside[0]", "a host, an address or a network"),
        ("[serve]\nhtpasswd = './absent'", "serve.htpasswd", "there is no file /"),
        ("[serve]\nreaders = ['ghcr.io']", "serve.readers[0]", "PATTERN=USER"),
        ("[serve]\nreaders = ['ghcr.io=a,,b']", "serve.readers[0]", "PATTERN=USER"),
        ("[serve]\nreaders = ['ghcr io=a']", "serve.readers[0]", "not a pattern of repositories"),
        ("[serve]\naccess_age = -1", "serve.access_age", "not negative"),
        ("[serve]\naccess_log = 'xml'", "serve.access_log", "text, json or off"),
        ("[serve]\nwritable = 'yes'", "serve.writable", "true or false"),
        ("[serve]\nstall_timeout = 0", "serve.stall_timeout", "more than 0"),
        ("[serve]\nmax_header_size = 'big'", "serve.max_header_size", "8KiB or more"),
        ("[serve]\nmax_header_size = '4KiB'", "serve.max_header_size", "is 4096 bytes"),
        ("[registries.'a.b']\nmirrors = ['c.d/UPPER']", 'registries."a.b".mirrors[0]', "HOST"),
        *(
            (
                f"[registries.'a.b']\ncredentials_helper = '{name}'",
                'registries."a.b".credentials_helper',
                "without path",
            )
            for name in ("/bin/sh", "../x", "a b", "-x", "", "x;y")
        ),
    ],
)
def test_a_problem_is_reported_with_file_key_and_what_is_allowed(
    text: str, key: str, said: str, write: Callable[..., str]
) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}: {key}: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        f"tiers = ['s3://me:{SECRET}@bucket/x']",
        f"tiers = ['file://x?endpoint_url=https://me:{SECRET}@host']",
        f"tiers = [{{url = 's3://bucket', endpoint_url = 'https://me:{SECRET}@host/'}}]",
        f"[registries.'a.b']\nmirrors = ['me:{SECRET}@c.d']",
        f"[registries.'me:{SECRET}@a.b']",
    ],
)
def test_credentials_are_refused_and_not_repeated(text: str, write: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="credentials") as caught:
        load(write(text))
    told = str(caught.value)
    # A key is named as the file has it; its owner sees it there too.
    assert SECRET not in told.replace(f'registries."me:{SECRET}@a.b"', "")


def test_every_problem_is_reported_at_once(write: Callable[..., str]) -> None:
    path = write("ofline = 1\nverify = 2\n[caches.x]\ntiers = ['no']\n[registry]\nretries = 'x'")
    (document,) = files.find(path)
    _, checker = check(document)
    assert [each.key for each in checker.problems] == [
        "ofline",
        "verify",
        "caches.x.tiers[0]",
        "registry.retries",
    ]
    with pytest.raises(ConfigError, match="and 3 more"):
        load(path)


def test_in_pyproject_a_key_is_named_with_its_table(project: Path, write: Callable[..., str]) -> None:
    path = write("[tool.layercache]\nstrict = 1", project / "pyproject.toml")
    with pytest.raises(ConfigError, match=r"tool\.layercache\.strict: is an integer"):
        layercache.open()
    write("[tool.layercache]\ntiers = ['./x']", Path(path))
    assert load().choose().tiers[0].origin == f"{path}: tool.layercache.tiers[0]"


def test_a_wrong_option_of_a_backend_is_reported_with_the_key(write: Callable[..., str]) -> None:
    path = write("tiers = ['./x', {url = './y', speed = 3}]")
    with pytest.raises(ConfigError, match="unknown option speed") as caught:
        layercache.open(config=path)
    assert f"{path}: tiers[1]: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[registries.'a.b']\ninsecure = false", 'registries."a.b".insecure'),
        ("[registries.'a.b']\nplain_http = true", 'registries."a.b".plain_http'),
        ("[registries.'a.b']\nca_file = 'x.pem'", 'registries."a.b".ca_file'),
        ("[registries.'a.b']\ncredentials_helper = 'pass'", 'registries."a.b".credentials_helper'),
        ("[registry]\nca_file = 'x.pem'", "registry.ca_file"),
        ("[serve]\nport = 80", "serve"),
        ("tiers = ['s3://bucket?trusted=true']", "tiers[0]"),
        ("tiers = ['./x', {url = './y', trusted = true}]", "tiers[1].trusted"),
        ("tiers = ['s3://bucket/${MY_TOKEN}']", "tiers[0]"),
        ("tiers = ['s3://bucket/${aws_secret_access_key:-x}']", "tiers[0]"),
    ],
)
def test_a_projects_file_may_not_weaken_what_is_the_users(
    text: str, key: str, project: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", SECRET)
    (project / "x.pem").write_text("")
    path = write(text, project / "layercache.toml")
    with pytest.raises(ConfigError, match="a project's file may not") as caught:
        load()
    assert caught.value.message.startswith(f"{path}: {key}: ")
    assert SECRET not in str(caught.value)
    assert load(path).files, "it may where it is named"


def test_the_nearest_tier_of_a_project_is_hashed_unless_it_is_a_folder_elsewhere(
    project: Path, tmp_path: Path, write: Callable[..., str]
) -> None:
    (project / "inside").mkdir()
    (project / "link").symlink_to(project / "inside")
    (tmp_path / "way").symlink_to(project)
    trusted = {}
    for tier in ("./inside", f"{tmp_path}/way/inside", "./link", "~/layers", f"{tmp_path}/projects"):
        write(f"tiers = ['{tier}', './far']", project / "layercache.toml")
        with layercache.open() as cache:
            trusted[tier] = cache.tiers[0].policy.trusted
    assert list(trusted.values()) == [False, False, False, True, True]
