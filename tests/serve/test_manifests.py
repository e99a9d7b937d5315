"""Manifests through the mirror: what clients get, and how often the upstream is asked."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from servers.asking import ask
from servers.images import make_image, make_index, sample_layers
from servers.lying import error_body, status, wrong_bytes

from layercache.oci.descriptor import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from layercache.oci.digest import Digest
from layercache.tiers import image_refs

if TYPE_CHECKING:
    from servers.asking import Serve
    from servers.images import Sample
    from servers.lying import Answer, LyingRegistry, Request

APP = "/v2/app/manifests/1"
CLIENTS = 20


def asked(lying: LyingRegistry) -> list[str]:
    """The methods of all requests for manifests that the upstream got."""
    return [each.method for each in lying.requests if "/manifests/" in each.path]


def test_a_manifest_has_the_upstreams_bytes_type_digest_and_an_etag(serve: Serve, sample: Sample) -> None:
    mirror, image = serve(), sample.image
    for method in ("HEAD", "GET", "GET"):
        answer = ask(mirror, APP, method)
        assert (answer.status, answer.body) == (200, image.manifest)
        assert answer.headers["content-type"] == image.media_type
        assert answer.headers["content-length"] == str(len(image.manifest))
        assert answer.headers["docker-content-digest"] == image.descriptor.digest
        assert answer.headers["etag"] == f'"{image.descriptor.digest}"'


@pytest.mark.parametrize("kind", ["text/html", f"{OCI_MANIFEST}\r\nx-evil: 1", "application/x y", "image/é"])
def test_a_document_is_not_served_as_what_a_browser_would_run(
    serve: Serve, lying: LyingRegistry, sample: Sample, kind: str
) -> None:
    fields = json.loads(sample.image.manifest)
    page = json.dumps({**fields, "mediaType": kind, "x": "<script>alert(1)</script>"}).encode()
    lying.add_manifest("page", kind.partition("\r")[0], page)
    for path in ("/v2/app/manifests/page", f"/v2/app/manifests/{Digest.of(page)}"):
        answer = ask(serve(), path)
        assert (answer.status, answer.headers["content-type"]) == (502, "application/json")


def test_a_cold_tag_costs_one_request_and_a_warm_one_none(serve: Serve, lying: LyingRegistry) -> None:
    mirror = serve()
    first, second = ask(mirror, APP), ask(mirror, APP)
    assert (first.headers["x-layercache"], first.quick) == ("miss", False)
    assert (second.headers["x-layercache"], second.quick) == ("hit", True)
    assert asked(lying) == ["GET"]


def test_a_tag_that_another_process_checked_is_not_checked_again(serve: Serve, lying: LyingRegistry) -> None:
    ask(serve(), APP)
    assert ask(serve(), APP).headers["x-layercache"] == "hit"
    assert asked(lying) == ["GET"]


def test_an_old_tag_is_checked_by_one_head(serve: Serve, lying: LyingRegistry) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    assert ask(mirror, APP).headers["x-layercache"] == "hit"
    assert asked(lying) == ["GET", "HEAD"]


def test_a_tag_that_moved_is_fetched(serve: Serve, lying: LyingRegistry) -> None:
    mirror, moved = serve(tag_age=0), make_image(sample_layers(7))
    ask(mirror, APP)
    lying.add_image("1", moved)
    answer = ask(mirror, APP)
    assert (answer.body, answer.headers["x-layercache"]) == (moved.manifest, "miss")
    assert asked(lying) == ["GET", "HEAD", "GET"]


def test_a_digest_to_which_a_tag_led_costs_no_request(
    serve: Serve, lying: LyingRegistry, sample: Sample
) -> None:
    mirror = serve()
    ask(mirror, APP, "HEAD")
    answer = ask(mirror, f"/v2/app/manifests/{sample.image.descriptor.digest}")
    assert (answer.status, answer.body) == (200, sample.image.manifest)
    assert asked(lying) == ["GET"]


def test_a_cached_digest_is_asked_for_where_another_repository_has_it(
    serve: Serve, lying: LyingRegistry, sample: Sample
) -> None:
    mirror, digest = serve(), sample.image.descriptor.digest
    ask(mirror, APP)
    lying.on("/v2/private/", *[status(404, error_body("MANIFEST_UNKNOWN", ""))] * 2)
    assert ask(mirror, f"/v2/private/manifests/{digest}").code == "MANIFEST_UNKNOWN"
    assert ask(mirror, f"/v2/public/manifests/{digest}").status == 200
    assert asked(lying) == ["GET", "HEAD", "GET", "HEAD"]


def test_a_cached_digest_is_not_given_for_another_repository_while_the_upstream_is_down(
    serve: Serve, lying: LyingRegistry, sample: Sample
) -> None:
    mirror = serve()
    ask(mirror, APP)
    lying.on("/v2/private/", *[status(503)] * 9)
    answer = ask(mirror, f"/v2/private/manifests/{sample.image.descriptor.digest}")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")


def test_many_clients_cost_one_request(serve: Serve, lying: LyingRegistry) -> None:
    waiting, mirror, enough = [], serve(tag_age=0), threading.Event()

    def slow(_: Request, __: Answer) -> None:
        assert enough.wait(60)

    def client() -> int:
        waiting.append(1)
        if len(waiting) == CLIENTS:
            enough.set()
        return ask(mirror, APP).status

    lying.on("/manifests/", slow)
    with ThreadPoolExecutor(CLIENTS) as clients:
        assert [each.result() for each in [clients.submit(client) for _ in range(CLIENTS)]] == [200] * CLIENTS
    assert asked(lying) == ["GET"]


def test_processes_that_share_a_disk_take_turns_to_ask(serve: Serve, lying: LyingRegistry) -> None:
    first, second, third = serve(), serve(), threading.Event()

    def slow(_: Request, __: Answer) -> None:
        assert third.wait(60)

    lying.on("/manifests/", slow)
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(ask, mirror, APP) for mirror in (first, second)]
        threading.Timer(0.3, third.set).start()
        assert [each.result().status for each in answers] == [200, 200]
    assert asked(lying) == ["GET"]


def test_what_the_upstream_lacks_is_not_asked_for_again_at_once(serve: Serve, lying: LyingRegistry) -> None:
    mirror = serve()
    for _ in range(3):
        answer = ask(mirror, "/v2/app/manifests/none")
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert len(asked(lying)) == 1
    mirror = serve(missing_age=0)
    ask(mirror, "/v2/app/manifests/none")
    ask(mirror, "/v2/app/manifests/none")
    assert len(asked(lying)) == 3


def test_a_tag_that_was_deleted_is_gone(serve: Serve, lying: LyingRegistry) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    lying.on(APP, *[status(404, error_body("MANIFEST_UNKNOWN", "gone"))] * 2)
    assert ask(mirror, APP).code == "MANIFEST_UNKNOWN"


def test_if_none_match_saves_the_body(serve: Serve, sample: Sample) -> None:
    mirror, etag = serve(), f'"{sample.image.descriptor.digest}"'
    for _ in range(2):
        for wanted in (etag, f'"other", W/{etag}', "*"):
            answer = ask(mirror, APP, headers={"if-none-match": wanted})
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
        assert ask(mirror, APP, headers={"if-none-match": '"other"'}).status == 200


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (OCI_MANIFEST, 200),
        ("*/*", 200),
        ("application/*;q=0.5", 200),
        (f"{DOCKER_MANIFEST}, {OCI_MANIFEST};q=0.1", 200),
        (f"{DOCKER_MANIFEST}\n{OCI_MANIFEST}", 200),
        (DOCKER_MANIFEST, 404),
        (f"{OCI_INDEX}, text/html", 404),
    ],
)
def test_a_client_gets_a_manifest_only_of_a_type_that_it_accepts(
    serve: Serve, accept: str, found: int
) -> None:
    mirror = serve()
    for _ in range(2):
        answer = ask(mirror, APP, headers={"accept": accept})
        assert answer.status == found
        if found == 404:
            assert (answer.code, OCI_MANIFEST in answer.body.decode()) == ("MANIFEST_UNKNOWN", True)


def test_wrong_bytes_are_not_served_and_not_kept(serve: Serve, lying: LyingRegistry, sample: Sample) -> None:
    mirror = serve()
    lying.on(f"/manifests/{sample.image.descriptor.digest}", wrong_bytes)
    assert ask(mirror, f"/v2/app/manifests/{sample.image.descriptor.digest}").status >= 500
    answer = ask(mirror, f"/v2/app/manifests/{sample.image.descriptor.digest}")
    assert (answer.status, answer.body) == (200, sample.image.manifest)


@pytest.mark.parametrize("path", ["/v2/app/manifests/sha256:123", "/v2/app/manifests/md5:0123"])
def test_a_digest_that_is_none_is_refused(serve: Serve, path: str) -> None:
    answer = ask(serve(), path)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_client_that_knows_no_lists_gets_dockers_manifest_for_amd64_by_tag(
    serve: Serve, lying: LyingRegistry
) -> None:
    images = [
        make_image(sample_layers(docker=True), each, docker=True) for each in ("linux/arm64", "linux/amd64")
    ]
    listed = make_index(images, docker=True)
    lying.add_image("docker", listed)
    mirror, old = serve(), {"accept": DOCKER_MANIFEST}
    for _ in range(2):
        answer = ask(mirror, "/v2/app/manifests/docker", headers=old)
        assert (answer.status, answer.body) == (200, images[1].manifest)
        assert answer.headers["docker-content-digest"] == images[1].descriptor.digest
        assert ask(mirror, "/v2/app/manifests/docker").body == listed.manifest
    assert ask(mirror, f"/v2/app/manifests/{listed.descriptor.digest}", headers=old).status == 404
    assert ask(mirror, "/v2/app/manifests/index", headers=old).status == 404


def test_a_tag_that_is_not_cached_is_not_looked_for_among_all_that_are(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve()
    ask(mirror, APP)

    def everything(*_: object) -> None:
        pytest.fail("each cached image was read")

    monkeypatch.setattr(image_refs, "images", everything)
    assert ask(mirror, "/v2/app/manifests/index").status == 200
    assert ask(mirror, "/v2/app/manifests/none").status == 404
