"""What breaks between us and a bucket: right bytes or a clear error in time, and nothing partial is left.

SeaweedFS's S3 and fake-gcs-server, behind a proxy that spoils what it is told to, with either engine. What a
break in the middle of a resumable upload does is tested in ``test_gcs_upload``: fake-gcs-server appends what
is sent again, and publishes when it is asked how far it is.
"""

from __future__ import annotations

import re
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from servers.images import Layer, make_layer, noise

import layercache
from layercache.backend import Backend, Reader, open_backend
from layercache.backend.capabilities import Leftovers
from layercache.errors import BackendError, DigestMismatchError, LayercacheError, NotFoundError
from layercache.testing import KEY, Fault, FaultProxy, assert_absent, get, put
from layercache.testing.base import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.proxied import ProxiedBucket

pytestmark = pytest.mark.slow

DATA = pattern(700_000)
BIG = pattern((17 << 20) + 13)
TIMEOUT = 0.5
"""Seconds, where nobody answers."""
ENOUGH = 1.5
"""Seconds in which a server on a busy machine has answered."""
HANG = 20.0
"""Seconds that nothing with such timeouts takes, unless it hangs."""


@dataclass
class Store:
    """A bucket behind the proxy. ``read``, ``write``: how requests for bytes and for a small write begin."""

    place: str
    endpoint: str
    options: str
    proxy: FaultProxy
    read: str
    write: str
    part: str

    def url(self, timeout: float = 10.0, *, direct: bool = False) -> str:
        endpoint = self.endpoint if direct else self.proxy.url
        return f"{self.place}?endpoint_url={endpoint}&timeout={timeout}{self.options}"


@pytest.fixture
def store(proxied: ProxiedBucket) -> Store:
    bucket, prefix = proxied.bucket, proxied.prefix
    if proxied.scheme == "gs":
        ways = (f"GET /storage/v1/b/{bucket}/o/{prefix}", "POST /upload", "PUT /upload")
    else:
        ways = (f"GET /{bucket}/{prefix}", f"PUT /{bucket}/{prefix}", "partNumber=")
    return Store(proxied.place, proxied.endpoint, proxied.options, proxied.proxy, *ways)


@pytest.fixture
def backend(store: Store) -> Iterator[Backend]:
    with closing(open_backend(store.url())) as backend:
        yield backend


@pytest.fixture
def hasty(store: Store) -> Iterator[Backend]:
    """With a short timeout."""
    with closing(open_backend(store.url(TIMEOUT))) as backend:
        yield backend


@pytest.fixture
def direct(store: Store) -> Iterator[Backend]:
    """Past the proxy: what is really there."""
    with closing(open_backend(store.url(direct=True))) as backend:
        yield backend


# Reading


def test_the_proxy_itself_changes_nothing(backend: Backend, store: Store) -> None:
    put(backend, KEY, DATA)
    assert get(backend, KEY) == DATA
    assert get(backend, KEY, 5, 100) == DATA[5:100]
    assert [entry.key for entry in backend.scan()] == [KEY]
    backend.delete(KEY)
    assert_absent(backend, KEY)


def test_a_break_in_mid_object_goes_on_at_the_offset(backend: Backend, direct: Backend, store: Store) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, Fault(cut_answer=200_000), Fault(cut_answer=1), Fault(cut_answer=0))
    assert get(backend, KEY) == DATA
    assert store.proxy.asked(store.read) == 4
    # What had come and was not read yet may be lost with the connection.
    assert store.proxy.to_client < len(DATA) + 250_000


def test_a_range_that_breaks_goes_on_in_its_middle(backend: Backend, direct: Backend, store: Store) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, Fault(cut_answer=100), Fault(cut_answer=50_000))
    assert get(backend, KEY, 1000, 400_000) == DATA[1000:400_000]


def test_an_object_that_was_replaced_during_the_break_is_not_mixed(
    backend: Backend, direct: Backend, store: Store
) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, Fault(cut_answer=0))
    with backend.open(KEY) as reader:
        put(direct, KEY, bytes(len(DATA)))
        got = _read_or_reason(reader)
    # What is read ahead before that is of the object that was opened.
    assert got == DATA or re.search("replaced|Precondition", str(got))


def _read_or_reason(reader: Reader) -> bytes | str:
    try:
        return reader.read()
    except BackendError as error:
        return str(error)


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_is_busy_is_asked_again(
    backend: Backend, direct: Backend, store: Store, status: int
) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, Fault(status=status), Fault(status=status, body=b"<html>later</html>"))
    assert get(backend, KEY) == DATA
    assert store.proxy.asked(store.read) == 3


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(deaf=True)], ids=["reset", "answer lost"])
def test_a_connection_that_is_reset_is_made_again(
    backend: Backend, direct: Backend, store: Store, fault: Fault
) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, fault, fault)
    assert get(backend, KEY) == DATA


