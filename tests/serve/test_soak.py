"""A mirror that is used and abused for two minutes, or for as many seconds as SOAK_SECONDS says."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fixtures.stores import assert_sound
from servers.images import make_image, make_layer, noise, write_layout
from servers.mirror import Mirror
from servers.registry import Registry
from servers.rude import children, resources, settled

from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
WORKERS = 2
GOOD_CLIENTS = 4
RUDE_CLIENTS = 4
IMAGES = 6

CONFIG = f"""
workers = {WORKERS}
tag_age = 1
access_age = 1
missing_age = 1
upstream_timeout = 2
header_timeout = 2
stall_timeout = 3
access_log = "off"
"""


class Soak:
    """Clients of one mirror, good ones and rude ones. ``seen``: how often each kind of outcome was seen."""

    def __init__(self, mirror: Mirror, wanted: dict[str, bytes]) -> None:
        self.mirror = mirror
        self.wanted = wanted
        self.seen: Counter[str] = Counter()
        self.until = time.monotonic() + SECONDS
        self.wrong: list[str] = []

    def pull(self, chance: random.Random) -> None:
        """Ask for something whole or for a part of it: right bytes, an error, or a connection that is cut."""
        path = chance.choice(list(self.wanted))
        data, headers = self.wanted[path], {}
        if "/blobs/" in path and chance.random() < 0.4:
            start = chance.randrange(len(data))
            end = chance.randrange(start, len(data)) + 1
            headers["Range"] = f"bytes={start}-{end - 1}"
            data = data[start:end]
        try:
            found = self.mirror.get(path, headers)
        except (OSError, http.client.HTTPException):
            self.seen["cut"] += 1
            return
        self.seen[str(found.status)] += 1
        if found.status in (200, 206) and found.body != data:
            self.wrong.append(f"{path} {headers}")
        if found.status == 500:
            self.wrong.append(f"{path} {headers}: {found.body!r}")

    def abuse(self, chance: random.Random) -> None:
        """Send something that is not a request, or a request whose answer is not read."""
        path = chance.choice(list(self.wanted))
        start = f"GET {path} HTTP/1.1\r\nHost: mirror\r\n".encode()
        data = chance.choice(
            [
                start,
                start + b"\r\n",
                start + b"Range: bytes=" + b"0-0," * 500 + b"1-1\r\n\r\n",
                start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                start + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
                start + b"Authorization: Basic " + b"c29tZW9uZTp4" + b"\r\n\r\n",
                f"GET {path[:-6]}{chance.randrange(10**6):06} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode(),
                b"GET /v2/../../etc/passwd HTTP/1.1\r\nHost: mirror\r\n\r\n",
                chance.randbytes(500),
            ]
        )
        self.seen["rude"] += 1
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.mirror.port), 5) as connection:
            connection.sendall(data)
            connection.settimeout(0.2)
            connection.recv(chance.randrange(1, 5000))

    def run(self, act: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self.until:
            act(chance)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
def test_a_mirror_serves_right_bytes_and_leaks_nothing_while_it_is_abused_and_its_workers_are_killed(
    tmp_path: Path,
) -> None:
    images = {
        f"v{number}": make_image([make_layer({"big": noise(300_000 << (number % 4), number)}, kind)])
        for number, kind in zip(range(IMAGES), ["gzip", "zstd", "none"] * IMAGES, strict=False)
    }
    with Registry(tmp_path / "registry") as upstream:
        layout = write_layout(tmp_path / "layout", images)
        wanted = {}
        for tag, image in images.items():
            upstream.push(f"oci:{layout}:{tag}", f"team/app:{tag}")
            wanted[f"/v2/team/app/manifests/{tag}"] = image.manifest
            for digest, blob in image.blobs.items():
                wanted[f"/v2/team/app/blobs/{digest}"] = blob
            wanted[f"/v2/team/app/blobs/{image.layers[0].diff_id}"] = image.layers[0].tar
        with Mirror(tmp_path / "mirror", config=f'default_upstream = "{upstream.host}"\n{CONFIG}') as mirror:
            assert mirror.process is not None
            pid = mirror.process.pid
            _use(mirror, wanted)
            before = resources(pid)
            soak = Soak(mirror, wanted)
            with ThreadPoolExecutor(GOOD_CLIENTS + RUDE_CLIENTS + 1) as pool:
                good = [pool.submit(soak.run, soak.pull, each) for each in range(GOOD_CLIENTS)]
                rude = [pool.submit(soak.run, soak.abuse, 100 + each) for each in range(RUDE_CLIENTS)]
                trouble = pool.submit(_trouble, soak, upstream, pid)
                for each in (*good, *rude, trouble):
                    each.result()
            print(dict(soak.seen))
            assert soak.wrong == []
            assert soak.seen["200"] + soak.seen["206"] > soak.seen["rude"] / 100
            _use(mirror, wanted)
            # Each worker has its threads by now, and those that were there before may have been fewer.
            after = settled(pid, lambda now: now.files <= before.files + 30)
            assert after.files <= before.files + 30
            assert after.threads <= before.threads + WORKERS * 150
            assert after.resident <= before.resident + (200 << 20)
    assert_sound(open_tier(f"file://{tmp_path}/mirror/cache", nearest=True))


def _use(mirror: Mirror, wanted: dict[str, bytes]) -> None:
    """Everything is served as it should be."""
    for path, data in wanted.items():
        assert mirror.get(path).body == data, path


def _trouble(soak: Soak, upstream: Registry, pid: int) -> None:
    """Kill a worker, and stop the upstream for a while, again and again."""
    chance = random.Random(0)
    pause = min(10.0, SECONDS / 6)
    while time.monotonic() + 2 * pause < soak.until:
        time.sleep(pause / 2)
        if workers := children(pid):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
        time.sleep(pause / 2)
        upstream.stop()
        time.sleep(pause / 4)
        upstream.start()
