"""The mirror beside docker-registry, which is a registry or a pull-through proxy, in the same runs."""

from __future__ import annotations

import contextlib
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import MB, Bench, Row
from benchmarks.images import missing
from benchmarks.measure import Contender, new_folder, run
from servers.mirror import Mirror
from servers.registry import Registry

from layercache.oci.descriptor import OCI_MANIFEST
from layercache.testing import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.measure import Run

OURS, PROXY, PLAIN = "layercache serve", "docker-registry as a proxy", "docker-registry"
CLIENTS = (1, 8, 64)
LOAD_SECONDS = 3
CONNECTIONS = 32
MEMORY_MAX = 150 << 20
FAR_LATENCY, FAR_BANDWIDTH = 0.02, 100 * MB
"""Of an upstream that is not on loopback: seconds by which each answer is late, bytes a second."""

GET = ("curl", "-sSf", "-o", "/dev/null")
ACCEPT = ("-H", f"Accept: {OCI_MANIFEST}")

_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")


def serve(bench: Bench) -> Iterator[Row]:
    """Warm blobs and manifests, and a cold blob, of an upstream on loopback and of one that is far."""
    if absent := missing("docker-registry", "curl"):
        yield Row("serve", OURS, note=f"{', '.join(absent)}: not installed here")
        return
    name = bench.images.image(1, bench.sizes.asked).partition("/")[2].rpartition(":")[0]
    layer = bench.images.layer(bench.sizes.asked)
    with contextlib.ExitStack() as stack:
        servers = _servers(bench, stack)
        blobs = {
            each: f"http://{server.host}/v2/{name}/blobs/{layer.digest}" for each, server in servers.items()
        }
        tags = {each: f"http://{server.host}/v2/{name}/manifests/latest" for each, server in servers.items()}
        for each in servers:  # the mirror serves a blob through a manifest that refers to it
            run([*GET, *ACCEPT, tags[each]])
            run([*GET, blobs[each]])
        yield from _warm_blobs(bench, servers, blobs, layer.size)
        yield from _manifests(bench, tags)
    registry, case = bench.images.registry, f"serve: a cold blob of {layer.size / MB:.0f} MB"
    path = f"{name}/blobs/{layer.digest}"
    yield from _cold(bench, case, registry.host, path)
    with FaultProxy(registry.port) as proxy:
        proxy.always = Fault(latency=FAR_LATENCY, bandwidth=FAR_BANDWIDTH)
        case += f", upstream with {FAR_LATENCY * 1000:.0f} ms and {FAR_BANDWIDTH / MB:.0f} MB/s"
        yield from _cold(bench, case, f"127.0.0.1:{proxy.port}", path)


def _servers(bench: Bench, stack: contextlib.ExitStack) -> dict[str, Mirror | Registry]:
    """New ones, with empty caches, in front of the registry that has the images."""
    return {
        OURS: stack.enter_context(_mirror(bench.images.registry.host, new_folder(bench.scratch))),
        PROXY: stack.enter_context(_proxy(bench.images.registry.host, new_folder(bench.scratch))),
        PLAIN: bench.images.registry,
    }


def _mirror(upstream: str, folder: Path) -> Mirror:
    return Mirror(folder, config=f'default_upstream = "{upstream}"\naccess_log = "off"')


def _proxy(upstream: str, folder: Path) -> Registry:
    return Registry(folder, proxy=f"http://{upstream}")


def _warm_blobs(
    bench: Bench, servers: dict[str, Mirror | Registry], blobs: dict[str, str], size: int
) -> Iterator[Row]:
    for clients in CLIENTS:
        case = f"serve: a warm blob of {size / MB:.0f} MB, {clients} client{'s' * (clients > 1)}"
        contenders = [Contender(name, _downloads(url, clients)) for name, url in blobs.items()]
        before = {name: _usage(server) for name, server in servers.items()}
        runs = bench.interleaved(*contenders)
        rows = {name: bench.row(case, name, runs[name], ours=False) for name in blobs}
        for name, row in rows.items():
            cpu, peak = _usage(servers[name])
            row.cpu = [(cpu - before[name][0]) / (bench.runs + bench.warms)]  # the server's, not curl's
            row.peaks = [peak]
            row.note = f"{clients * size / MB / (row.median or 1):.0f} MB/s"
        if clients == max(CLIENTS):
            rows[OURS].note += f"; {(rows[OURS].peak or 0) / MEMORY_MAX:.2f} of the 150 MiB of a worker"
        yield rows[OURS].compared(rows[PROXY], rows[PLAIN])
        yield from (rows[PROXY], rows[PLAIN])


