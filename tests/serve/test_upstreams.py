"""Which registry a path of the mirror stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.asking import ask
from servers.lying import LyingRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.asking import Serve
    from servers.images import Sample

DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def other(sample: Sample) -> Iterator[LyingRegistry]:
    """A second upstream, with ``app:2``."""
    with LyingRegistry() as running:
        running.add_image("2", sample.image)
        yield running


def test_many_upstreams_are_served_by_path_by_ns_and_by_default(serve: Serve, other: LyingRegistry) -> None:
    mirror = serve(upstreams=("*",))
    assert ask(mirror, "/v2/app/manifests/1").status == 200
    assert ask(mirror, "/v2/app/manifests/2").status == 404
    assert ask(mirror, f"/v2/{other.host}/app/manifests/2").status == 200
    assert ask(mirror, "/v2/app/manifests/2", ns=other.host).status == 200
    assert ask(mirror, f"/v2/{other.host}/app/manifests/2", ns=other.host).status == 200
    assert [each.path for each in other.asked("/manifests/")] == ["/v2/app/manifests/2"]


@pytest.mark.parametrize(
    "ns", ["app", "http://127.0.0.1", "a/b.c", "..", "[::1", "a.b:x", "user@a.b", "a.b?c", f"{'a' * 300}.b"]
)
def test_an_ns_that_names_no_registry_is_refused_and_nobody_is_asked(
    serve: Serve, lying: LyingRegistry, ns: str
) -> None:
    answer = ask(serve(upstreams=("*",)), "/v2/app/manifests/1", ns=ns)
    assert (answer.status, answer.code) == (400, "NAME_INVALID")
    assert lying.requests == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/App/manifests/1", 404),
        ("/v2/aPP/manifests/1", 400),
        ("/v2/a//b/manifests/1", 400),
        ("/v2/a/../b/manifests/1", 400),
        ("/v2/-a/manifests/1", 404),
        (f"/v2/{'a' * 300}/manifests/1", 400),
        (f"/v2/{'a/' * 600}b/manifests/1", 404),
        (f"/v2/app/manifests/{'1' * 129}", 400),
        ("/v2/app/manifests/.1", 404),
        ("/v2/app/manifests/", 404),
        ("/v2/app/manifests/1/", 404),
        ("/v2/app/manifests/1\n", 404),
        ("/v2/app/manifests/%2e%2e", 404),
        ("/v2/app%2fb/manifests/1", 404),
        ("//v2/app/manifests/1", 404),
        ("http://127.0.0.1/v2/app/manifests/1", 404),
    ],
)
def test_a_path_outside_the_grammar_reaches_no_upstream(
    serve: Serve, lying: LyingRegistry, path: str, status: int
) -> None:
    answer = ask(serve(upstreams=("*",)), path)
    assert answer.status == status
    assert answer.code in ("NAME_INVALID", "NOT_FOUND")
    assert lying.requests == []
