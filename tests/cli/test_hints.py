"""Messages that used to mislead: each names the cause, and the option or the file that mends it."""

from __future__ import annotations

import base64
import errno
import json
import os
import socket
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from fixtures.calling import Caller
from servers.registry import Registry

from layercache.errors import LayercacheError
from layercache_backends.local.spool import LocalSpool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from servers.certificates import Certificate


@contextmanager
def hanging_up() -> Iterator[str]:
    """A server that closes each connection, as a TLS server does that gets plain HTTP. Gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.close()

        Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_plain_http_at_a_port_for_tls_is_recognized(
    cli: Caller, tmp_path: Path, certificate: Certificate
) -> None:
    with Registry(tmp_path / "registry", tls=certificate) as registry:
        said = cli("pull", f"{registry.host}/app:1", "--plain-http", registry.host, code=4).stderr
        assert f"{registry.host} speaks TLS, and was contacted without it" in said
        assert f"leave out --plain-http {registry.host}" in said


def test_a_server_that_hangs_up_on_plain_http_may_want_tls(cli: Caller) -> None:
    with hanging_up() as host:
        said = cli("pull", f"{host}/app:1", "--plain-http", host, code=4).stderr
    assert f"if it speaks TLS, leave out --plain-http {host}" in said


def test_the_hint_for_a_certificate_names_the_options_and_the_keys(
    cli: Caller, tmp_path: Path, certificate: Certificate
) -> None:
    with Registry(tmp_path / "registry", tls=certificate) as registry:
        for command in (["pull", f"{registry.host}/app:1"], ["doctor", registry.host]):
            said = cli(*command, code=4).output
            for word in ("--ca-file FILE", "ca_file", f"--insecure {registry.host}", "insecure in the"):
                assert word in said.replace("(insecure)", "insecure in the")
        assert cli("doctor", registry.host, "--insecure", registry.host).exit_code == 0
        assert cli("doctor", registry.host, "--ca-file", str(certificate.authority)).exit_code == 0


def test_a_registry_that_is_down_is_answered_by_what_still_works(cli: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    said = cli("pull", f"{host}/app:1", code=4).stderr
    assert f"cannot connect to {host}" in said
    for way in ("--offline", "mirror", "HTTPS_PROXY"):
        assert way in said


def test_docker_hub_is_named_by_the_name_that_was_typed(cli: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    said = cli("pull", "alpine", code=4).stderr
    assert "there is no host registry-1.docker.io, which serves docker.io: Name or service" in said
    assert "--offline" in said


def test_a_wrong_password_is_reported_with_its_user_and_its_file(
    cli: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "auth.json"
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        wrong = base64.b64encode(b"ann:hunter2").decode()
        path.write_text(json.dumps({"auths": {registry.host: {"auth": wrong}}}))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
        said = cli("pull", f"{registry.host}/private/app:1", code=4).stderr
    assert f"as the user ann (from {path}): 401" in said
    assert "password or token may be wrong or too old" in said
    assert "hunter2" not in said


def test_an_image_that_is_not_there_is_no_riddle_of_codes(cli: Caller, registry: Registry) -> None:
    said = cli("pull", f"{registry.host}/team/ap:1", code=1).stderr
    assert "MANIFEST_UNKNOWN" in said.splitlines()[0] or "NAME_UNKNOWN" in said.splitlines()[0]
    assert f"check the name; layercache tags {registry.host}/team/ap" in said


def test_one_cause_is_reported_once(layout: str) -> None:
    said = Caller("file:///proc/nowhere")("pull", layout, code=4).stderr
    assert said.count("No such file or directory") == 1, said
    assert said.startswith("layercache: warning: skipped file:///proc/nowhere: ")
    assert "layercache: not everything could be stored, for the reason above" in said


def test_a_disk_without_room_is_reported_once_with_what_to_do(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalSpool.write

    def refuse(spool: LocalSpool, data: bytes) -> None:
        if spool._what != "writing a temporary file":
            return write(spool, data)
        raise spool._backend.failure(spool._what, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr(LocalSpool, "write", refuse)
    said = Caller(f"file://{tmp_path}/cache")("pull", layout, code=4).stderr
    assert said.count("writing a temporary file: No space left on device\n  hint       the disk is full") == 1
    assert said.count("the disk is full") == 1
    assert "layercache: not everything could be stored, for the reason above" in said


def test_many_places_are_listed_one_a_line() -> None:
    short = LayercacheError("x", looked_in=["/a", "/b"])
    assert str(short).splitlines()[1:] == ["  looked in  /a, /b"]
    long = LayercacheError("x", looked_in=[f"/{'a' * 30}", f"/{'b' * 30}", f"/{'c' * 30}"])
    assert [line[13:] for line in str(long).splitlines()[1:]] == list(long.looked_in)


def test_an_unknown_option_names_those_of_the_store_and_of_every_tier(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/x?read_only=true"
    said = Caller(url)("stats", code=2).stderr
    assert "did you mean readonly?" in said
    for option in ("sync", "shared", "keep", "readonly", "trusted", "max_size", "max_age", "touch"):
        assert option in said.split("options of file://:")[1], option


def test_hashes_in_upper_case_are_recognized(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    upper = "AB" * 32
    for typed, meant in (
        (f"sha256:{upper}", f"sha256:{upper.lower()}"),
        (upper, upper.lower()),
        ("ABCDEF", "abcdef"),
    ):
        assert f"hex digits are lower case: {meant}" in cli("get", typed, code=2).stderr


def test_too_few_digits_of_a_hash_state_how_many_are_needed(cli: Caller, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert "6 or more of the first digits" in cli("get", "abcde", code=2).stderr


def test_a_benchmark_of_next_to_nothing_names_the_least_size(cli: Caller) -> None:
    assert "expected 100kB to 1GiB" in cli("bench", "--size", "10", code=2).stderr