def test_a_service_that_stays_busy_is_given_up_in_time(hasty: Backend, store: Store) -> None:
    store.proxy.always = Fault(status=503)
    began = time.monotonic()
    for ask in (hasty.stat, hasty.delete):
        with pytest.raises(BackendError, match=r"503|no response") as caught:
            ask(KEY)
        assert not isinstance(caught.value, NotFoundError)
    assert time.monotonic() - began < HANG


def test_a_black_hole_ends_in_time_and_says_what_to_do(hasty: Backend, store: Store) -> None:
    store.proxy.always = Fault(stall=0)
    began = time.monotonic()
    for ask in (hasty.open, lambda _: list(hasty.scan())):
        with pytest.raises(BackendError) as caught:
            ask(KEY)
        assert caught.value.hint
        assert store.place in str(caught.value)
    assert time.monotonic() - began < HANG


def test_an_answer_that_stalls_ends_in_right_bytes_or_in_time(
    hasty: Backend, direct: Backend, store: Store
) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, Fault(stall=100_000))
    began = time.monotonic()
    with suppress(BackendError):
        assert get(hasty, KEY) == DATA
    assert time.monotonic() - began < HANG


def test_a_refused_connection_ends_at_once_and_says_what_to_do(backend: Backend, store: Store) -> None:
    with store.proxy.refusing():
        began = time.monotonic()
        for ask in (backend.open, backend.stat, backend.delete, lambda _: list(backend.scan())):
            with pytest.raises(BackendError, match="cannot connect") as caught:
                ask(KEY)
            assert "endpoint" in caught.value.hint
        assert time.monotonic() - began < 8.0, "not as long as the timeout, which is 10 s a call"
    put(backend, KEY, DATA)
    assert get(backend, KEY) == DATA


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", b"{}"], ids=["bare", "page", "other JSON"])
def test_a_404_of_somebody_else_is_no_absence(hasty: Backend, store: Store, body: bytes) -> None:
    store.proxy.always = Fault(status=404, body=body)
    for ask in (hasty.open, hasty.stat, lambda _: list(hasty.scan())):
        with pytest.raises(BackendError):
            ask(KEY)


def test_a_403_says_who_may_help(backend: Backend, store: Store) -> None:
    store.proxy.always = Fault(status=403)
    with pytest.raises(BackendError, match="403") as caught:
        backend.open(KEY)
    assert "the credentials do not allow this" in caught.value.hint


def test_a_slow_service_is_no_broken_one(direct: Backend, store: Store) -> None:
    put(direct, KEY, DATA)
    store.proxy.always = Fault(latency=0.1, bandwidth=350_000)
    with closing(open_backend(store.url(ENOUGH))) as backend:
        assert get(backend, KEY) == DATA, "longer than the timeout: it is progress that counts"


def test_flipped_bytes_are_passed_on_since_a_backend_hashes_nothing(
    backend: Backend, direct: Backend, store: Store
) -> None:
    put(direct, KEY, DATA)
    store.proxy.on(store.read, Fault(flip=10))
    assert get(backend, KEY) == DATA[:10] + bytes([DATA[10] ^ 0xFF]) + DATA[11:]


# Writing


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(reset=True), Fault(deaf=True), Fault(cut_request=1000)],
    ids=["503", "reset", "answer lost", "cut"],
)
def test_a_small_write_that_breaks_is_made_again(
    backend: Backend, direct: Backend, store: Store, fault: Fault
) -> None:
    store.proxy.on(store.write, fault, fault)
    put(backend, KEY, DATA)
    assert store.proxy.asked(store.write) == 3
    assert get(direct, KEY) == DATA


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=403), Fault(stall=0), Fault(cut_request=1000)],
    ids=["503", "403", "black hole", "cut"],
)
def test_a_small_write_that_fails_for_good_leaves_nothing(
    hasty: Backend, direct: Backend, store: Store, fault: Fault
) -> None:
    store.proxy.always = fault
    began = time.monotonic()
    with pytest.raises(BackendError, match=f"writing {KEY}"):
        put(hasty, KEY, DATA)
    assert time.monotonic() - began < HANG
    assert_absent(direct, KEY)


