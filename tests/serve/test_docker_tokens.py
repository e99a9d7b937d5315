"""Token servers: the one that the mirror is to Docker, and those of upstreams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from serve.accounts import MANIFEST, NOBODY, OWNER, STRANGER, bearer, requests
from servers.mirror import Mirror
from servers.received import receive
from servers.registry import Registry
from servers.tokens import TokenServer

if TYPE_CHECKING:
    from pathlib import Path

    from serve.accounts import Start
    from servers.images import Sample


# Clients that can only do what Docker does


def test_docker_is_given_a_token_for_its_password_and_one_for_none(start: Start, private: Registry) -> None:
    mirror = start(private.host)
    host = {"host": "mirror.example:5000"}
    found = receive(mirror, "/v2/", host)
    assert found.status == 401
    challenge = 'Bearer realm="http://mirror.example:5000/token",service="layercache"'
    assert found.headers["www-authenticate"] == challenge
    for headers, status in ((NOBODY, 401), (OWNER, 200), (STRANGER, 401)):
        token = json.loads(receive(mirror, "/token", headers).body)["token"]
        assert receive(mirror, "/v2/", bearer(token)).status == 200
        found = receive(mirror, MANIFEST, {**bearer(token), **host})
        assert found.status == status
        if status == 401:
            assert found.headers["www-authenticate"] == f'{challenge},scope="repository:team/app:pull"'


def test_the_address_of_the_token_server_is_the_one_that_the_client_has_used(start: Start) -> None:
    mirror = start("docker.io")

    def realm(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return receive(mirror, "/v2/", named).headers["www-authenticate"].split('"')[1]

    assert realm(host="mirror:5000", x_forwarded_proto="https") == "https://mirror:5000/token"
    assert realm(host='x",service="y z') == "http://xserviceyz/token"
    assert realm() == "http://localhost/token"


def test_where_everybody_may_read_everything_nobody_is_asked_for_a_token(
    start: Start, public: Registry
) -> None:
    mirror = start(public.host, readers=("*=*",))
    assert receive(mirror, "/v2/").status == 200
    before = requests(public)
    assert receive(mirror, MANIFEST).status == 200
    assert [each.method for each in public.accesses()[before:]] == ["GET", "GET"]  # is it TLS? the manifest


# Addresses of the inside


def test_a_mirror_asks_no_token_server_of_the_inside_that_is_not_listed(
    tmp_path: Path, sample: Sample
) -> None:
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        asked = len(tokens.requests)
        with Mirror(tmp_path / "mirror", config=f'default_upstream = "{registry.host}"') as mirror:
            found = mirror.get(MANIFEST)
            assert (found.status, json.loads(found.body)["errors"][0]["code"]) == (502, "UNAVAILABLE")
            assert len(tokens.requests) == asked
