"""Blobs are uploaded, in one piece or in many, and nothing but what hashes to the digest is taken."""

from __future__ import annotations

import os
import resource
import threading
from typing import TYPE_CHECKING

import pytest
from servers.asking import ask

from layercache.errors import ConfigError, DigestMismatchError
from layercache.layer import Layer
from layercache.oci.digest import Digest
from layercache.serve.messages import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.pushing import Pusher, Start

DATA = os.urandom(3000)
DIGEST = Digest.of(DATA)


def sessions(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache/.uploads/blobs").iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [DATA, b"", b"{}"], ids=["random", "empty", "empty-json"])
def test_a_blob_that_was_put_is_served_from_its_location(
    pusher: Pusher, data: bytes, algorithm: str, tmp_path: Path
) -> None:
    digest = Digest.of(data, algorithm)
    answered = pusher.finish(pusher.begin(), digest, data)
    assert answered.status == 201
    assert answered.headers["docker-content-digest"] == digest
    found = ask(pusher.service, answered.headers["location"])
    assert (found.status, found.body) == (200, data)
    head = ask(pusher.service, answered.headers["location"], "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(data)))
    assert head.headers["docker-content-digest"] == digest
    assert sessions(tmp_path) == []


def test_a_blob_comes_with_the_request_that_begins_the_upload(pusher: Pusher, tmp_path: Path) -> None:
    answered = pusher.get("blobs/uploads/", "POST")
    whole = ask(pusher.service, "/v2/team/app/blobs/uploads/", "POST", body=DATA, digest=DIGEST)
    assert (answered.status, whole.status) == (202, 201)
    assert ask(pusher.service, whole.headers["location"]).body == DATA
    assert len(sessions(tmp_path)) == 1


def test_chunks_follow_each_other_and_the_last_may_come_with_the_end(pusher: Pusher) -> None:
    location = pusher.begin()
    first = pusher.send(location, DATA[:1000], "0-999")
    assert (first.status, first.headers["range"]) == (202, "0-999")
    second = pusher.send(first.headers["location"], DATA[1000:2000], "1000-1999")
    assert (second.status, second.headers["range"]) == (202, "0-1999")
    answered = ask(
        pusher.service,
        location,
        "PUT",
        body=DATA[2000:],
        headers={"content-range": "2000-2999"},
        digest=DIGEST,
    )
    assert answered.status == 201
    assert pusher.get(f"blobs/{DIGEST}").body == DATA


def test_a_chunk_that_is_out_of_order_is_refused_and_the_upload_goes_on(pusher: Pusher) -> None:
    location = pusher.begin()
    early = pusher.send(location, DATA[1000:], "1000-2999")
    assert (early.status, early.headers["location"]) == (416, location)
    assert pusher.send(location, DATA[:1000], "0-999").status == 202
    again = pusher.send(location, DATA[:1000], "0-999")
    assert (again.status, again.headers["range"]) == (416, "0-999")
    status = ask(pusher.service, location)
    assert (status.status, status.headers["range"], status.headers["location"]) == (204, "0-999", location)
    late = ask(pusher.service, location, "PUT", body=DATA, headers={"content-range": "5-3004"}, digest=DIGEST)
    assert late.status == 416
    assert pusher.send(location, DATA[1000:]).status == 202  # without a range: what follows
    assert pusher.finish(location, DIGEST).status == 201


@pytest.mark.parametrize(
    ("at", "status", "code"),
    [
        ("0-10", 400, "SIZE_INVALID"),
        ("10-0", 400, "BLOB_UPLOAD_INVALID"),
        ("zero", 400, "BLOB_UPLOAD_INVALID"),
        ("0-", 400, "BLOB_UPLOAD_INVALID"),
        (f"0-{'9' * 400}", 400, "BLOB_UPLOAD_INVALID"),
    ],
)
def test_a_range_that_does_not_fit_its_chunk_adds_nothing(
    pusher: Pusher, at: str, status: int, code: str
) -> None:
    location = pusher.begin()
    answered = pusher.send(location, DATA, at)
    assert (answered.status, answered.code) == (status, code)
    assert pusher.send(location, DATA, "0-2999").status == 202
    assert pusher.finish(location, DIGEST).status == 201


@pytest.mark.parametrize("chunked", [True, False])
def test_bytes_of_another_digest_are_refused_and_nothing_of_them_stays(
    pusher: Pusher, chunked: bool, tmp_path: Path
) -> None:
    location = pusher.begin()
    if chunked:
        assert pusher.send(location, DATA + b"oh no").status == 202
    answered = pusher.finish(location, DIGEST, None if chunked else DATA + b"oh no")
    assert (answered.status, answered.code) == (400, "DIGEST_INVALID")
    assert sessions(tmp_path) == []
    assert pusher.get(f"blobs/{DIGEST}").status == 404
    assert DIGEST not in pusher.service.cache


@pytest.mark.parametrize("digest", ["", "sha256:bad", "md5:d41d8cd98f00b204e9800998ecf8427e", "rubbish"])
def test_a_digest_that_is_none_is_refused_and_the_upload_goes_on(pusher: Pusher, digest: str) -> None:
    location = pusher.begin()
    pusher.send(location, DATA)
    answered = pusher.finish(location, digest)
    assert (answered.status, answered.code) == (400, "DIGEST_INVALID")
    assert pusher.finish(location, DIGEST).status == 201


@pytest.mark.parametrize("guess", [b"not those bytes", bytes(len(DATA))], ids=["other-size", "same-size"])
def test_who_only_knows_a_digest_does_not_get_the_blob_of_another_repository(
    pusher: Pusher, guess: bytes
) -> None:
    pusher.blob(DATA, "secret/one")
    answered = pusher.finish(pusher.begin("thief/two"), DIGEST, guess)
    assert (answered.status, answered.code) == (400, "DIGEST_INVALID")
    for repository in ("thief/two", "secret", "secret/one/two"):
        assert pusher.get(f"blobs/{DIGEST}", repository=repository).status == 404
    assert pusher.get(f"blobs/{DIGEST}", repository="secret/one").body == DATA


def test_an_upload_belongs_to_its_repository(pusher: Pusher) -> None:
    identifier = pusher.begin("team/app").rpartition("/")[2]
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answered = pusher.get(f"blobs/uploads/{identifier}", method, repository="team/other", digest=DIGEST)
        assert answered.status == 404
    assert pusher.get(f"blobs/uploads/{identifier}").status == 204


def test_an_upload_that_was_cancelled_is_gone(pusher: Pusher, tmp_path: Path) -> None:
    location = pusher.begin()
    assert pusher.send(location, DATA).status == 202
    assert ask(pusher.service, location, "DELETE").status == 204
    assert sessions(tmp_path) == []
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answered = ask(pusher.service, location, method, digest=DIGEST)
        assert (answered.status, answered.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("identifier", ["x", "..", "a" * 33, "%2e%2e", "0" * 32, ".", "-"])
def test_an_id_that_is_none_is_not_found(pusher: Pusher, identifier: str) -> None:
    assert pusher.get(f"blobs/uploads/{identifier}", "PUT", digest=DIGEST).status == 404


def test_another_worker_goes_on_with_an_upload(start: Start) -> None:
    first, second, third = start(), start(), start()
    location = first.begin()
    assert second.send(location, DATA[:1000], "0-999").status == 202
    assert third.send(location, DATA[1000:], "1000-2999").status == 202
    assert first.finish(location, DIGEST).status == 201
    assert second.get(f"blobs/{DIGEST}").body == DATA


def test_two_requests_do_not_write_to_one_upload(start: Start) -> None:
    pusher, other = start(), start()
    location = pusher.begin()
    waiting, go_on = threading.Event(), threading.Event()

    def parts() -> Iterator[bytes]:
        yield DATA[:1000]
        waiting.set()
        assert go_on.wait(60)
        yield DATA[1000:]

    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(ask(pusher.service, location, "PATCH", body=parts()))
    )
    thread.start()
    assert waiting.wait(60)
    refused = other.send(location, b"something else")
    go_on.set()
    thread.join()
    assert (refused.status, refused.code) == (409, "BLOB_UPLOAD_INVALID")
    assert [answer.status for answer in answers] == [202]
    assert other.finish(location, DIGEST).status == 201


def test_what_came_before_a_hang_up_is_kept_to_go_on_from(pusher: Pusher) -> None:
    location = pusher.begin()

    def parts() -> Iterator[bytes]:
        yield DATA[:1000]
        raise RegistryError(400, "SIZE_INVALID", "the client has hung up")

    assert ask(pusher.service, location, "PATCH", body=parts()).status == 400
    assert ask(pusher.service, location).headers["range"] == "0-999"
    assert pusher.send(location, DATA[1000:], "1000-2999").status == 202
    assert pusher.finish(location, DIGEST).status == 201


def test_limits_hold_for_the_size_of_a_blob_and_for_the_number_of_uploads(
    start: Start, tmp_path: Path
) -> None:
    pusher = start(max_uploads=2, max_upload_size=2000)
    location = pusher.begin()
    assert pusher.send(location, DATA[:2000]).status == 202
    answered = pusher.send(location, b"x")
    assert (answered.status, answered.code) == (413, "SIZE_INVALID")
    pusher.begin()
    full = pusher.get("blobs/uploads/", "POST")
    assert (full.status, full.code, full.headers["retry-after"]) == (429, "TOOMANYREQUESTS", "10")
    assert ask(pusher.service, location, "DELETE").status == 204
    assert pusher.get("blobs/uploads/", "POST").status == 202


def test_a_full_disk_is_an_error_of_this_upload_and_loses_nothing_that_came_before(pusher: Pusher) -> None:
    location = pusher.begin()
    assert pusher.send(location, DATA[:1000]).status == 202
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # no file may get bigger
    try:
        answered = pusher.send(location, DATA[1000:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answered.status, answered.code) == (507, "UNAVAILABLE")
    assert ask(pusher.service, location).headers["range"] == "0-999"
    assert pusher.send(location, DATA[1000:], "1000-2999").status == 202
    assert pusher.finish(location, DIGEST).status == 201


def test_what_was_abandoned_is_removed_and_what_is_young_is_not(start: Start, tmp_path: Path) -> None:
    pusher = start(upload_age=100)
    old, young = pusher.begin(), pusher.begin()
    (path,) = (tmp_path / "cache/.uploads/blobs").glob(f"*{old.rpartition('/')[2]}")
    os.utime(path, (1, 1))
    assert start(upload_age=100).begin()  # the first upload of another worker looks
    assert ask(pusher.service, old).status == 404
    assert ask(pusher.service, young).status == 204


def test_wrong_bytes_of_one_client_do_not_fail_the_upload_of_another(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher = start()
    fill = Layer.fill
    failed: list[bool] = []

    def joins_a_wrong_transfer_first(layer: Layer, form: object = "both") -> None:
        if not failed:
            failed.append(True)
            raise DigestMismatchError("another client's bytes")
        fill(layer, form)  # type: ignore[arg-type]

    monkeypatch.setattr(Layer, "fill", joins_a_wrong_transfer_first)
    assert pusher.blob(DATA) == DIGEST
    assert failed


def test_a_mirror_that_is_not_writable_refuses_every_change(start: Start) -> None:
    pusher = start(writable=False)
    for method, path in [
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/1"),
        ("DELETE", "manifests/1"),
        ("DELETE", f"blobs/{DIGEST}"),
    ]:
        answered = pusher.get(path, method)
        assert (answered.status, answered.code) == (405, "UNSUPPORTED")


def test_uploads_need_a_folder(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pushes need a folder on this machine"):
        start("memory://")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/uploads cannot be created"):
        start(uploads=f"{tmp_path}/file/uploads")
    pusher = start("memory://", uploads=f"{tmp_path}/elsewhere")
    assert pusher.blob(DATA) == DIGEST
    assert pusher.get(f"blobs/{DIGEST}").body == DATA
