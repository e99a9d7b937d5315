"""``layercache serve`` as it is typed: what it checks, prints and refuses."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from servers.mirror import Mirror

from layercache.serve import start
from layercache.serve.greeting import greeting
from layercache.serve.listening import listen
from layercache.serve.settings import ServeSettings
from layercache.serve.setup import Setup

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller


def test_check_validates_and_exits(cli: Caller) -> None:
    assert cli("serve", "--check").stdout == "OK\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cache", "nonsense://x"), "nonsense"),
        (("--tls-key", sys.executable), "--tls-key: tls_key is set, and tls_certificate is not"),
        (("--tls-key", sys.executable, "--tls-certificate", sys.executable), "are not a certificate and"),
        (("--upstream", "https://ghcr.io"), "--upstream"),
        (("--address", "http://x"), "--address"),
        (("--port", "65536"), "65536"),
        (("--workers", "0"), "0 is not in the range"),
    ],
)
def test_what_is_wrong_is_reported_before_anything_is_served(
    cli: Caller, options: tuple[str, ...], message: str
) -> None:
    for more in ((), ("--check",)):
        result = cli("serve", *options, *more, code=2)
        assert message in result.stderr
        assert result.stdout == ""


def test_a_port_in_use_is_an_error(cli: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("serve", "--port", str(port), code=4)
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in result.stderr
    assert "--port" in result.stderr


def test_an_address_of_another_machine_is_an_error(cli: Caller) -> None:
    assert "cannot listen at 192.0.2.1:5000" in cli("serve", "--address", "192.0.2.1", code=4).stderr
    assert "no address 'no.such.invalid'" in cli("serve", "--address", "no.such.invalid", code=2).stderr


def test_localhost_is_where_every_client_looks_for_it() -> None:
    with listen("localhost", 0, stall_timeout=60) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_a_connection_has_the_time_limit_of_the_socket_that_accepted_it() -> None:
    with (
        listen("127.0.0.1", 0, stall_timeout=1.5) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_the_first_lines_fit_a_terminal_and_have_the_port(address: str) -> None:
    with listen(address, 0, stall_timeout=60) as listening:
        setup = Setup(ServeSettings(), lambda: pytest.fail("not opened"), ("file:///var/cache", "s3://team"))
        text = greeting(setup, listening)
        port = listening.getsockname()[1]
    assert max(map(len, text.splitlines())) <= 80
    assert f":{port}/docker.io/library/alpine" in text
    assert "[::1]" in text if address == "::1" else address == "127.0.0.1" or "0.0.0.0" not in text
    assert "insecure = true" in text


def test_options_override_variables_and_these_the_file(tmp_path: Path) -> None:
    mirror = Mirror(
        tmp_path,
        config='address = "192.0.2.1"\nworkers = 2\naccess_log = "json"',
        options=["--access-log", "off"],
        environment={"LAYERCACHE_SERVE_ADDRESS": "127.0.0.1", "LAYERCACHE_SERVE_ACCESS_LOG": "text"},
    )
    with mirror:
        assert len(mirror.workers()) == 2
        mirror.get("/healthz")
        assert mirror.stop() == 0
    assert "GET" not in mirror.log


def started_by_systemd(descriptor: int, count: int, folder: Path) -> subprocess.Popen[str]:
    """``layercache serve`` as systemd starts it, with a file as descriptor 3."""
    code = f"""
import os, sys
os.dup2({descriptor}, 3)
os.environ |= {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "{count}", "LAYERCACHE_CONFIG": "/dev/null"}}
os.execv(sys.executable, [sys.executable, "-m", "layercache", "--cache", "{folder}/c", "serve"])
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=[descriptor],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_socket_of_systemd_is_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        mirror = Mirror(tmp_path)
        mirror.port = passed.getsockname()[1]
        with started_by_systemd(passed.fileno(), 1, tmp_path) as process:
            assert mirror.get("/healthz").status == 200  # it has waited in the queue of the socket
            process.terminate()
            _, printed = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"at http://127.0.0.1:{mirror.port}," in printed


@pytest.mark.parametrize(("count", "message"), [(2, "systemd passes 2 sockets"), (1, "is not a")])
def test_what_systemd_passes_must_be_one_socket(tmp_path: Path, count: int, message: str) -> None:
    with (
        (tmp_path / "file").open("wb") as file,
        started_by_systemd(file.fileno(), count, tmp_path) as process,
    ):
        assert message in process.communicate(timeout=60)[1]
    assert process.returncode == 2


def test_the_limit_of_open_files_is_raised_or_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    assert start.raise_file_limit(ServeSettings(max_connections=100, max_streams=500)) == ""
    assert "a process may have 4096 files open" in start.raise_file_limit(ServeSettings(max_connections=5000))
    assert set_to == [(2480, 4096), (4096, 4096)]


def test_without_its_packages_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "granian").mkdir()
    (tmp_path / "granian" / "__init__.py").write_text("raise ModuleNotFoundError('x', name='granian')")
    done = subprocess.run(
        [sys.executable, "-m", "layercache", "--cache", "memory://", "serve", "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert re.search(r"needs the package granian(.|\n)*oci-layercache\[serve\]", done.stderr)
