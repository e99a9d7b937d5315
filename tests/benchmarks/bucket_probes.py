"""What runs in a fresh process against a bucket and measures inside itself; as `probes`, which see.

The imports of the SDKs, and the first request of each connection, are not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

READ = 1 << 20
WARM = "warm-up"


def ours(url: str, path: str) -> dict[str, float]:
    """Write a file as one object through our backend, in the steps of a tier, and read it."""
    from layercache.streams.readers import CHUNK

    buffer = bytearray(CHUNK)
    with _backend(url) as backend:

        def write() -> None:
            with (
                open(path, "rb", buffering=0) as file,
                _sink(backend, "object", os.path.getsize(path)) as sink,
            ):
                while count := file.readinto(buffer):
                    sink.write(memoryview(buffer)[:count])
                sink.commit()

        return {**_measured("write", write), **ours_read(url, "object")}


def ours_read(url: str, key: str) -> dict[str, float]:
    """Read an object through our backend."""
    buffer = bytearray(READ)
    with _backend(url) as backend:

        def read() -> None:
            with backend.open(key) as reader:
                while reader.readinto(buffer):
                    pass

        return _measured("read", read)


def raw_big(client: str, endpoint: str, bucket: str, path: str) -> dict[str, float]:
    """The same with s3fs or gcsfs alone: its upload of a file, and one stream of its client."""
    files = _CLIENTS[client](endpoint)
    return {
        **_measured("write", lambda: files.put_file(path, f"{bucket}/{client}/object")),
        **raw_read(client, endpoint, bucket, f"{client}/object"),
    }


def curl_parts(
    endpoint: str, bucket: str, path: str, folder: str, part: str, at_once: str
) -> dict[str, float]:
    """The same file by curl in parts of so many bytes, so many at once. Its process alone is measured."""
    import botocore.session

    client = botocore.session.get_session().create_client("s3", endpoint_url=endpoint)
    which = {"Bucket": bucket, "Key": "curl/parts"}
    which["UploadId"] = client.create_multipart_upload(**which)["UploadId"]
    lines = []
    with open(path, "rb") as file:
        for number, data in enumerate(iter(lambda: file.read(int(part)), b""), 1):
            piece = os.path.join(folder, str(number))
            with open(piece, "wb") as target:
                target.write(data)
            url = client.generate_presigned_url("upload_part", Params={**which, "PartNumber": number})
            lines += [f'url = "{url}"', f'upload-file = "{piece}"', f'output = "{os.devnull}"']
    with open(os.path.join(folder, "transfers"), "w") as transfers:
        transfers.write("\n".join(lines))
    parallel = ["--parallel", "--parallel-max", at_once, "--config", transfers.name]
    command = ["curl", "-sS", "--no-progress-meter", "--fail", *parallel]
    figures = _measured("write", lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))
    used = os.times()
    sent = client.list_parts(**which)["Parts"]
    parts = [{"PartNumber": each["PartNumber"], "ETag": each["ETag"]} for each in sent]
    client.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
    return {**figures, "write cpu": used.children_user + used.children_system}


def raw_read(client: str, endpoint: str, bucket: str, key: str) -> dict[str, float]:
    """Read an object as one stream of the client of s3fs or gcsfs."""
    from fsspec.asyn import sync

    files = _CLIENTS[client](endpoint)
    files.exists(f"{bucket}/{WARM}")

    async def stream() -> None:
        if client == "s3fs":
            body = (await files._call_s3("get_object", Bucket=bucket, Key=key))["Body"]
        else:
            body = (await files.session.get(files.url(f"{bucket}/{key}"))).content
        while await body.read(READ):
            pass

    return _measured("read", lambda: sync(files.loop, stream))


def ours_small(url: str, count: str, size: str, threads: str) -> dict[str, float]:
    """Put and get so many small objects in so many threads."""
    with _backend(url) as backend:

        def put(key: str, data: bytes) -> None:
            with backend.create(key) as sink:
                sink.write(data)
                sink.commit()

        def get(key: str) -> int:
            with backend.open(key) as reader:
                return len(reader.read())

        return _small(put, get, int(count), int(size), int(threads))


def raw_small(client: str, endpoint: str, bucket: str, count: str, size: str) -> dict[str, float]:
    """The same with s3fs or gcsfs alone, one after the other."""
    files = _CLIENTS[client](endpoint)
    return _small(
        lambda key, data: files.pipe_file(f"{bucket}/{client}/{key}", data),
        lambda key: len(files.cat_file(f"{bucket}/{client}/{key}")),
        int(count),
        int(size),
        threads=1,
    )


def obstore_small(endpoint: str, bucket: str, count: str, size: str, threads: str) -> dict[str, float]:
    """The same with obstore."""
    from obstore.store import S3Store

    store = S3Store(bucket, endpoint=endpoint, client_options={"allow_http": True}, prefix="obstore")
    return _small(
        lambda key, data: store.put(key, data, use_multipart=False),
        lambda key: len(store.get(key).bytes()),
        int(count),
        int(size),
        int(threads),
    )


def cold(near: str, far: str, diff_id: str) -> dict[str, float]:
    """A layer's tar by its diff ID from a far tier that holds the gzip: from the look-up to the last byte."""
    import layercache

    buffer = bytearray(READ)
    with layercache.open([near, far]) as cache:
        _ = f"sha256:{'0' * 64}" in cache  # imports and connects

        def get() -> None:
            with cache.get(diff_id).uncompressed() as tar:
                while tar.readinto(buffer):  # type: ignore[attr-defined]  # typeshed's BinaryIO has none
                    pass

        return _measured("seconds", get)


