"""An upstream that is down, slow, or limits requests: what is cached is served, and it is left alone."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from serve.test_manifests import APP, asked
from servers.asking import ask
from servers.images import make_image, sample_layers
from servers.lying import error_body, status

from layercache.serve import questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.asking import Serve
    from servers.images import Sample
    from servers.lying import Answer, Fault, LyingRegistry, Request

OTHER = "/v2/app/manifests/index"
LIMITED = error_body("TOOMANYREQUESTS", "slow down")


def hanging_up(_: Request, __: Answer) -> None:
    raise ConnectionResetError


@pytest.mark.parametrize(
    "fault",
    [status(429, LIMITED), status(503), status(404), hanging_up],
    ids=["limited", "unavailable", "not a registry", "hanging up"],
)
def test_what_is_cached_is_served_and_marked_while_the_upstream_fails(
    serve: Serve, lying: LyingRegistry, sample: Sample, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    lying.on("/manifests/", *[fault] * 9)
    for _ in range(2):
        answer = ask(mirror, APP)
        assert (answer.status, answer.body) == (200, sample.image.manifest)
        assert answer.headers["x-layercache"] == "stale"
        assert answer.headers["warning"] == '110 - "Response is Stale"'
    assert f"{lying.host}/app:1 is served as it was last pulled" in caplog.text
    assert len(caplog.records) == 1


def test_an_upstream_that_failed_is_left_alone_for_a_while_where_something_is_cached(
    serve: Serve, lying: LyingRegistry
) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    ask(mirror, OTHER)
    lying.on("/manifests/", *[status(503)] * 9)
    ask(mirror, APP)
    before = len(asked(lying))
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    assert ask(mirror, OTHER).headers["x-layercache"] == "stale"
    assert len(asked(lying)) == before
    assert ask(mirror, "/v2/app/manifests/new").status == 503  # what is not cached is asked for all the same
    assert len(asked(lying)) > before


def test_an_upstream_that_is_long_in_failing_is_not_waited_for_by_one_client_after_the_other(
    serve: Serve, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "SLOW", 0)
    mirror = serve()
    lying.on("/manifests/", *[hanging_up] * 9)
    assert ask(mirror, APP).status == 503
    before = len(asked(lying))
    answer = ask(mirror, OTHER)
    assert (answer.status, answer.code, "retry-after" in answer.headers) == (503, "UNAVAILABLE", True)
    assert len(asked(lying)) == before


def test_an_upstream_that_answers_again_is_heard_again(
    serve: Serve, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "REST", 0)
    mirror, moved = serve(tag_age=0), make_image(sample_layers(7))
    ask(mirror, APP)
    lying.on("/manifests/", *[status(503)] * 4)
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    lying.add_image("1", moved)
    assert ask(mirror, APP).body == moved.manifest


def test_a_rate_limit_is_never_a_404_and_its_retry_after_is_heeded(
    serve: Serve, lying: LyingRegistry
) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    lying.on("/manifests/", status(429, LIMITED, Retry_After="40"))
    for path in (OTHER, OTHER, "/v2/app/manifests/none"):
        answer = ask(mirror, path)
        assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
        assert 30 <= int(answer.headers["retry-after"]) <= 40
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    assert asked(lying) == ["GET", "GET"]


def test_a_rate_limit_ends_when_its_retry_after_has_passed(
    serve: Serve, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "REST_MAX", 0.05)
    mirror = serve()
    lying.on("/manifests/", status(429, LIMITED, Retry_After="999999999"))
    assert ask(mirror, APP).status == 429
    assert eventually(lambda: ask(mirror, APP).status == 200)


def test_a_token_server_that_limits_requests_counts_as_its_registry(
    serve: Serve, lying: LyingRegistry
) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    challenge = f'Bearer realm="http://{lying.host}/token",service="any"'
    lying.on("/manifests/", *[status(401, b"", WWW_Authenticate=challenge)] * 9)
    lying.on("/token", *[status(429, LIMITED, Retry_After="40")] * 9)
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    answer = ask(mirror, OTHER)
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert 30 <= int(answer.headers["retry-after"]) <= 40
    assert len(lying.asked("/token")) == 1


def test_a_refusal_is_not_an_outage(serve: Serve, lying: LyingRegistry) -> None:
    mirror = serve(tag_age=0)
    ask(mirror, APP)
    lying.on("/manifests/", *[status(403, error_body("DENIED", "not for you"))] * 2)
    answer = ask(mirror, APP)
    assert (answer.status, answer.code) == (403, "DENIED")


def test_a_slow_upstream_is_not_waited_for_where_something_is_cached(
    serve: Serve, lying: LyingRegistry
) -> None:
    mirror, answered, ended = serve(tag_age=0, upstream_timeout=0.1), threading.Event(), threading.Event()

    def slow(_: Request, __: Answer) -> None:
        answered.wait(60)
        ended.set()

    ask(mirror, APP)
    lying.on("/manifests/", slow)
    for _ in range(2):
        assert ask(mirror, APP).headers["x-layercache"] == "stale"
        assert not ended.is_set()
    assert asked(lying) == ["GET", "HEAD"]
    answered.set()


def test_a_client_that_gets_nothing_else_waits_for_a_slow_upstream_but_not_for_ever(
    serve: Serve, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 0.3)
    mirror, answered = serve(upstream_timeout=0.1), threading.Event()

    def slow(_: Request, __: Answer) -> None:
        assert answered.wait(60)

    lying.on("/manifests/", slow)
    answer = ask(mirror, APP)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert int(answer.headers["retry-after"]) > 0
    answered.set()
    assert eventually(lambda: ask(mirror, APP).status == 200)
    assert asked(lying) == ["GET"]  # what came too late for the first one was kept


def test_a_mirror_that_was_restarted_serves_by_tag_and_by_digest_while_the_upstream_is_down(
    serve: Serve, lying: LyingRegistry, sample: Sample
) -> None:
    ask(serve(), APP)
    lying.on("/manifests/", *[status(503)] * 99)
    mirror = serve(tag_age=0)
    assert ask(mirror, APP).headers["x-layercache"] == "stale"
    assert ask(mirror, f"/v2/app/manifests/{sample.image.descriptor.digest}").status == 200


def test_an_offline_cache_asks_nobody(serve: Serve, lying: LyingRegistry) -> None:
    ask(serve(), APP)
    mirror = serve(tag_age=0, offline=True)
    assert ask(mirror, APP).headers["x-layercache"] == "hit"
    assert ask(mirror, APP).quick
    assert ask(mirror, OTHER).status == 502
    assert len(asked(lying)) == 1


def eventually(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within some seconds."""
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
