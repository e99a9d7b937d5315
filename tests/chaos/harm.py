"""What is done to a cache in use: processes are killed, files and objects spoiled, answers cut and turned.

Each kind of harm is a thread that goes on at random until it is stopped, and writes down what it did.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaos.bucket import Bucket

    from layercache.testing import FaultProxy

GARBAGE = b'{"mediaType": "\xff\xfe'


@dataclass(frozen=True)
class Spoiled:
    """A file of a folder that was changed: when, which, and how."""

    at: float
    file: str
    how: str


class Harm:
    """Threads that do harm until ``stop``; ``done`` counts it by kind."""

    def __init__(self, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.spoiled: list[Spoiled] = []
        self.errors: list[Exception] = []
        self._seed = seed
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def every(self, least: float, most: float, work: Callable[[random.Random], None]) -> None:
        """Do this at random intervals, in seconds."""
        chance = random.Random(self._seed + len(self._threads))

        def run() -> None:
            try:
                while not self._stopped.wait(chance.uniform(least, most)):
                    work(chance)
            except Exception as error:  # raised in the driver at the end
                self.errors.append(error)

        thread = threading.Thread(target=run, name="harm", daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def spoil_a_file(self, folder: Path, chance: random.Random) -> None:
        """One file of a cache, in place: who has it open, or linked, sees it too."""
        files = [
            os.path.join(where, name)
            for part in ("blobs", "records", "images", "tmp")
            for where, _, names in os.walk(folder / part)
            for name in names
        ]
        files += [str(folder / name) for name in ("index.json", "oci-layout") if (folder / name).exists()]
        if not files:
            return
        file = chance.choice(files)
        how = chance.choice(["flip", "flip", "cut", "delete", "garbage"])
        with suppress(FileNotFoundError):
            # Written down first: a reader may meet it before the next line runs.
            self.spoiled.append(Spoiled(time.time(), file, how))
            _spoil(file, how, chance)
            self.done[f"file: {how}"] += 1

    def spoil_an_object(self, bucket: Bucket, chance: random.Random) -> None:
        keys = bucket.keys()
        if keys:
            key = chance.choice(keys)
            how = chance.choice(["flip", "cut", "delete", "garbage", "swap"])
            bucket.spoil(key, how, chance.choice(keys), chance)
            self.done[f"object: {how}"] += 1

    def spoil_an_answer(self, proxy: FaultProxy, chance: random.Random) -> None:
        """The next request that the proxy sees, or the next of one method; one at a time."""
        proxy.forgive()
        offset = chance.choice([0, 10, 1000, 100_000])
        fault = chance.choice(
            [
                Fault(latency=0.2),
                Fault(flip=offset),
                Fault(cut_answer=offset),
                Fault(cut_request=offset),
                Fault(reset=True),
                Fault(deaf=True),
                Fault(status=500),
                Fault(status=503, headers={"Retry-After": "1"}),
                Fault(status=404, body=b"<html>somebody else's</html>"),
            ]
        )
        proxy.on(chance.choice(["GET", "PUT", "HEAD", ""]), fault)
        changed = next(name for name, value in vars(fault).items() if value != getattr(Fault(), name))
        self.done[f"answer: {changed}"] += 1


def _spoil(file: str, how: str, chance: random.Random) -> None:
    if how == "delete":
        os.unlink(file)
        return
    size = os.stat(file).st_size
    with open(file, "r+b") as opened:
        if how == "cut":
            opened.truncate(chance.randrange(size) if size else 0)
        elif how == "garbage":
            opened.write(GARBAGE)
        elif size:
            offset = chance.randrange(size)
            opened.seek(offset)
            byte = opened.read(1)
            opened.seek(offset)
            opened.write(bytes([byte[0] ^ 1 << chance.randrange(8)]))
