"""Addresses of the inside are not contacted unless they are listed, whoever names them and however."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from layercache.errors import NotFoundError, SourceError
from layercache.oci.reference import Reference
from layercache.registry.client import RegistryClient
from layercache.registry.http import Http
from layercache.registry.inside import Inside
from layercache.registry.settings import RegistrySettings
from layercache.sources.registry import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Iterator


class Neighbour:
    """An HTTP server of the inside, which counts the connections that are made to it."""

    def __init__(self, answer: tuple[int, dict[str, str]] = (200, {})) -> None:
        self.connections = 0
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                status, headers = answer
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def neighbour(status: int = 200, **headers: str) -> Iterator[Neighbour]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    server = Neighbour((status, named))
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
@pytest.mark.parametrize("inside", [(), ("10.0.0.0/8",), ("other.example",), ("127.0.0.1:1",)])
def test_an_address_of_the_inside_is_not_even_connected_to(host: str, inside: tuple[str, ...]) -> None:
    with neighbour() as server:
        http = Http(RegistrySettings(inside=inside))
        with pytest.raises(SourceError, match="is at an address of the inside"):
            http.send("GET", f"http://{host}:{server.port}/", {})
        assert server.connections == 0


def test_what_is_listed_is_contacted_by_name_by_name_and_port_by_address_and_by_network() -> None:
    with neighbour() as server:
        for host, inside in (
            ("localhost", "localhost"),
            ("LOCALHOST", f"localhost:{server.port}"),
            ("127.0.0.1", "127.0.0.1"),
            ("localhost", "127.0.0.0/8"),
            ("[::ffff:127.0.0.1]", "127.0.0.0/8"),
        ):
            http = Http(RegistrySettings(inside=(inside,)))
            assert http.send("GET", f"http://{host}:{server.port}/", {}).status == 200
        assert server.connections == 5


def test_without_a_list_every_address_is_contacted() -> None:
    with neighbour() as server:
        assert Http(RegistrySettings()).send("GET", f"http://localhost:{server.port}/", {}).status == 200


def test_a_name_is_resolved_once_and_connected_to_at_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    resolve = socket.getaddrinfo

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        address = "192.88.0.1" if len(asked) == 1 else "127.0.0.1"  # the first is of the internet
        return resolve(address if host == "rebinding.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with neighbour() as server:
        http = Http(RegistrySettings(inside=(), connect_timeout=0.2))
        with pytest.raises(SourceError):
            http.send("GET", f"http://rebinding.example:{server.port}/", {})
        assert asked.count("rebinding.example") == 1
        assert server.connections == 0


def test_a_redirect_does_not_lead_inside() -> None:
    with neighbour() as target, neighbour(307, Location=f"http://127.0.0.1:{target.port}/x") as registry:
        settings = RegistrySettings(inside=(f"127.0.0.1:{registry.port}",))
        reference = Reference.parse(f"127.0.0.1:{registry.port}/team/app:1")
        with pytest.raises(SourceError, match="is at an address of the inside"):
            RegistrySource(RegistryClient(settings), reference).root()
        assert registry.requests
        assert target.connections == 0


def test_a_token_server_that_a_registry_names_is_not_asked_inside() -> None:
    with neighbour() as tokens:
        challenge = f'Bearer realm="http://127.0.0.1:{tokens.port}/token",service="x"'
        with neighbour(401, WWW_Authenticate=challenge) as registry:
            settings = RegistrySettings(inside=(f"127.0.0.1:{registry.port}",))
            reference = Reference.parse(f"127.0.0.1:{registry.port}/team/app:1")
            with pytest.raises(SourceError, match="is at an address of the inside"):
                RegistrySource(RegistryClient(settings), reference).root()
            assert tokens.connections == 0


def test_mirrors_of_the_configuration_may_be_inside() -> None:
    with neighbour(404) as mirror, neighbour(404) as registry:
        host = f"127.0.0.1:{registry.port}"
        settings = RegistrySettings(inside=(host,), mirrors={host: (f"127.0.0.1:{mirror.port}",)}, retries=0)
        with pytest.raises((SourceError, NotFoundError)):
            RegistrySource(RegistryClient(settings), Reference.parse(f"{host}/team/app:1")).root()
        assert mirror.requests


def test_a_proxy_is_not_asked_for_an_address_of_the_inside() -> None:
    with neighbour() as proxy:
        settings = RegistrySettings(inside=(), proxies={"http": f"http://127.0.0.1:{proxy.port}"})
        with pytest.raises(SourceError, match="is at an address of the inside"):
            Http(settings).send("GET", "http://169.254.169.254/latest/", {})
        assert proxy.connections == 0
        Http(settings).send("GET", "http://registry.example/v2/", {})
        assert proxy.requests == ["http://registry.example/v2/"]


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001:0:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1%eth0",
        "ff02::1",
    ],
)
def test_every_kind_of_address_of_the_inside_is_known(address: str) -> None:
    assert not Inside([]).allows(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    assert Inside([]).allows(address)
