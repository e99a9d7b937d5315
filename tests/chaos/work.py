"""A worker: one process that uses caches at random until it is killed, and judges every byte that it gets.

Each operation is a line in the worker's log.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import threading
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chaos.truth import Known, Truth

import layercache
from layercache.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Outcome = Literal["right", "refused", "wrong", "crash"]
"""``refused``: an error that is documented. ``crash``: any other exception, or exit code 70."""

DOCUMENTED = {0, 1, 2, 3, 4}
FORMS = ("compressed", "uncompressed")


@dataclass(frozen=True)
class Setting:
    """Where a run takes place; written by the driver, read by its workers."""

    tiers: dict[str, str]
    """``near``, ``second`` (folders) and ``bucket``: name to URL."""
    registry: str
    verify: str

    @classmethod
    def read(cls, folder: Path) -> Setting:
        return cls(**json.loads((folder / "setting.json").read_text()))


class Worker:
    """Draws one operation after another. ``log`` gets a line for each, written whole."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._truth = Truth.read(folder)
        self._setting = Setting.read(folder)
        self._log = os.open(folder / f"worker-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._scratch = folder / f"scratch-{number}"
        self._config = folder / "layercache.toml"
        self._operations: list[tuple[int, Callable[[], None]]] = [
            (6, self._pull),
            (6, self._get),
            (6, self._read),
            (2, self._read_together),
            (2, self._put),
            (2, self._remove),
            (1, self._prune),
            (1, self._verify),
            (1, self._copy),
            (1, self._export),
            (1, self._look),
        ]

    def run(self) -> None:
        weights = [weight for weight, _ in self._operations]
        while True:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch.mkdir()
            self._random.choices(self._operations, weights)[0][1]()

    # Operations

    def _pull(self) -> None:
        image = self._random.choice(self._truth.images)
        form = self._random.choice(["compressed", "uncompressed", "both"])
        self._command("pull", *self._caches(), "pull", "--form", form, f"{self._setting.registry}/{image}:1")

    def _get(self) -> None:
        layer, form = self._layer()
        out = self._scratch / "out"
        code = self._command("get", *self._caches(), "get", layer.name(form), "-o", str(out), judged=True)
        if code == 0:
            self._judge("get", layer, form, out.read_bytes())
        elif code in DOCUMENTED:
            assert not out.exists(), "a get that failed has left a file"
            self._write("get", "refused", note=str(code))

    def _read(self) -> None:
        layer, form = self._layer()
        with self._library("read"), self._open() as cache:
            self._read_one(cache, layer, form)

    def _read_together(self) -> None:
        """Several threads ask for one layer, in either form: they follow the same transfer."""
        layer, _ = self._layer()
        with self._open() as cache:

            def read() -> None:
                form = self._random.choice(FORMS)
                with self._library("follow"):
                    self._read_one(cache, layer, form)

            threads = [threading.Thread(target=read) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _put(self) -> None:
        layer, form = self._layer()
        self._command("put", *self._caches(), "put", str(layer.file(form)))

    def _remove(self) -> None:
        layer, form = self._layer()
        self._command("rm", *self._caches(), "rm", "--force", layer.name(form))

    def _prune(self) -> None:
        size = self._random.choice(["5MB", "20MB", "40MB"])
        forget = ["--forget"] * self._random.randrange(2)
        self._command("prune", *self._caches(), "prune", "--max-size", size, *forget)

    def _verify(self) -> None:
        self._command("verify", *self._caches(), "verify", "--sample", "30%")

    def _copy(self) -> None:
        source, target = self._random.sample(list(self._setting.tiers.values()), 2)
        self._command("copy", "copy", source, target)

    def _export(self) -> None:
        image = self._random.choice(self._truth.images)
        target = self._scratch / "layout"
        name = f"{self._setting.registry}/{image}:1"
        code = self._command("export", *self._caches(), "export", name, f"oci:{target}:{image}", judged=True)
        if code == 0:
            wrong = [
                file.name
                for file in (target / "blobs" / "sha256").iterdir()
                if file.read_bytes() != (self._truth.blobs / file.name).read_bytes()
            ]
            self._write("export", "wrong" if wrong else "right", name=",".join(wrong), form="compressed")
        elif code in DOCUMENTED:
            self._write("export", "refused", note=str(code))

    def _look(self) -> None:
        command = self._random.choice(["ls", "images", "stats", "index"])
        self._command(command, *self._caches(), command)

    # How they are done

    def _layer(self) -> tuple[Known, str]:
        return self._random.choice(self._truth.layers), self._random.choice(FORMS)

    def _urls(self) -> list[str]:
        tiers = self._setting.tiers
        return [tiers["near"], *([tiers["bucket"]] if self._random.random() < 0.6 else [])]

    def _caches(self) -> list[str]:
        return [part for url in self._urls() for part in ("--cache", url)]

    def _open(self) -> layercache.Cache:
        verify: Literal["always", "size"] = "always" if self._setting.verify == "always" else "size"
        return layercache.open(self._urls(), verify=verify)

    def _read_one(self, cache: layercache.Cache, layer: Known, form: str) -> None:
        image = self._random.choice([*self._truth.images, None])
        was_known = _is_known(cache, layer)
        if image is None:
            found = cache.get(layer.name(form))
        else:
            layers = cache.image(f"{self._setting.registry}/{image}:1").layers
            found = self._random.choice(layers)
            layer = next(known for known in self._truth.layers if known.digest == found.digest)
        with found.compressed() if form == "compressed" else found.uncompressed() as stream:
            if self._random.random() < 0.2:
                stream.read(self._random.randrange(1, 200_000))  # and leaves
                self._write("leave", "right")
                return
            data = stream.read()
        is_diff_id = image is None and not (was_known and _is_known(cache, layer))
        if is_diff_id and form == "compressed" and layer.is_recompressed(data):
            self._write("read", "right")
        else:
            self._judge("read", layer, form, data)

    def _judge(self, operation: str, layer: Known, form: str, data: bytes) -> None:
        right = data == layer.file(form).read_bytes()
        self._write(operation, "right" if right else "wrong", name=layer.name(form), form=form)

    @contextmanager
    def _library(self, operation: str) -> Iterator[None]:
        try:
            yield
        except layercache.LayercacheError as error:
            self._write(operation, "refused", note=type(error).__name__)
        except Exception as error:
            self._write(operation, "crash", note=f"{type(error).__name__}: {error}")

    def _command(self, operation: str, *arguments: str, judged: bool = False) -> int:
        """The exit code of a command, called in this process. ``judged``: the caller logs what it means."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                program.main(["--config", str(self._config), *arguments], prog_name="layercache")
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
        if code not in DOCUMENTED:
            self._write(operation, "crash", note=f"exit {code}: {err.getvalue()[-600:]}")
        elif not judged:
            self._write(operation, "right" if code == 0 else "refused", note=str(code))
        return code

    def _write(
        self, operation: str, outcome: Outcome, *, name: str = "", form: str = "", note: str = ""
    ) -> None:
        line = {"at": time.time(), "operation": operation, "outcome": outcome,
                "name": name, "form": form, "note": note}  # fmt: skip
        os.write(self._log, json.dumps(line).encode() + b"\n")


def _is_known(cache: layercache.Cache, layer: Known) -> bool:
    """Whether the nearest tier has a record that calls the layer's digest one."""
    return bool(cache.tiers[0].facts.inflates_to(layer.digest, claims=True))


def work(folder: Path, number: int, seed: int) -> None:
    """A worker's whole life. What Python prints when it dies goes to the worker's own file."""
    errors = os.open(folder / f"worker-{number}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    Worker(folder, number, seed).run()
