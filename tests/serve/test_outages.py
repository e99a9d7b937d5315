"""A mirror that starts while its upstream is down serves what everybody could read, and nothing else."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from typing import TYPE_CHECKING

from serve.test_manifests import APP
from servers.asking import ask
from servers.lying import error_body, status

import layercache
from layercache.copy import Copy, Selection
from layercache.oci.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from servers.asking import Serve
    from servers.images import Sample
    from servers.lying import Answer, LyingRegistry, Request

UPSTREAMS_SAY: dict[str, tuple[str, ...]] = {"readers": ()}
"""The setting of a mirror whose upstreams decide who may read what."""


def stop(lying: LyingRegistry) -> None:
    lying.on("/v2/", *[status(503)] * 999)


def test_a_public_image_is_served_by_tag_by_digest_and_by_blob(
    serve: Serve, lying: LyingRegistry, sample: Sample
) -> None:
    first, image = serve(**UPSTREAMS_SAY), sample.image
    assert ask(first, APP).status == 200
    for digest in image.blobs:
        assert ask(first, f"/v2/app/blobs/{digest}").status == 200
    stop(lying)
    mirror = serve(tag_age=0, **UPSTREAMS_SAY)
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    assert ask(mirror, f"/v2/app/manifests/{image.descriptor.digest}").body == image.manifest
    for digest, blob in image.blobs.items():
        assert ask(mirror, f"/v2/app/blobs/{digest}").body == blob
    assert ask(mirror, "/v2/other/manifests/1").status == 503


def test_an_image_that_was_pulled_otherwise_is_not_taken_for_public(
    serve: Serve, lying: LyingRegistry, tmp_path: Path
) -> None:
    ask(serve(**UPSTREAMS_SAY), APP)
    with layercache.open(f"file://{tmp_path}/cache") as cache:
        cache.image(f"{lying.host}/app:index")
    stop(lying)
    answer = ask(serve(**UPSTREAMS_SAY), APP)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")


def test_an_image_that_only_the_mirror_could_read_is_not_taken_for_public(
    serve: Serve, lying: LyingRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = False

    def private(request: Request, answer: Answer) -> None:
        if down:
            answer.status, answer.body = 503, b""
        elif "authorization" not in request.headers:
            answer.status, answer.body = 401, error_body("UNAUTHORIZED", "log in")
            answer.headers = {"WWW-Authenticate": 'Basic realm="any"'}

    login = tmp_path / "auth.json"
    login.write_text(json.dumps({"auths": {lying.host: {"auth": b64encode(b"me:secret").decode()}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login))
    lying.on("/v2/app/", *[private] * 99)
    assert ask(serve(readers=("*=*",)), APP).status == 200  # by a rule of the configuration
    assert ask(serve(**UPSTREAMS_SAY), APP).status == 401
    down = True
    assert ask(serve(**UPSTREAMS_SAY), APP).status == 503


def test_a_slow_upstream_is_waited_for_once_not_for_the_right_and_again_for_the_tag(
    serve: Serve, lying: LyingRegistry
) -> None:
    ask(serve(**UPSTREAMS_SAY), APP)
    before, answered = len(lying.requests), threading.Event()

    def slow(_: Request, __: Answer) -> None:
        answered.wait(60)

    lying.on("/v2/app/", *[slow] * 9)
    mirror = serve(tag_age=0, upstream_timeout=0.1, **UPSTREAMS_SAY)
    for _ in range(2):
        assert ask(mirror, APP).headers["x-layercache"] == "stale"
    assert [each.method for each in lying.requests[before:] if "/manifests/" in each.path] == ["HEAD"]
    answered.set()


def test_a_public_image_is_served_while_its_upstream_limits_requests_and_others_wait(
    serve: Serve, lying: LyingRegistry
) -> None:
    ask(serve(**UPSTREAMS_SAY), APP)
    limited = error_body("TOOMANYREQUESTS", "slow down")
    lying.on("/v2/app/", *[status(429, limited, Retry_After="40")] * 9)
    mirror = serve(tag_age=0, **UPSTREAMS_SAY)
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    before = len(lying.requests)
    answer = ask(mirror, "/v2/other/manifests/1")
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert 30 <= int(answer.headers["retry-after"]) <= 40
    assert len(lying.requests) == before


def test_what_another_machine_pulled_otherwise_is_not_taken_for_public(
    serve: Serve, lying: LyingRegistry, tmp_path: Path
) -> None:
    ask(serve(**UPSTREAMS_SAY), APP)
    near, far = f"file://{tmp_path}/cache", f"file://{tmp_path}/far?trusted=false"
    reference = Reference.parse(f"{lying.host}/app:1")
    with layercache.open([near, far]) as cache:
        assert cache.registry_images().was_public(reference)
    with layercache.open(f"file://{tmp_path}/far") as cache:
        cache.manifest(f"{lying.host}/app:index")
    with layercache.open([near, far]) as cache:
        assert not cache.registry_images().was_public(reference)


def test_a_store_that_others_write_to_makes_nothing_public(
    serve: Serve, lying: LyingRegistry, sample: Sample, tmp_path: Path
) -> None:
    name, mirror = f"app@{sample.image.descriptor.digest}", serve(**UPSTREAMS_SAY)
    ask(mirror, f"/v2/{name.replace('@', '/manifests/')}")
    for digest in sample.image.blobs:
        ask(mirror, f"/v2/app/blobs/{digest}")
    near, far = f"file://{tmp_path}/near", f"file://{tmp_path}/cache?trusted=false"
    reference = Reference.parse(f"{lying.host}/{name}")
    with layercache.open(f"file://{tmp_path}/cache") as cache:
        assert cache.registry_images().was_public(reference)
    with layercache.open([near, far], offline=True) as cache:
        cache.manifest(str(reference))
    with layercache.open([f"file://{tmp_path}/copied", far]) as cache:
        Copy(cache.tiers[1], cache.tiers[0], Selection()).run()
    for store in (near, f"file://{tmp_path}/copied"):
        with layercache.open(store) as cache:
            assert cache.registry_images().cached_manifest(reference).recorded
            assert not cache.registry_images().was_public(reference)


def test_the_catalogue_of_a_mirror_that_was_restarted_lists_what_everybody_could_read(
    serve: Serve, lying: LyingRegistry, tmp_path: Path
) -> None:
    ask(serve(**UPSTREAMS_SAY), APP)
    with layercache.open(f"file://{tmp_path}/cache") as cache:
        cache.manifest(f"{lying.host}/private:1")  # perhaps with the credentials of who pulled it
    mirror, before = serve(**UPSTREAMS_SAY), len(lying.requests)
    assert ask(mirror, "/v2/_catalog").json == {"repositories": [f"{lying.host}/app"]}
    assert len(lying.requests) == before
