"""Machines that start one image at about the same time, each with a disk of its own, before one bucket."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulation.bucket import MB, Bucket, Link, Network, Rules
from simulation.store import Pieces, SimulatedStore

from layercache.cache import Cache
from layercache.images.opening import Images
from layercache.oci.descriptor import OCI_MANIFEST, Descriptor
from layercache.oci.digest import Digest
from layercache.oci.forms import COMPRESSED
from layercache.oci.platforms import parse_platform
from layercache.oci.reference import Reference
from layercache.pull.puller import Puller, distinct
from layercache.resolver import leases
from layercache.statistics.places import Place
from layercache.tiers import keys, lease_watch
from layercache.tiers.backend.blobs import BackendBlobs
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.lease_store import LEASED_FROM
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.backend import Reader
    from layercache.events import Event
    from layercache.oci.digest import Hash

MIB = 1 << 20
SCALE = 1 << 16
"""Bytes of an image for which each simulated byte stands."""

LAYERS = (75 * MIB,) * 6 + (12 * MIB,) * 12 + (MIB,) * 12
"""Bytes of the image's layers: 606 MiB in all, most of them in a few, as in images that people build."""

JOBS = 8
"""Layers that a machine pulls in parallel: the default of `layercache pull`."""

WITHIN = 10.0
"""Seconds in which all machines start."""

ENTRIES = 10**7
"""Objects that other images have in each folder of the bucket."""

LATENCY = 0.05
REGISTRY_LATENCY = 0.1
STREAM = 100 * MB
"""Bytes a second of one stream to or from the bucket or the registry."""

CARD = 1250 * MB
"""Bytes a second of a machine's network card: 10 Gbit/s."""

UPLINK = 1250 * MB
"""Bytes a second that the registry sends in all: 10 Gbit/s."""

REFERENCE = Reference.parse("registry.example/team/app:1.0")
PLATFORM = parse_platform("linux/amd64")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass
class Registry:
    """Where the image comes from. Counts what is asked of it; ``fetched`` are layers, by digest."""

    uplink: Link
    manifest: bytes = b""
    blobs: dict[str, bytes] = field(default_factory=dict)
    stands_for: dict[str, int] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)

    @classmethod
    def with_image(cls, layers: Sequence[int]) -> Registry:
        """A registry with one image, whose layers stand for so many bytes."""
        registry = cls(Link(UPLINK))
        drawn = random.Random(1)
        described = []
        for size in layers:
            blob = drawn.randbytes(max(8, size // SCALE))
            digest = Digest.of(blob)
            registry.blobs[digest], registry.stands_for[digest] = blob, size
            described.append({"mediaType": LAYER, "digest": digest, "size": len(blob)})
        diff_ids = [str(Digest.of(drawn.randbytes(8))) for _ in layers]
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        registry.blobs[Digest.of(config)] = config
        registry.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": CONFIG, "digest": Digest.of(config), "size": len(config)},
                "layers": described,
            }
        ).encode()
        return registry

    @property
    def bytes_sent(self) -> int:
        return sum(self.stands_for[digest] * count for digest, count in self.fetched.items())


class ImageSource:
    """The image, as one machine reads it from the registry."""

    name = str(REFERENCE)
    place = Place("registry", "registry.example", "registry.example/team/app")

    def __init__(self, registry: Registry, network: Network) -> None:
        self._registry, self._network = registry, network

    def root(self, *, new: bool = False) -> Descriptor:
        self._ask("HEAD")
        manifest = self._registry.manifest
        return Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(manifest), size=len(manifest))

    def references(self) -> list[Reference]:
        return [REFERENCE]

    def document(self, descriptor: Descriptor) -> bytes:
        self._ask("manifest")
        return self._registry.manifest

    def open_blob(self, descriptor: Descriptor, start: int = 0, end: int | None = None) -> Pieces:
        assert end is None, "machines that start an image read whole blobs"
        blob, size = self._registry.blobs[descriptor.digest], self._registry.stands_for.get(descriptor.digest)
        if size is None:
            self._ask("config")
        else:
            self._travel()
            self._registry.fetched[descriptor.digest] += 1
        return Pieces(blob[start:], len(blob) - start if size is None else size, self._network)

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _ask(self, what: str) -> None:
        self._travel()
        self._registry.documents[what] += 1

    def _travel(self) -> None:
        self._network.travel()
        self._network.travel()


