"""The run as a whole: servers, six workers, what harms them, and what is left at the end."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from chaos.bucket import Bucket
from chaos.harm import Harm, Spoiled
from chaos.truth import Truth, make
from chaos.work import FORMS, Setting, work
from servers.registry import Registry
from servers.stores import CREDENTIALS, make_bucket, seaweedfs

import layercache
from layercache.cli.program import COMMANDS
from layercache.oci.digest import Hash
from layercache.testing import FaultProxy

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from layercache.oci.digest import Digest

WORKERS = 6
PRELOADED = [
    "chaos.work",
    "layercache.cache",
    "layercache.images.opening",
    "layercache.config.schema",
    "layercache_backends.local",
    "layercache_backends.s3",
    "s3fs",
    "rich.table",
    *(f"layercache.cli.commands.{command}" for command in COMMANDS),
]


@dataclass
class Report:
    """What happened. ``operations``: by name and outcome; ``harm``: by kind."""

    verify: str
    seconds: float
    kills: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    harm: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    """Reads that ended cleanly with wrong bytes, each with the flip that explains it, or None."""
    crashes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What was not healed, or lay about, when all was over."""

    @property
    def unexplained(self) -> list[dict[str, Any]]:
        return [each for each in self.wrong if each["flip"] is None]

    @property
    def failed(self) -> bool:
        excused = self.verify != "always"
        return bool((self.unexplained if excused else self.wrong) or self.crashes or self.left)

    def __str__(self) -> str:
        first = (
            f"verify={self.verify}, {self.seconds:.0f} s: {sum(self.operations.values())} operations, "
            f"{self.kills} kills, {sum(self.harm.values())} faults, {len(self.wrong)} wrong reads "
            f"({len(self.unexplained)} of them not out of a flipped nearest file), "
            f"{len(self.crashes)} crashes, {len(self.left)} leftovers"
        )
        lines = [
            first,
            *(f"  {name:22} {count}" for name, count in sorted(self.operations.items())),
            *(f"  {name:22} {count}" for name, count in sorted(self.harm.items())),
            *(f"  wrong: {each}" for each in self.wrong),
            *(f"  crash: {each}" for each in self.crashes),
            *(f"  left: {each}" for each in self.left),
        ]
        return "\n".join(lines)


