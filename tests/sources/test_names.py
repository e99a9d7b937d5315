"""A name says by its prefix which source is meant; and how registries are reached is set, not guessed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from layercache.errors import ConfigError, InvalidNameError
from layercache.oci.reference import Reference
from layercache.registry.settings import RegistrySettings, is_loopback
from layercache.sources.names import registry_reference, split_path
from layercache.sources.opening import open_source
from layercache.sources.registry import RegistryClient, RegistrySource

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample


def never() -> RegistryClient:
    raise AssertionError("a registry's client was asked for")


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("alpine", "alpine"),
        ("docker://alpine:3", "alpine:3"),
        ("localhost:5000/oci:1", "localhost:5000/oci:1"),
        ("oci-app:1", "oci-app:1"),
        ("dir", "dir"),
    ],
)
def test_what_has_no_prefix_is_a_registrys_reference(name: str, reference: str) -> None:
    assert registry_reference(name) == Reference.parse(reference)
    source = open_source(name, RegistryClient)
    assert isinstance(source, RegistrySource)
    assert source.name == Reference.parse(reference).name
    source.close()


@pytest.mark.parametrize(
    "name",
    [
        "docker-daemon:alpine",
        "dir:/srv",
        "containers-storage:x",
        "docker://docker-daemon:x",
    ],
)
def test_an_unknown_transport_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match=r"docker-archive:PATH\[:REF\]") as caught:
        open_source(name, never)
    assert "oci:PATH" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("https://ghcr.io/a:1", "leave out https://: ghcr.io/a:1"),
        ("http://host:5000/a", "--plain-http host:5000: host:5000/a"),
        ("dir:/srv", "skopeo copy dir:/srv oci:FOLDER:TAG"),
        ("docker-daemon:app:1", "docker save -o FILE app:1, and name that: docker-archive:FILE"),
        ("podman:app:1", "podman save -o FILE app:1"),
    ],
)
def test_another_tools_transport_is_answered_by_what_to_write(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry_reference(name)
    assert hint in caught.value.hint


def test_the_path_of_a_file_is_answered_by_the_transport_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layout").mkdir()
    (tmp_path / "image").touch()
    for name, hint in {
        "./layout": "an OCI layout is named oci:./layout",
        "~/layout": "an OCI layout is named oci:~/layout",
        f"{tmp_path}/image": f"an archive of docker save is named docker-archive:{tmp_path}/image",
        "app.tar": "docker-archive:app.tar",
        "out/app.tar.gz": "docker-archive:out/app.tar.gz",
        "/nowhere": "oci:/nowhere for an OCI layout, docker-archive:/nowhere",
        "..": "oci:..",
    }.items():
        with pytest.raises(ConfigError, match="is a path, not an image") as caught:
            registry_reference(name)
        assert hint in caught.value.hint


def test_a_tilde_is_the_home_folder_wherever_a_path_follows_a_transport(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert split_path("~/layout:tag", lambda _: False) == (f"{tmp_path}/layout", "tag")
    assert split_path("./~/layout", lambda _: False) == ("./~/layout", "")


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidNameError):
        open_source("docker://Alpine", never)


def test_a_local_source_asks_for_no_client_and_loads_no_http(sample: Sample) -> None:
    assert registry_reference(f"oci:{sample.layout}:image") is None
    open_source(f"oci:{sample.layout}:image", never).root()
    program = (
        "import sys; from layercache.sources.opening import open_source\n"
        f"open_source('oci:{sample.layout}:image', None).root()\n"
        "import layercache.registry.settings\n"
        "sys.exit('urllib3' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("text", "there", "parts"),
    [
        ("/a", "/a", ("/a", "")),
        ("/a:b", "/a", ("/a", "b")),
        ("/a:b", "/a:b", ("/a:b", "")),
        ("/a:b:c:d", "/a:b", ("/a:b", "c:d")),
        ("/a:b:c", "", ("/a", "b:c")),
        ("/a:", "/a", ("/a", "")),
    ],
)
def test_a_path_ends_at_the_first_colon_up_to_which_something_is_there(
    text: str, there: str, parts: tuple[str, str]
) -> None:
    assert split_path(text, lambda path: path == there) == parts


def test_of_two_paths_that_are_there_the_shorter_is_meant() -> None:
    assert split_path("/a:b", lambda _: True) == ("/a", "b")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5000", "a.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:5"]
)
def test_this_machine_is_known_by_its_name(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "128.0.0.1", "ghcr.io", "[::2]:5000", "nolocalhost"])
def test_another_machine_is_not_taken_for_this_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("listed", "registry", "found"),
    [
        ("a.example", "a.example", True),
        ("a.example", "a.example:5000", True),
        ("a.example:5000", "a.example:5000", True),
        ("a.example:5000", "a.example", False),
        ("a.example:5000", "a.example:5001", False),
        ("example", "a.example", False),
        ("::1", "[::1]:5000", True),
    ],
)
def test_a_listed_host_stands_for_all_its_ports(listed: str, registry: str, found: bool) -> None:
    settings = RegistrySettings(plain_http=(listed,), insecure=(listed,))
    assert settings.is_plain_http(registry) is found
    assert settings.is_insecure(registry) is found


@pytest.mark.parametrize(
    ("no", "host", "proxied"),
    [
        ("", "ghcr.io", True),
        ("*", "ghcr.io", False),
        ("ghcr.io", "ghcr.io", False),
        ("ghcr.io", "ghcr.io:443", False),
        ("ghcr.io:444", "ghcr.io:444", False),
        (".example, quay.io", "a.example", False),
        ("example", "a.example", False),
        ("example", "counterexample", True),
        ("10.0.0.0/8", "10.1.2.3:5000", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("fd00::/8", "[fd00::1]:5000", False),
        ("fd00::1", "[fd00::1]", False),
        ("", "localhost:5000", False),
    ],
)
def test_a_proxy_is_used_unless_the_host_is_excepted(no: str, host: str, proxied: bool) -> None:
    settings = RegistrySettings(proxies={"https": "http://proxy:3128", "no": no})
    assert settings.proxy_for("https", host) == ("http://proxy:3128" if proxied else None)
    assert settings.proxy_for("http", host) is None


@pytest.mark.parametrize(
    "name", ["http://me:secret@host:5000", "http://me:secret@host:443/app", "https://me:secret@host"]
)
def test_a_password_before_a_host_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry_reference(name)
    assert "secret" not in str(caught.value)