@pytest.mark.parametrize(
    "fault", [Fault(status=503), Fault(reset=True), Fault(cut_request=3 << 20)], ids=["503", "reset", "cut"]
)
@pytest.mark.parametrize("proxied", ["s3-fsspec", "s3-obstore"], indirect=True)
def test_a_part_that_breaks_is_sent_again(
    backend: Backend, direct: Backend, store: Store, fault: Fault
) -> None:
    """With fake-gcs-server, which publishes an upload when it is asked how far it is: see test_gcs_upload."""
    store.proxy.on(store.part, fault, Fault(), fault)
    put(backend, KEY, BIG)
    assert get(direct, KEY) == BIG


@pytest.mark.parametrize("fault", [Fault(status=403), Fault(status=400)], ids=["403", "400"])
def test_a_big_write_that_fails_is_aborted_and_leaves_no_part(
    backend: Backend, direct: Backend, store: Store, fault: Fault
) -> None:
    store.proxy.on(store.part, Fault(), fault)
    with pytest.raises(BackendError, match=f"writing {KEY}"):
        put(backend, KEY, BIG if store.place.startswith("s3:") else 4 * BIG)  # Google's chunks have 32 MiB
    assert_absent(direct, KEY)
    assert store.proxy.asked("DELETE ") == 1
    if isinstance(direct, Leftovers):
        assert direct.remove_leftovers(0) == 0


def test_a_big_write_in_which_the_service_goes_away_has_no_name(direct: Backend, store: Store) -> None:
    began = time.monotonic()
    with closing(open_backend(store.url(ENOUGH))) as backend, backend.create(KEY) as sink:
        sink.write(BIG[: 9 << 20])
        store.proxy.always = Fault(stall=0)
        with suppress(BackendError):
            sink.write(BIG[9 << 20 :])
        with pytest.raises(BackendError):
            sink.commit()
    assert time.monotonic() - began < HANG
    assert_absent(direct, KEY)


# A cache whose far tier is such a bucket

LAYER = make_layer({"noise": noise(400_000, 1)}, "gzip")


@pytest.fixture
def far_layer(store: Store, tmp_path: Path) -> Layer:
    """In the bucket, and nowhere else."""
    with layercache.open([str(tmp_path / "other"), store.url(direct=True)]) as cache:
        import io

        cache.put(io.BytesIO(LAYER.blob))
    return LAYER


@pytest.mark.parametrize("fault", [Fault(flip=5), Fault(short=200_000)], ids=["a flipped byte", "half of it"])
@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_wrong_bytes_are_neither_served_nor_kept(
    store: Store, far_layer: Layer, tmp_path: Path, fault: Fault, form: str
) -> None:
    near = str(tmp_path / "near")
    store.proxy.on(far_layer.digest.hex, *[fault] * 3)
    store.proxy.on(far_layer.diff_id.hex, *[fault] * 3)
    wanted = far_layer.blob if form == "compressed" else far_layer.tar
    with layercache.open([near, store.url()]) as cache:
        layer_or_error = _read(cache, far_layer, form)
        assert layer_or_error == wanted or isinstance(layer_or_error, LayercacheError)
    assert store.proxy.asked(far_layer.digest.hex) > 0
    with layercache.open(near, verify="always") as alone:
        found = _read(alone, far_layer, form)
        assert found == wanted or isinstance(found, NotFoundError)


def _read(cache: layercache.Cache, layer: Layer, form: str) -> bytes | LayercacheError:
    try:
        found = cache.get(layer.digest)
        with found.compressed() if form == "compressed" else found.uncompressed() as stream:
            return stream.read()
    except LayercacheError as error:
        return error


def test_a_flipped_byte_of_the_only_copy_is_a_mismatch_and_the_next_try_works(
    store: Store, far_layer: Layer, tmp_path: Path
) -> None:
    urls = [str(tmp_path / "near"), store.url()]
    store.proxy.always = Fault(flip=100_000)
    with layercache.open(urls) as cache:
        assert isinstance(_read(cache, far_layer, "compressed"), DigestMismatchError)
    store.proxy.always = Fault()
    with layercache.open(urls) as cache:
        assert _read(cache, far_layer, "compressed") == far_layer.blob


def test_near_tiers_serve_whatever_the_far_one_does(store: Store, far_layer: Layer, tmp_path: Path) -> None:
    near = str(tmp_path / "near")
    with layercache.open([near, store.url()]) as cache:
        assert _read(cache, far_layer, "compressed") == far_layer.blob
    store.proxy.always = Fault(stall=0)
    before = store.proxy.connections
    began = time.monotonic()
    with layercache.open([near, store.url(TIMEOUT)]) as cache:
        assert _read(cache, far_layer, "compressed") == far_layer.blob
    assert time.monotonic() - began < HANG
    assert store.proxy.connections == before, "a near hit asks nobody"
