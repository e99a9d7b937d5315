"""What the mirror counts and logs of each request, over all its workers, whatever becomes of them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import layercache
from layercache.errors import BackendError
from layercache.serve import access_log, health
from layercache.serve.access_log import BATCH, PENDING_MAX, AccessLog, Entry, as_json, text
from layercache.serve.health import Readiness
from layercache.serve.observed import Observed, kind_of
from layercache.serve.tally import Tally
from layercache.statistics.counters import Counters, PlaceCounters

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = ("manifest", "GET", 200, "hit")


def tally(folder: Path, number: int, counters: Counters | None = None) -> Tally:
    return Tally(lambda: counters or Counters(), folder=str(folder), number=number)


def done(tar_bytes: int) -> Counters:
    return Counters(
        inflated=1,
        inflated_bytes=100_000_000,
        inflating_seconds=0.5,
        places=(PlaceCounters("tier", "file:///x", 1, 10, 10, tar_bytes),),
    )


def count(each: Tally, requests: int) -> None:
    for _ in range(requests):
        each.begin()
        each.end(MANIFEST, 100, 0.01)


def test_the_counts_of_all_workers_are_added_up(tmp_path: Path) -> None:
    first, second = tally(tmp_path, 0), tally(tmp_path, 1)
    count(first, 2)
    count(second, 3)
    second.begin()
    second.save()
    (tmp_path / "2.json").write_text("torn")
    found = first.of_all_workers()
    (row,) = found.requests
    assert (row.key, row.count, row.size, row.buckets[2]) == (MANIFEST, 5, 500, 5)
    assert row.seconds == pytest.approx(0.05)
    assert found.in_flight == 1


def test_a_worker_goes_on_with_the_counts_of_the_one_that_it_follows(tmp_path: Path) -> None:
    killed = tally(tmp_path, 0, done(200_000_000))
    count(killed, 2)
    killed.begin()
    killed.save()
    following = tally(tmp_path, 0, done(400_000_000))
    count(following, 3)
    found = following.of_all_workers()
    assert found.requests[0].count == 5
    assert found.in_flight == 0, "the request has ended with its worker"
    assert found.cache.saved_tar_bytes == 600_000_000
    assert found.saved_seconds == {"file:///x": pytest.approx(3)}, "at 200 MB/s"
    assert [path.name for path in tmp_path.iterdir()] == ["0.json"]


def test_a_folder_that_is_gone_is_not_an_error(tmp_path: Path) -> None:
    alone = tally(tmp_path / "gone", 0)
    count(alone, 1)
    alone.save()
    assert alone.counts().requests[0].count == 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v2/", "base"),
        ("/v2/library/alpine/manifests/latest", "manifest"),
        ("/v2/docker.io/library/blobs/manifests/blobs", "manifest"),
        ("/v2/app/blobs/sha256:00", "blob"),
        ("/v2/app/blobs/uploads/1", "upload"),
        ("/v2/app/tags/list", "tags"),
        ("/v2/app/referrers/sha256:00", "referrers"),
        ("/v2/_catalog", "catalog"),
        ("/healthz", "health"),
        ("/metrics", "metrics"),
        ("/v2/../etc", "other"),
        ("/" * 5000, "other"),
    ],
)
def test_a_path_is_counted_by_its_kind_so_that_clients_cannot_make_labels(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def entry(**changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "time": 1_800_000_000.5,
        "seconds": 0.0123,
        "client": "10.0.0.7",
        "authorization": "",
        "method": "GET",
        "target": "/v2/a/manifests/1",
        "status": 200,
        "size": 401,
        "cache": "hit",
        "agent": "docker/24",
    }
    return Entry(**{**fields, **changes})


def test_a_line_of_text_has_everything_in_one_order() -> None:
    assert text(entry()) == (
        '2027-01-15T08:00:00.500Z 10.0.0.7 - "GET /v2/a/manifests/1" 200 401 0.0123 hit "docker/24"'
    )


def test_what_a_client_sends_cannot_look_like_another_line() -> None:
    evil = entry(target='/v2/\n2027 "x" \x1b[2J\u202e', agent="a" * 100_000, authorization="Basic AAAA")
    for line in (text(evil), as_json(evil)):
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < BATCH
    assert json.loads(as_json(evil))["path"] == evil.target


@pytest.mark.parametrize(
    ("authorization", "status", "user"),
    [
        ("Basic bWU6c2VjcmV0", 200, "me"),  # me:secret
        ("basic bWU6c2VjcmV0", 404, "me"),
        ("Basic bWU6c2VjcmV0", 401, None),
        ("Basic bWU6c2VjcmV0", 403, None),
        ("Bearer secret", 200, None),
        ("Basic !", 200, None),
        ("Basic /w==", 200, None),
        ("", 200, None),
    ],
)
def test_a_user_that_was_let_in_is_logged_and_never_a_secret(
    authorization: str, status: int, user: str | None
) -> None:
    each = entry(authorization=authorization, status=status)
    assert json.loads(as_json(each))["user"] == user
    assert "secret" not in text(each) + as_json(each)


def test_no_request_waits_for_a_reader_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "PENDING_MAX", 100)
    reading, writing = os.pipe()
    log = AccessLog(text, writing)
    for _ in range(100):
        log.add(entry(agent="x" * 1000))
    flushing = threading.Thread(target=log.flush)
    flushing.start()  # and waits: the lines are more than a pipe holds
    while log._pending:
        pass
    for _ in range(150):
        log.add(entry())
    assert log.dropped == 50
    assert PENDING_MAX > 100
    read = b""
    while read.count(b"\n") < 100:
        read += os.read(reading, 1 << 20)
    flushing.join()
    log.flush()
    assert os.read(reading, 1 << 20).count(b"\n") == 100
    os.close(reading)
    log.add(entry())
    log.flush()  # nobody reads it any more
    os.close(writing)


def test_an_application_that_fails_is_counted_as_the_500_that_the_client_gets(tmp_path: Path) -> None:
    class Scope:
        path, method, query_string, client = "/v2/", "BREW", "", "127.0.0.1:1"

    async def application(_scope: object, _protocol: object) -> None:
        raise RuntimeError

    counted = tally(tmp_path, 0)
    observed: Any = Observed(application, counted, "off")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        asyncio.run(observed(Scope(), object()))
    counts = counted.counts()
    assert [each.key for each in counts.requests] == [("base", "other", 500, "")]
    assert counts.in_flight == 0


def test_readiness_is_that_of_the_nearest_tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REMEMBERED", 0)
    with layercache.open([f"file://{tmp_path}/near", f"file://{tmp_path}/far"]) as cache:
        readiness = Readiness(cache.tiers[0])
        assert readiness.answer().status == 200

        def fails(*_: object) -> bool:
            raise BackendError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(cache.tiers[0].blobs, "has", fails)
            answer = readiness.answer()
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "the disk is gone")
        monkeypatch.setattr(cache.tiers[1].blobs, "has", fails)
        assert readiness.answer().status == 200