class Fleet:
    """Machines before the start: their image is in the registry, and not in the bucket.

    ``pulled``: when each machine had the image, in seconds after the first could have started; ``waits``: how
    long it took. ``errors``: why layers did not come; ``events`` by kind.
    """

    def __init__(self, rules: Rules, *, leases: bool, layers: Sequence[int] = LAYERS) -> None:
        self.leases = leases
        self.registry = Registry.with_image(layers)
        stands_for = {keys.blob(Digest(digest)): size for digest, size in self.registry.stands_for.items()}
        self.bucket = Bucket(rules, ENTRIES, stands_for)
        self.pulled: list[float] = []
        self.waits: list[float] = []
        self.errors: Counter[str] = Counter()
        self.events: Counter[str] = Counter()

    def run(self, machines: int) -> dict[str, object]:
        """Start the machines, wait until all have pulled the image and sent what they have to; what happened.

        ``late``: what one more machine asked of the bucket that started after all that.
        """
        starts = sorted(random.uniform(0, WITHIN) for _ in range(machines))
        threads = [threading.Thread(target=self._machine, args=(start,)) for start in starts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        figures, before = self._figures(), self.bucket.asked.copy()
        self._pull()
        return figures | {"late": _by_name(self.bucket.asked - before), "errors": dict(self.errors)}

    def _machine(self, start: float) -> None:
        time.sleep(start)
        pulled = self._pull()
        self.pulled.append(pulled)
        self.waits.append(pulled - start)

    def _pull(self) -> float:
        """Do what `layercache pull` does, on a machine with an empty disk; when the image was there."""
        card = Link(CARD)
        far = SimulatedStore(self.bucket, Network(LATENCY, STREAM, (card,)))
        source = ImageSource(self.registry, Network(REGISTRY_LATENCY, STREAM, (card, self.registry.uplink)))
        shared = BackendTier(far, Policy(keep=COMPRESSED, lease=self.leases))
        vars(shared.backend)["_looks"] = (
            False  # a plug-in's writes are looked at; those to S3 and GCS are not
        )
        disk = BackendTier(MemoryBackend(), Policy(trusted=True))
        with Cache((disk, shared)) as cache, cache.watch(self._note):
            images = Images(cache._asked, cache._resolver, cache._observers)
            image = images.from_source(source, REFERENCE, PLATFORM)
            outcomes = Puller(cache, COMPRESSED, JOBS).run(distinct([image]), lambda _layer: None)
            self.errors.update(str(each.error) for each in outcomes.values() if each.error)
            return time.monotonic()

    def _figures(self) -> dict[str, object]:
        bucket, registry = self.bucket, self.registry
        leased = [digest for digest, size in registry.stands_for.items() if size >= LEASED_FROM]
        waits = sorted(self.waits)
        return {
            "service": bucket.rules.name,
            "machines": len(self.pulled),
            "leases": self.leases,
            "asked": _by_name(bucket.asked),
            "refused": _by_name(bucket.refused),
            "busiest_second": dict(bucket.busiest),
            "dollars": bucket.dollars,
            "fetched": registry.fetched.total(),
            "fetched_big": sum(registry.fetched[digest] for digest in leased),
            "fetched_bytes": registry.bytes_sent,
            "documents": dict(registry.documents),
            "pulled_last": max(self.pulled),
            "wait_median": waits[len(waits) // 2],
            "wait_longest": waits[-1],
            "events": dict(sorted(self.events.items())),
        }

    def _note(self, event: Event) -> None:
        self.events[event.kind] += 1


def _by_name(counts: Counter[tuple[str, str]]) -> dict[str, int]:
    return {f"{kind} {where}": count for (kind, where), count in sorted(counts.items())}


def scale_down() -> None:
    """Have what the code compares with the size of a blob compared with what that stands for.

    To be called once. Documents and records have their own sizes, so what concerns them stays.
    """
    vars(leases)["LEASED_FROM"] //= SCALE
    lease_watch.SLOWEST //= SCALE
    create = BackendBlobs.create

    def create_if_small(blobs: BackendBlobs, name: Hash, reader: Reader, size: int) -> bool | None:
        return create(blobs, name, reader, size * SCALE)

    setattr(BackendBlobs, "create", create_if_small)  # noqa: B010  # mypy lets no method be assigned
