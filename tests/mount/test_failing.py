"""A mount of an image in a bucket, and what reading costs and does while the bucket breaks."""

from __future__ import annotations

import errno
import os
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from files import stacks
from fixtures.mounted import SECONDS, mounted, needs_fuse
from fixtures.rootfs import file, layer_of, store
from servers.images import make_image, noise

from layercache.errors import NotFoundError
from layercache.mount.inodes import Inodes
from layercache.testing import FaultProxy
from layercache.testing.proxy import Fault

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 12 << 20
MIDDLE = noise(SIZE, 3)


@pytest.mark.slow
def test_a_hard_link_to_nothing_is_no_empty_file() -> None:
    needs_fuse()
    from layercache.mount.operations import Operations

    failed: list[tuple[str, Exception]] = []
    inodes = Inodes(stacks.stack([stacks.file("a"), stacks.hard("link", "gone"), stacks.hard("b", "a")]))
    operations = Operations(inodes, lambda: None, lambda *why: failed.append(why))
    assert operations.open("/b", os.O_RDONLY)
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its number is compared below
        operations.open("/link", os.O_RDONLY)
    assert caught.value.errno == errno.EIO
    assert [(path, type(error)) for path, error in failed] == [("/link", NotFoundError)]


def test_reads_from_a_bucket_that_breaks_fail_and_later_succeed(
    tmp_path: Path, seaweedfs_endpoint: str, seaweedfs_bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    image = make_image([layer_of(file("big", MIDDLE), file("small", b"small"))])
    with FaultProxy(int(seaweedfs_endpoint.rpartition(":")[2])) as proxy:
        place = f"s3://{seaweedfs_bucket_name}/{uuid.uuid4().hex}?region=us-east-1&endpoint_url="
        store(tmp_path, image, cache=f"{place}{seaweedfs_endpoint}")
        name = f"localhost/team/app@{image.descriptor.digest}"  # whose word a tag is does not matter here
        with mounted(tmp_path, f"{place}{proxy.url}", name, "--strict") as running:
            handle = os.open(running.root / "big", os.O_RDONLY)
            assert os.pread(handle, 1000, SIZE // 2) == MIDDLE[SIZE // 2 :][:1000]
            proxy.always = Fault(status=403)
            with pytest.raises(OSError, match="error") as failed:
                os.pread(handle, 1000, 1 << 20)
            assert failed.value.errno == errno.EIO
            running.wait_for("/big could not be read")
            proxy.always = Fault()
            deadline = time.monotonic() + SECONDS
            while (found := _read(handle, 1 << 20)) is None:
                assert time.monotonic() < deadline, running.log.read_text()
                time.sleep(0.1)
            assert found == MIDDLE[1 << 20 :][:1000]
            assert (running.root / "small").read_bytes() == b"small"
            proxy.always = Fault(flip=(9 << 20) + 1800)  # among the bytes that are read next
            assert _read(handle, 9 << 20) in (None, MIDDLE[9 << 20 :][:1000])
            os.close(handle)


def _read(handle: int, at: int) -> bytes | None:
    try:
        return os.pread(handle, 1000, at)
    except OSError:
        return None
