"""Faults of what only some backends can do: leftovers, locks, small objects, spools."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from testing.plants import plant
from testing.server import Handler
from testing.store import SizedStoreSink, Store, StoreLock, StoreSink, StoreSpool

from layercache.errors import BackendError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

    from layercache.backend.capabilities import Finding

REMOVE, CREATE_NEW, LOCK, TAKE, READ_SMALL, TOUCH = (
    Store.remove_leftovers, Store.create_new, Store.lock, Store.take, Store.read_small, Store.touch,
)  # fmt: skip
SIGN = Store.signed_url
DIAGNOSE, READ_VERSIONED, WRITE_IF = Store.diagnose, Store.read_versioned, Store.write_if
WRITE_SIZED = SizedStoreSink.write
FINISH, PUBLISH, LEAVE_NOTE = Handler.finish, StoreSpool.publish, StoreLock.leave_note

REFUSES = "test_a_server_that_refuses_is_a_backend_error_in_time"
OF_ANOTHER = "test_the_lock_of_another_process_is_held_until_it_is_killed"
SILENT = "test_a_holder_that_gives_no_sign_of_life_is_waited_for_until_the_timeout"


# Leftovers


@plant(Store, "remove_leftovers", "test_removing_leftovers_spares_a_young_writer")
def leftovers_of_any_age_are_removed(self: Store, older_than: float) -> int:
    return REMOVE(self, -60.0)


@plant(Store, "remove_leftovers", "test_leftovers_are_removed")
def no_leftovers_are_removed(self: Store, older_than: float) -> int:
    return 0


@plant(Store, "remove_leftovers", "test_leftovers_are_removed")
def leftovers_are_counted_and_not_removed(self: Store, older_than: float) -> int:
    uploads = json.loads(self.whole(self.ask("GET", "/u/")))
    return sum(began < time.time() - older_than for began in uploads.values())


@plant(Store, "remove_leftovers", "test_removing_leftovers_spares_what_is_published")
def what_is_published_is_removed_as_leftovers(self: Store, older_than: float) -> int:
    for entry in self.scan():
        if entry.modified < time.time() - older_than:
            self.delete(entry.key)
    return REMOVE(self, older_than)


# Exclusive


@plant(Store, "create_new", "test_create_new_leaves_what_is_there")
def create_new_replaces_what_is_there(self: Store, key: str, data: bytes) -> bool:
    with self.create(key) as sink:
        sink.write(data)
        sink.commit()
    return True


@plant(Store, "create_new", "test_create_new_publishes_where_the_name_is_free")
def create_new_publishes_nothing(self: Store, key: str, data: bytes) -> bool:
    return True


@plant(Store, "create_new", "test_one_of_those_who_create_at_once_wins")
def create_new_looks_first_and_writes_then(self: Store, key: str, data: bytes) -> bool:
    try:
        self.stat(key)
    except NotFoundError:
        return create_new_replaces_what_is_there(self, key, data)
    return False


# Conditional

THREADS = "test_of_threads_that_change_one_object_none_undoes_another"
CHANGED = "test_an_object_is_replaced_only_if_it_has_the_version"


@plant(Store, "read_versioned", "test_a_small_object_is_read_with_its_version", CHANGED)
def every_object_has_the_same_version(self: Store, key: str) -> tuple[bytes, str]:
    return READ_VERSIONED(self, key)[0], "1"


@plant(Store, "read_versioned", "test_what_is_not_a_small_object_has_no_version")
def an_object_of_any_size_is_read_with_its_version(self: Store, key: str) -> tuple[bytes, str]:
    with self.open(key) as reader:
        return reader.read(), repr(reader.modified)


@plant(Store, "read_versioned", "test_what_is_not_a_small_object_has_no_version")
def what_is_not_there_has_a_version(self: Store, key: str) -> tuple[bytes, str]:
    try:
        return READ_VERSIONED(self, key)
    except NotFoundError:
        return b"", "1"


@plant(Store, "write_if", CHANGED, "test_no_bytes_delete_an_object_of_that_version")
def a_version_is_ignored(self: Store, key: str, data: bytes, version: str | None) -> bool:
    return (
        WRITE_IF(self, key, data, None)
        if version is None
        else create_new_replaces_what_is_there(self, key, data)
    )


@plant(Store, "write_if", "test_without_a_version_only_a_free_name_is_written")
def without_a_version_everything_is_replaced(self: Store, key: str, data: bytes, version: str | None) -> bool:
    return (
        create_new_replaces_what_is_there(self, key, data)
        if version is None
        else WRITE_IF(self, key, data, version)
    )


@plant(Store, "write_if", THREADS, "test_of_processes_that_change_one_object_none_undoes_another")
def a_version_is_compared_before_the_write(self: Store, key: str, data: bytes, version: str | None) -> bool:
    try:
        same = self.read_versioned(key)[1] == version
    except NotFoundError:
        same = version is None
    return same and create_new_replaces_what_is_there(self, key, data)


@plant(Store, "write_if", "test_a_conditional_write_whose_response_is_lost_was_done")
def a_write_sent_twice_is_refused_by_its_first_attempt(
    self: Store, key: str, data: bytes, version: str | None
) -> bool:
    try:
        return self.write_once(key, data, version)
    except BackendError:
        return self.write_once(key, data, version)


@plant(Store, "honours_conditions", CHANGED)
def finding_out_about_conditions_leaves_an_object(self: Store) -> bool:
    return create_new_replaces_what_is_there(self, "probe", b"")


# SizedWrites


@plant(SizedStoreSink, "write", "test_an_object_of_known_size_is_whole_and_not_there_before")
def the_last_byte_of_a_known_size_publishes(self: SizedStoreSink, data: ReadableBuffer) -> None:
    WRITE_SIZED(self, data)
    if self.written == self.size:
        self.commit()


@plant(SizedStoreSink, "commit", "test_an_object_of_another_size_than_stated_is_not_published")
def another_size_than_stated_is_published(self: SizedStoreSink) -> None:
    StoreSink.commit(self)


@plant(SizedStoreSink, "abort", "test_an_aborted_write_of_known_size_leaves_nothing")
def an_aborted_write_of_known_size_is_published(self: SizedStoreSink) -> None:
    if not self.ended:
        StoreSink.commit(self)


# Lockable


@plant(Handler, "finish", OF_ANOTHER)
def a_killed_holder_keeps_its_lock(self: Handler) -> None:
    super(Handler, self).finish()


@plant(Store, "take", SILENT)
def the_timeout_of_a_lock_is_not_waited_for(
    self: Store, lock: StoreLock, timeout: float | None, *, lasting: bool
) -> bool:
    return TAKE(self, lock, None if timeout is None else 0, lasting=lasting)


@plant(Store, "take", SILENT)
def the_timeout_of_a_lock_bounds_nothing(
    self: Store, lock: StoreLock, timeout: float | None, *, lasting: bool
) -> bool:
    return TAKE(self, lock, timeout and None, lasting=lasting)


@plant(Store, "lock", "test_a_note_outlives_its_holder_only_if_the_lock_is_lasting[False]")
def a_lock_that_is_not_lasting_leaves_its_note(self: Store, name: str, **options: Any) -> Any:
    return LOCK(self, name, timeout=options.get("timeout"), lasting=True)


@plant(Store, "lock", "test_a_note_outlives_its_holder_only_if_the_lock_is_lasting[True]")
def no_lock_is_lasting(self: Store, name: str, **options: Any) -> Any:
    return LOCK(self, name, timeout=options.get("timeout"), lasting=False)


@plant(Store, "lock", "test_a_lock_is_held_by_one")
@contextmanager
def a_lock_keeps_no_thread_of_its_process_out(self: Store, name: str, **options: Any) -> Iterator[Any]:
    with LOCK(self, f"{name}-{os.urandom(8).hex()}") as held:
        yield held


@plant(Store, "lock", OF_ANOTHER, "test_processes_that_hold_a_lock_in_turn_read_each_others_notes")
@contextmanager
def a_lock_keeps_no_other_process_out(self: Store, name: str, **options: Any) -> Iterator[Any]:
    with LOCK(self, f"{name}-{os.getpid()}", **options) as held:
        yield held


@plant(StoreLock, "leave_note", "test_a_holder_that_leaves_notes_is_waited_for")
def a_note_is_no_sign_of_life(self: StoreLock, note: bytes) -> None:
    self.text = note


@plant(Store, "lock", "test_a_lock_is_held_by_one")
@contextmanager
def a_lock_is_listed_as_an_object(self: Store, name: str, **options: Any) -> Iterator[Any]:
    self.whole(self.ask("PUT", f"/o/locks/{name}", b""))
    with LOCK(self, name, **options) as held:
        yield held


# Others


@plant(Store, "read_small", "test_small_objects_of_a_folder_are_read_whole")
def small_objects_are_left_out_beyond_8_kib(self: Store, prefix: str) -> Iterator[tuple[str, bytes]]:
    return (item for item in READ_SMALL(self, prefix) if len(item[1]) <= 8192)


@plant(Store, "read_small", "test_small_objects_of_a_folder_are_read_whole")
def what_is_not_small_is_read_too(self: Store, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in self.scan(prefix):
        with self.open(entry.key) as reader:
            yield entry.key, reader.read()


@plant(Store, "read_small", REFUSES)
def small_objects_that_cannot_be_read_are_none(self: Store, prefix: str) -> Iterator[tuple[str, bytes]]:
    try:
        yield from READ_SMALL(self, prefix)
    except BackendError:
        return


@plant(Store, "touch", "test_touching_makes_an_objects_time_that_of_now_and_nothing_else")
def touching_makes_what_is_not_there(self: Store, key: str) -> None:
    if not self.create_new(key, b""):
        TOUCH(self, key)


@plant(Store, "signed_url", "test_a_signed_url_reads_one_object_without_credentials")
def a_signed_url_names_another_object(self: Store, key: str, seconds: int) -> str | None:
    return SIGN(self, f"{key}+", seconds)


@plant(Store, "signed_url", "test_a_signed_url_reads_one_object_without_credentials")
def a_url_is_signed_if_the_object_exists(self: Store, key: str, seconds: int) -> str | None:
    try:
        self.stat(key)
    except NotFoundError:
        return None
    return SIGN(self, key, seconds)


@plant(StoreSpool, "publish", "test_a_forked_child_cannot_publish_its_parents_spool")
def a_forked_child_publishes_its_parents_spool(self: StoreSpool, key: str) -> None:
    self.owner = os.getpid()
    PUBLISH(self, key)


@plant(StoreSpool, "publish", "test_a_spool_is_read_while_it_grows_and_published_whole")
def the_end_of_a_spool_is_lost(self: StoreSpool, key: str) -> None:
    os.ftruncate(self.file.fileno(), self.size - 1)
    PUBLISH(self, key)


@plant(Store, "create_expendable", "test_an_expendable_object_is_whole_or_not_there")
def an_expendable_object_is_made_at_once(self: Store, key: str) -> Any:
    self.whole(self.ask("PUT", f"/o/{key}", b""))
    return self.create(key)


@plant(Store, "diagnose", "test_a_diagnosis_finds_something_and_writes_nothing")
def a_diagnosis_writes(self: Store) -> Iterator[Finding]:
    self.create_new("diagnosis", b"")
    yield from DIAGNOSE(self)
