"""The objects of `layercache.aio`: what the blocking ones return, and cancelling gives up at once."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fixtures.chunks import small_chunks
from servers.images import make_image, make_layer, noise
from servers.lying import silent

import layercache
from layercache import aio
from layercache.resolver.in_flight import InFlight
from layercache.transfer.cancellation import Cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from servers.lying import LyingRegistry

__all__ = ["small_chunks"]

LAYER = make_layer({"folder/file": noise(100_000), "small": b"small"})
PLATFORM = "linux/amd64"


@pytest.fixture
def name(lying: LyingRegistry) -> str:
    return lying.add_image("1", make_image([LAYER]))


def test_layers_images_and_files_are_read(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            image = await cache.image(name, platform=PLATFORM)
            (layer,) = image.layers
            async with layer.uncompressed() as tar:
                assert b"".join([chunk async for chunk in tar]) == LAYER.tar
            async with layer.compressed(10, 20) as part:
                assert await part.read() == LAYER.blob[10:20]
            stream = await (await cache.get(LAYER.diff_id)).compressed()
            buffer = bytearray(7)
            assert await stream.readinto(buffer) == 7
            await stream.close()
            await stream.close()
            assert bytes(buffer) == LAYER.blob[:7]
            assert [file.path async for file in image.files()] == ["folder", "folder/file", "small"]
            async with image.open("small") as file:
                assert await file.read() == b"small"
            assert await layer.stat() == len(LAYER.blob)
            assert layer.names == (LAYER.digest, LAYER.diff_id)
            assert await cache.has(LAYER.digest)
            assert cache.counters.fetched == 1

    asyncio.run(main())


def test_what_a_cache_holds_is_iterated_over(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            pulled = await cache.pull([name], platform=PLATFORM, form="both")
            assert not pulled.failed
            assert [image.name async for image in cache.images()] == [name]
            assert [layer.forms async for layer in cache.layers()] == ["both"]
            assert [stats.images async for stats in cache.stats()] == [1]
            assert [len(searched.files) async for searched in cache.find(name, "small")] == [1]
            info = await cache.info(LAYER.diff_id)
            assert isinstance(info, layercache.LayerInfo)
            assert info.images == (name,)
            assert (await cache.write_index()).images == 1
            assert not [checked async for checked in cache.verify() if checked.problem]
            assert (await cache.copy_to(tmp_path / "other")).images == 1
            (pruned,) = await cache.prune(max_size=0)
            assert pruned.left == 0
            with pytest.raises(layercache.NotFoundError):
                await cache.get(LAYER.digest)
        with pytest.raises(layercache.ClosedError):
            await cache.get(LAYER.digest)

    asyncio.run(main())


def test_a_body_that_comes_in_the_loop_is_put(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(LAYER.blob), 7000):
            await asyncio.sleep(0)
            yield LAYER.blob[start : start + 7000]

    async def broken() -> AsyncIterator[bytes]:
        yield LAYER.blob[:7000]
        raise ConnectionError("the client has gone")

    async def endless() -> AsyncIterator[bytes]:
        yield LAYER.blob[:7000]
        await asyncio.Event().wait()

    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            with pytest.raises(ConnectionError, match="has gone"):
                await cache.put(broken())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await cache.put(endless())
            assert LAYER.digest not in cache.sync
            assert (await cache.put(body())).diff_id == LAYER.diff_id

    asyncio.run(main())


def test_events_are_iterated_over_until_the_cache_is_closed(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        cache = await aio.open(tmp_path / "cache")

        async def follow() -> list[str]:
            async with cache.events("fetched", "inflated", "stored") as events:
                return [event.kind async for event in events]

        following = asyncio.create_task(follow())
        await asyncio.sleep(0)
        await cache.pull(name, platform=PLATFORM, form="both")
        await cache.close()
        assert sorted(await following) == ["fetched", "inflated", "stored", "stored"]

    asyncio.run(main())


def test_events_end_in_whatever_loop_they_are_read_and_are_forgotten_then(tmp_path: Path) -> None:
    cache = asyncio.run(_opened(tmp_path))
    reading = threading.Event()

    async def follow() -> list[layercache.Event]:
        async with cache.events() as events:
            asyncio.get_running_loop().call_soon(reading.set)
            return [event async for event in events]

    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(asyncio.run, follow())
        reading.wait(10)
        asyncio.run(cache.close())
        assert followed.result(10) == []
    gc.collect()
    assert len(cache._events) == 0


async def _opened(folder: Path) -> aio.Cache:
    return await aio.open(folder)


def test_events_beyond_what_a_slow_reader_may_leave_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layercache.aio.events.WAITING", 5)

    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache, cache.events() as events:
            for number in range(20):
                events._note(layercache.Event("hit", None, "compressed", "", size=number))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [(await anext(events)).size for _ in range(5)] == [15, 16, 17, 18, 19]
            assert events.lost == 15

    asyncio.run(main())


async def stuck(cache: aio.Cache, name: str, lying: LyingRegistry) -> asyncio.Task[object]:
    """A task that fills a layer of which half has come, while the registry has stopped sending."""
    lying.on(f"/blobs/{LAYER.digest}", silent(60_000))
    (layer,) = (await cache.image(name, platform=PLATFORM)).layers
    async with cache.events("bytes") as events:
        task: asyncio.Task[object] = asyncio.create_task(layer.fill("compressed"))
        await anext(events)
    return task


def test_a_transfer_is_given_up_at_once_when_its_task_is_cancelled(
    name: str, tmp_path: Path, lying: LyingRegistry
) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "cache", finish="always") as cache:
            task = await stuck(cache, name, lying)
            async with cache.events("given_up", "finishing") as events:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                async with asyncio.timeout(5):  # the registry is silent for a minute
                    assert (await anext(events)).kind == "given_up"
            assert LAYER.digest not in cache.sync
            (layer,) = (await cache.image(name, platform=PLATFORM)).layers
            await layer.fill("compressed")  # with a new request
            assert len(lying.asked(f"/blobs/{LAYER.digest}")) == 2

    asyncio.run(main())


def test_a_transfer_that_others_read_goes_on_for_them(
    name: str, tmp_path: Path, lying: LyingRegistry
) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            (layer,) = (await cache.image(name, platform=PLATFORM)).layers
            async with layer.uncompressed() as kept, layer.uncompressed() as given_up:
                first = await kept.read(1000)
                given_up._cancellation.cancel()
                with pytest.raises((layercache.LayercacheError, ValueError)):
                    await given_up.read()
                assert first + await kept.read() == LAYER.tar
            assert len(lying.asked(f"/blobs/{LAYER.digest}")) == 1

    asyncio.run(main())


def test_a_stream_that_is_cancelled_is_closed_without_waiting_for_its_thread(
    name: str, tmp_path: Path, lying: LyingRegistry
) -> None:
    async def main() -> None:
        lying.on(f"/blobs/{LAYER.digest}", silent(60_000))
        async with aio.open(tmp_path / "cache") as cache:
            (layer,) = (await cache.image(name, platform=PLATFORM)).layers

            async def read() -> bytes:
                async with layer.uncompressed() as tar:
                    return await tar.read()

            async with cache.events("bytes") as events:
                reading = asyncio.create_task(read())
                await anext(aiter(events))
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_cache_that_is_closed_does_not_finish_what_was_just_cancelled(
    name: str, tmp_path: Path, lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the thread comes that gives it up."""
    closing, cancel, finish = threading.Event(), Cancellation.cancel, InFlight.give_up_or_finish

    def cancel_late(cancellation: Cancellation) -> None:
        closing.wait(1)
        cancel(cancellation)

    def finish_and_tell(running: InFlight) -> None:
        finish(running)
        closing.set()

    monkeypatch.setattr(Cancellation, "cancel", cancel_late)
    monkeypatch.setattr(InFlight, "give_up_or_finish", finish_and_tell)

    async def main() -> None:
        lying.on(f"/blobs/{LAYER.digest}", silent(60_000))
        async with aio.open(tmp_path / "cache") as cache:
            (layer,) = (await cache.image(name, platform=PLATFORM)).layers
            tar = await layer.uncompressed()
            async with cache.events("bytes") as events:
                reading = asyncio.create_task(tar.read())
                await anext(aiter(events))
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_cancelled_pull_gives_up_all_its_layers(tmp_path: Path, lying: LyingRegistry) -> None:
    layers = [make_layer({f"file{number}": noise(100_000, number)}) for number in range(3)]
    name = lying.add_image("many", make_image(layers))
    for layer in layers:
        lying.on(f"/blobs/{layer.digest}", silent(60_000))

    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            async with cache.events("bytes", "given_up") as events:
                pulling = asyncio.create_task(cache.pull(name, platform=PLATFORM))
                begun = set()
                async for event in events:
                    begun.add(event.name)
                    if len(begun) == 3:
                        break
                pulling.cancel()
                given_up = set()
                async with asyncio.timeout(5):
                    async for event in events:
                        if event.kind == "given_up":
                            given_up.add(event.name)
                        if len(given_up) == 3:
                            break
            with pytest.raises(asyncio.CancelledError):
                await pulling
            assert not cache.closed

    asyncio.run(main())


