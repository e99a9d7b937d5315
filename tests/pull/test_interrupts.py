"""An interrupt ends a pull, at whatever point it comes."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from servers.images import make_image, make_layer, noise
from servers.lying import LyingRegistry, silent

import layercache
from layercache.pull import puller
from layercache.registry.settings import RegistrySettings
from layercache.transfer.cancellation import Cancellation

if TYPE_CHECKING:
    from pathlib import Path

BIG, SMALL = make_layer({"big": noise(2 << 20)}), make_layer({"small": noise(3000)})


def test_an_interrupt_while_layers_are_handed_out_gives_up_those_that_are_on_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LyingRegistry() as registry:
        registry.on(f"/blobs/{BIG.digest}", silent(1 << 20))
        name = registry.add_image("1", make_image([BIG, SMALL]))

        class Interrupted(ThreadPoolExecutor):
            def submit(self, *work: Any, **options: Any) -> Future[Any]:
                while self._threads and not registry.asked(f"GET /v2/app/blobs/{BIG.digest}"):
                    time.sleep(0.01)
                if self._threads:
                    raise KeyboardInterrupt
                return super().submit(*work, **options)

        monkeypatch.setattr(puller, "ThreadPoolExecutor", Interrupted)
        settings = RegistrySettings(retries=0, connect_timeout=5, read_timeout=5)
        cancellation = Cancellation()
        with layercache.open(f"file://{tmp_path}/cache", registries=settings) as cache:
            with pytest.raises(KeyboardInterrupt), cancellation.applies():
                cache.pull(name, platform="linux/amd64")
            assert cancellation.cancelled
            assert BIG.digest not in cache
