"""Faults of reading, writing and listing, as they were found in backends of other people."""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from testing.plants import plant
from testing.server import Handler
from testing.store import Store, StoreReader, StoreSink

from layercache.backend import Entry
from layercache.errors import BackendError, LayercacheError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN, STAT, CONNECT, ASK, DOING, DELETE = (
    Store.open, Store.stat, Store.connect, Store.ask, Store.doing, Store.delete,
)  # fmt: skip
COMMIT, ABORT, WRITE, BEGIN, SINK_EXIT = (
    StoreSink.commit, StoreSink.abort, StoreSink.write, StoreSink.__init__, StoreSink.__exit__,
)  # fmt: skip

SCAN, DO_POST = Store._scan, Handler.do_POST

REFUSES = "test_a_server_that_refuses_is_a_backend_error_in_time"
FAILS = "test_a_server_that_fails_is_a_backend_error_in_time"
BREAKS = "test_a_write_that_breaks_publishes_all_or_nothing"
KILLED = "test_a_writer_killed_in_its_commit_leaves_all_or_nothing"


def _commit_quietly(sink: StoreSink) -> None:
    with suppress(LayercacheError):
        COMMIT(sink)


# Reading


@plant(StoreReader, "readinto", "test_a_reader_gives_all_bytes_or_raises")
def a_reader_ends_early_in_silence(self: StoreReader, buffer: Any, /) -> int:
    with self.store.doing(f"reading {self.key}"):
        count: int = self.body.readinto(buffer)
    return count


@plant(Store, "open", "test_a_range_is_the_slice_of_the_object")
def the_size_of_a_range_is_that_of_the_object(
    self: Store, key: str, start: int = 0, end: int | None = None
) -> Any:
    reader = OPEN(self, key, start, end)
    reader.size = STAT(self, key).size
    return reader


@plant(Store, "open", "test_a_range_is_the_slice_of_the_object")
def a_range_past_the_end_is_an_error(self: Store, key: str, start: int = 0, end: int | None = None) -> Any:
    if start > STAT(self, key).size:
        raise BackendError(f"{self.url}: 416")
    return OPEN(self, key, start, end)


@plant(Store, "open", "test_what_is_not_there_is_not_found_at_open_and_not_only_at_read")
def absence_is_found_at_the_first_read(self: Store, key: str, start: int = 0, end: int | None = None) -> Any:
    try:
        return OPEN(self, key, start, end)
    except NotFoundError:
        return io.BytesIO()


@plant(Store, "open", "test_an_open_reader_keeps_the_old_bytes_or_fails")
def a_reader_mixes_two_versions(self: Store, key: str, start: int = 0, end: int | None = None) -> Any:
    reader = OPEN(self, key, start, end)
    store, size = self, reader.size

    class Mixed(io.RawIOBase):
        at = 0
        modified = reader.modified

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            count = min(len(buffer), size - self.at)
            if count:
                with OPEN(store, key, start + self.at, start + self.at + count) as part:
                    buffer[:count] = part.read().ljust(count, b"?")
            self.at += count
            return count

    reader.close()
    mixed: Any = Mixed()
    mixed.size = size
    return mixed


@plant(Store, "open", "test_reading_takes_little_memory")
def reading_holds_all_of_it_in_memory(self: Store, key: str, start: int = 0, end: int | None = None) -> Any:
    with OPEN(self, key, start, end) as reader:
        return StoreReader(self, key, io.BytesIO(reader.read()), reader.size, reader.modified)


# What a server may do


@plant(Store, "doing", REFUSES, FAILS)
@contextmanager
def every_error_is_taken_for_absence(self: Store, what: str) -> Iterator[None]:
    try:
        with DOING(self, what):
            yield
    except BackendError as error:
        raise NotFoundError(what) from error


@plant(Store, "there", "test_an_answer_of_somebody_else_is_not_absence")
def every_404_is_taken_for_absence(self: Store, key: str, answer: http.client.HTTPResponse) -> Any:
    if answer.status == 404:
        answer.close()
        raise NotFoundError(key)
    return answer


@plant(Store, "doing", REFUSES, FAILS, "test_an_answer_that_makes_no_sense_is_a_backend_error")
@contextmanager
def errors_of_the_sdk_are_not_translated(self: Store, what: str) -> Iterator[None]:
    yield


@plant(Store, "doing", "test_an_answer_that_makes_no_sense_is_a_backend_error")
@contextmanager
def only_errors_of_the_system_are_translated(self: Store, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"{self.url}: {what}: {error}") from error


@plant(Store, "doing", REFUSES)
@contextmanager
def the_cause_is_lost(self: Store, what: str) -> Iterator[None]:
    try:
        with DOING(self, what):
            yield
    except BackendError as error:
        raise BackendError(str(error)) from None


@plant(Store, "connect", f"{FAILS}[silent]")
def no_socket_has_a_timeout(self: Store) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(self.host, self.port)


@plant(Store, "ask", f"{FAILS}[silent]")
def each_try_has_the_whole_timeout(self: Store, *arguments: Any, **options: Any) -> Any:
    for _ in range(4):
        try:
            return ASK(self, *arguments, **options)
        except TimeoutError:
            continue
    return ASK(self, *arguments, **options)