def test_an_iteration_that_is_left_early_ends_what_it_runs(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            await cache.pull(name, platform=PLATFORM)
            checked = [each async for each in cache.verify()]
            found = cache.verify()
            assert await anext(found) in checked
            del found

    asyncio.run(main())
    assert not [each for each in threading.enumerate() if each.name.startswith("verify")]


def test_as_many_calls_as_one_likes_wait_for_each_other_without_a_deadlock(name: str, tmp_path: Path) -> None:
    """With a limited number of threads the one that brings the bytes might never get one."""

    async def main() -> None:
        async with aio.open(tmp_path / "cache") as cache:
            (layer,) = (await cache.image(name, platform=PLATFORM)).layers

            async def read() -> bytes:
                async with layer.uncompressed() as tar:
                    return b"".join([chunk async for chunk in tar])

            assert set(await asyncio.gather(*(read() for _ in range(60)))) == {LAYER.tar}
            assert cache.counters.fetched == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (aio.Cache, layercache.Cache),
        (aio.Layer, layercache.Layer),
        (aio.Image, layercache.Image),
    ],
)
def test_every_public_method_is_there_for_asyncio(ours: type, theirs: type) -> None:
    other_shapes = {
        "Cache": {"uploads", "registry_images", "expecting", "note_change", "record_statistics"},
        "Layer": {"doubt"},
        "Image": set(),
    }
    public = {name for name, _ in inspect.getmembers(theirs) if not name.startswith("_")}
    assert public - set(dir(ours)) == other_shapes[theirs.__name__]