def keep(url: str, path: str) -> dict[str, float]:
    """Have a layer in a bucket, compressed."""
    import layercache

    with layercache.open(f"{url}&keep=compressed") as cache:
        cache.put(path)
    return {}


def inflate_stream() -> dict[str, float]:
    """Inflate a gzip that comes by a pipe, by the library and the steps that we use; keep nothing."""
    from layercache.streams.inflate import InflatedReader
    from layercache.streams.limits import Limits

    buffer = bytearray(READ)
    source: Any = open(0, "rb", buffering=0)  # noqa: SIM115  # closed by what inflates it

    def work() -> None:
        with InflatedReader(source, "gzip", Limits(), "the blob") as tar:
            while tar.readinto(buffer):
                pass

    return _measured("seconds", work)


def _small(
    put: Callable[[str, bytes], object], get: Callable[[str], int], count: int, size: int, threads: int
) -> dict[str, float]:
    data = os.urandom(size)
    keys = [f"small/{number}" for number in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: put(f"{WARM}/{number}", data), range(threads)))
        figures = _measured("put", lambda: list(pool.map(lambda key: put(key, data), keys)))
        sizes: list[int] = []
        figures |= _measured("get", lambda: sizes.extend(pool.map(get, keys)))
    assert sizes == [size] * count
    return figures


def _measured(name: str, work: Callable[[], object]) -> dict[str, float]:
    """Seconds under the name, and of CPU."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return {name: time.perf_counter() - begun, f"{name} cpu": time.process_time() - used}


def _backend(url: str) -> Any:
    """Our backend, connected; a context manager."""
    from contextlib import closing, suppress

    from layercache.backend import open_backend
    from layercache.errors import NotFoundError

    backend = open_backend(url)
    with suppress(NotFoundError):
        backend.stat(WARM)
    with suppress(NotFoundError):  # which asks another engine, if there is one
        backend.open(WARM).close()
    return closing(backend)


def _sink(backend: Any, key: str, size: int) -> Any:
    """Begin to write an object as a tier does that knows its size."""
    from layercache.backend.capabilities import SizedWrites

    return backend.create_sized(key, size) if isinstance(backend, SizedWrites) else backend.create(key)


def _s3fs(endpoint: str) -> Any:
    import s3fs

    return s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False)


def _gcsfs(endpoint: str) -> Any:
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # with it, an emulator is waited for
    import gcsfs

    return gcsfs.GCSFileSystem(
        token="anon", endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False
    )


_CLIENTS: dict[str, Callable[[str], Any]] = {"s3fs": _s3fs, "gcsfs": _gcsfs}


if __name__ == "__main__":
    import json

    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