class Workers:
    """Six processes, each begun again when it was killed.

    They are forked from a server that has imported all that they need: importing takes longer than working.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.kills = 0
        self._folder = folder
        self._seeds = iter(range(seed, seed + 1_000_000))
        # Python 3.11's server does not take over sys.path before it imports.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._running = [self._begin(number) for number in range(WORKERS)]

    def kill_one(self, chance: random.Random) -> None:
        number = chance.randrange(WORKERS)
        self._kill(number)
        self._running[number] = self._begin(number)

    def _begin(self, number: int) -> multiprocessing.context.ForkServerProcess:
        worker = self._context.Process(target=work, args=(self._folder, number, next(self._seeds)))
        worker.start()
        return worker

    def _kill(self, number: int) -> None:
        worker = self._running[number]
        if worker.is_alive():
            worker.kill()
            self.kills += 1
        worker.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(WORKERS):
            self._kill(number)

    def died(self) -> list[str]:
        """What workers wrote that ended by themselves."""
        found = [(self._folder / f"worker-{number}.err").read_text() for number in range(WORKERS)]
        return [text[-1500:] for text in found if text]


def run(folder: Path, *, seconds: float, verify: str, seed: int) -> Report:
    """Chaos for so many seconds, below an empty folder."""
    report = Report(verify, seconds)
    (folder / "second").mkdir()  # in a short run perhaps nothing is copied there
    os.environ.update(CREDENTIALS)
    with ExitStack() as stack:
        layout = make(folder, seed)
        registry = stack.enter_context(Registry(folder / "registry"))
        for image in Truth.read(folder).images:
            registry.push(f"oci:{layout}:{image}", f"{image}:1")
        endpoint = stack.enter_context(seaweedfs(folder / "store", volumes=30))
        bucket = Bucket(endpoint, make_bucket(endpoint))
        stack.callback(bucket.close)
        store = stack.enter_context(FaultProxy(int(endpoint.rpartition(":")[2])))
        upstream = stack.enter_context(FaultProxy(registry.port))
        near = folder / "near"
        tiers = {
            "near": f"file://{near}?max_size=60MB",
            "second": f"file://{folder}/second",
            "bucket": f"s3://{bucket.name}/chaos?endpoint_url={store.url}&timeout=2",
        }
        setting = Setting(tiers, f"127.0.0.1:{upstream.port}", verify)
        (folder / "setting.json").write_text(json.dumps(asdict(setting)))
        (folder / "layercache.toml").write_text(f'verify = "{verify}"\n')
        harm = Harm(seed)
        with Workers(folder, seed) as workers:
            harm.every(1.0, 3.0, workers.kill_one)
            harm.every(0.1, 0.4, lambda chance: harm.spoil_a_file(near, chance))
            harm.every(0.5, 1.5, lambda chance: harm.spoil_a_file(folder / "second", chance))
            harm.every(0.2, 0.8, lambda chance: harm.spoil_an_object(bucket, chance))
            harm.every(0.1, 0.4, lambda chance: harm.spoil_an_answer(store, chance))
            harm.every(0.2, 0.8, lambda chance: harm.spoil_an_answer(upstream, chance))
            time.sleep(seconds)
            harm.stop()
        report.kills, report.harm = workers.kills, harm.done
        report.crashes = workers.died()
        _judge(report, folder, near, harm.spoiled)
        for proxy in (store, upstream):
            proxy.forgive()
        report.left = _left(folder, setting, bucket)
    return report


def _judge(report: Report, folder: Path, near: Path, spoiled: list[Spoiled]) -> None:
    digests: dict[str, Digest] = {layer.diff_id: layer.digest for layer in Truth.read(folder).layers}
    for number in range(WORKERS):
        log = folder / f"worker-{number}.log"
        for line in log.read_text().splitlines() if log.exists() else ():
            seen = json.loads(line)
            report.operations[f"{seen['operation']}: {seen['outcome']}"] += 1
            if seen["outcome"] == "crash":
                report.crashes.append(f"{seen['operation']}: {seen['note']}")
            elif seen["outcome"] == "wrong":
                report.wrong.append({**seen, "flip": _flip(seen, near, spoiled, digests)})


def _flip(
    seen: dict[str, Any], near: Path, spoiled: list[Spoiled], digests: dict[str, Digest]
) -> Spoiled | None:
    """The change to the nearest tier's file that a wrong read came from."""
    names = [name if name.count(":") else f"sha256:{name}" for name in seen["name"].split(",")]
    if seen["form"] == "uncompressed":
        names += [digests[name] for name in names if name in digests]
    files = {str(near / "blobs" / "sha256" / Hash(name).hex) for name in names}
    before = [each for each in spoiled if each.file in files and each.at <= seen["at"]]
    return before[-1] if before else None


def _left(folder: Path, setting: Setting, bucket: Bucket) -> list[str]:
    """What is wrong once nobody does harm any more: after `verify`, every byte must be right again."""
    left = []
    command = [sys.executable, "-m", "layercache", "--config", str(folder / "layercache.toml")]
    # A spoiled marker of the format is repaired by hand: every command's message says how.
    repair = (("upgrade",), (0,))
    steps = (repair, (("verify",), (0, 3)), (("verify",), (0,)), (("prune", "--forget"), (0,)))
    for url in setting.tiers.values():
        for arguments, allowed in steps:
            ended = subprocess.run([*command, "--cache", url, *arguments], capture_output=True, text=True)
            if ended.returncode not in allowed:
                left.append(f"{arguments} {url}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
    with layercache.open([setting.tiers["near"], setting.tiers["bucket"]], verify="always") as cache:
        layers = {layer.digest: layer for layer in Truth.read(folder).layers}
        for image in Truth.read(folder).images:
            for layer in cache.image(f"{setting.registry}/{image}:1").layers:
                for form in FORMS:
                    with layer.compressed() if form == "compressed" else layer.uncompressed() as stream:
                        if stream.read() != layers[layer.digest].file(form).read_bytes():
                            left.append(f"wrong bytes for ever: {form} {layer.digest}")
    for place in ("near", "second"):
        locks = folder / place / "locks"
        names = [item.name for item in locks.iterdir()] if locks.exists() else []
        left += [f"{place}: a lock's file: {name}" for name in names if name.startswith("layer-")]
    return left