def _downloads(url: str, clients: int) -> Callable[[Path], list[str]]:
    targets = ["-o", "/dev/null", url] * clients
    return lambda _: ["curl", "-sSf", "-Z", "--parallel-immediate", "--parallel-max", str(clients), *targets]


def _manifests(bench: Bench, tags: dict[str, str]) -> Iterator[Row]:
    case = f"serve: a manifest by its tag, {CONNECTIONS} connections: time of one"
    if absent := missing("wrk"):
        yield Row(case, OURS, note=f"{', '.join(absent)}: not installed here")
        return
    seconds = str(LOAD_SECONDS if bench.warms else 1)
    load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", *ACCEPT]
    contenders = [Contender(name, _loads([*load, url])) for name, url in tags.items()]
    runs = bench.interleaved(*contenders)
    rows = {name: Row(case, name, [1 / _rate(each) for each in runs[name]]) for name in tags}
    for row in rows.values():
        row.note = f"{1 / (row.median or 1):.0f} a second"
    yield rows[OURS].compared(rows[PROXY], rows[PLAIN])
    yield from (rows[PROXY], rows[PLAIN])


def _loads(command: Sequence[str]) -> Callable[[Path], Sequence[str]]:
    return lambda _: command


def _rate(done: Run) -> float:
    found = _RATE.search(done.output)
    assert found, done.output
    return float(found[1])


def _cold(bench: Bench, case: str, upstream: str, path: str) -> Iterator[Row]:
    """Each run has a new mirror with an empty cache, which is not part of its time. ``path``: of the blob."""
    name = path.partition("/blobs/")[0]
    with contextlib.ExitStack() as stack:

        def fetch(start: Callable[[Path], Mirror | Registry]) -> Callable[[Path], list[str]]:
            def command(folder: Path) -> list[str]:
                stack.enter_context(server := start(folder))
                run([*GET, *ACCEPT, f"http://{server.host}/v2/{name}/manifests/latest"])
                return _timed(f"http://{server.host}/v2/{path}")

            return command

        contenders = [
            Contender(OURS, fetch(partial(_mirror, upstream))),
            Contender(PROXY, fetch(partial(_proxy, upstream))),
            Contender(PLAIN, lambda _: _timed(f"http://{upstream}/v2/{path}")),
        ]
        runs = bench.interleaved(*contenders)
        for what in ("first byte", "whole"):
            rows = {
                each.name: bench.row(f"{case}, {what}", each.name, runs[each.name], inside=what)
                for each in contenders
            }
            rows[PLAIN].what = "asked directly"
            yield rows[OURS].compared(rows[PLAIN], rows[PROXY])
            yield from (rows[PROXY], rows[PLAIN])


def _timed(url: str) -> list[str]:
    figures = json.dumps({"first byte": "%{time_starttransfer}", "whole": "%{time_total}"})
    return [*GET, "-w", figures, url]


def _usage(server: Mirror | Registry) -> tuple[float, int]:
    """Seconds of processor time of a server and its children, and the biggest of their peaks in bytes."""
    cpu, peak = 0.0, 0
    for process in _family(server.pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / 100  # utime and stime, in ticks (proc(5))
        status = Path(f"/proc/{process}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        peak = max(peak, int(found[1]) * 1024 if found else 0)
    return cpu, peak


def _family(process: int) -> Iterator[int]:
    yield process
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    for child in children:
        yield from _family(int(child))