@plant(Store, "ask", "test_a_backend_works_again_when_its_server_does")
def what_has_failed_once_fails_for_good(self: Store, *arguments: Any, **options: Any) -> Any:
    if broken := getattr(self, "broken", None):
        raise broken
    try:
        return ASK(self, *arguments, **options)
    except OSError as error:
        self.broken = error  # type: ignore[attr-defined]  # a fault may leave what it likes
        raise


@plant(Store, "delete", REFUSES)
def an_error_of_delete_is_swallowed(self: Store, key: str) -> None:
    try:
        DELETE(self, key)
    except BackendError:
        return


# Writing


@plant(StoreSink, "commit", "test_an_object_reads_as_it_was_written")
def the_last_byte_is_lost(self: StoreSink) -> None:
    del self.part[-1:]
    COMMIT(self)


@plant(
    StoreSink,
    "commit",
    "test_an_object_reads_as_it_was_written",
    "test_a_commit_is_seen_by_open_and_stat_and_scan",
)
def commit_returns_before_it_is_done(self: StoreSink) -> None:
    self.check()
    late = StoreSink(self.store, self.key)
    late.part, late.upload, self.ended = self.part, self.upload, True
    threading.Timer(0.2, _commit_quietly, (late,)).start()


@plant(StoreSink, "__init__", "test_nothing_is_visible_before_commit")
def an_empty_object_is_made_at_once(self: StoreSink, store: Store, key: str) -> None:
    BEGIN(self, store, key)
    store.whole(store.ask("PUT", f"/o/{key}", b""))


@plant(StoreSink, "__exit__", "test_leaving_the_block_by_an_exception_aborts")
def leaving_the_block_commits(self: StoreSink, *_: object) -> None:
    if not self.ended:
        COMMIT(self)


@plant(StoreSink, "abort", "test_an_aborted_write_leaves_nothing")
def an_abort_keeps_the_parts(self: StoreSink) -> None:
    self.ended = True


@plant(StoreSink, "write", "test_a_buffer_is_the_callers_again_when_write_returns")
def the_callers_buffer_is_kept(self: StoreSink, data: Any, /) -> None:
    self.check()
    kept = self.__dict__.setdefault("kept", [])
    if len(kept) > 3:
        WRITE(self, kept.pop(0))
    kept.append(memoryview(data).cast("B"))


@plant(StoreSink, "__init__", "test_the_last_to_commit_wins_whoever_began_first")
def two_writers_share_a_buffer(self: StoreSink, store: Store, key: str) -> None:
    BEGIN(self, store, key)
    self.part = store.__dict__.setdefault("shared", self.part)


@plant(StoreSink, "check", "test_a_forked_child_cannot_commit_its_parents_sink")
def a_forked_child_may_commit(self: StoreSink) -> None:
    if self.ended:
        raise BackendError("ended")


@plant(StoreSink, "abort", "test_a_forked_child_cannot_abort_its_parents_sink[big]")
def a_forked_child_aborts_for_its_parent(self: StoreSink) -> None:
    self.owner = os.getpid()
    ABORT(self)


@plant(StoreSink, "commit", KILLED)
def an_object_is_published_in_two_steps(self: StoreSink) -> None:
    self.check()
    self.store.whole(self.store.ask("PUT", f"/o/{self.key}", self.part[: len(self.part) // 2]))
    time.sleep(0.02)
    COMMIT(self)


@plant(StoreSink, "commit", KILLED)
def the_old_object_is_deleted_first(self: StoreSink) -> None:
    self.check()
    self.store.delete(self.key)
    time.sleep(0.02)
    COMMIT(self)


@plant(StoreSink, "write", "test_writing_takes_little_memory")
def writing_holds_all_of_it_in_memory(self: StoreSink, data: Any, /) -> None:
    self.check()
    self.part += data


@plant(StoreSink, "commit", REFUSES, BREAKS)
def an_error_of_commit_is_swallowed(self: StoreSink) -> None:
    ended = self.ended
    try:
        COMMIT(self)
    except LayercacheError:
        if ended:
            raise


@plant(Handler, "_body", BREAKS)
def a_request_that_was_cut_is_published(self: Handler) -> bytes:
    return self.rfile.read(int(self.headers.get("Content-Length", 0)))


@plant(Handler, "do_POST", "test_writers_of_one_big_name_do_not_harm_each_other")
def a_commit_drops_the_parts_of_others(self: Handler) -> None:
    DO_POST(self)
    if self.path.startswith("/u/") and "key=" in self.path:
        self.server.uploads.clear()


# Listing


@plant(Store, "_scan", "test_scan_gives_each_of_many_once_and_can_be_left_early")
def only_the_first_page_is_listed(self: Store, prefix: str) -> Iterator[Entry]:
    with self.doing("listing"):
        page = json.loads(self.whole(self.ask("GET", f"/l/{prefix}")))
    for each in page["entries"]:
        yield Entry(*each)


@plant(Store, "_scan", "test_scan_lists_a_folder_and_not_its_sibling_with_the_same_start")
def a_sibling_of_the_folder_is_listed(self: Store, prefix: str) -> Iterator[Entry]:
    return SCAN(self, prefix.rstrip("/"))


@plant(Store, "_scan", "test_a_listing_that_breaks_is_not_its_end")
def a_listing_ends_where_it_breaks(self: Store, prefix: str) -> Iterator[Entry]:
    try:
        yield from SCAN(self, prefix)
    except BackendError as error:
        if not isinstance(error.__cause__, http.client.IncompleteRead):
            raise
