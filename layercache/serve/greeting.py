"""The first lines of the mirror: where it listens, and how clients are pointed at it. 80 columns."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from layercache.oci.reference import DEFAULT_REGISTRY
from layercache.serve.listening import place

if TYPE_CHECKING:
    from layercache.serve.settings import ServeSettings
    from layercache.serve.setup import Setup

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened at


def greeting(setup: Setup, listening: socket.socket) -> str:
    """How Docker, containerd, podman and others use this mirror."""
    settings = setup.settings
    host = _host(listening)
    scheme = "https" if settings.tls_certificate else "http"
    upstream = settings.default_upstream
    lines = [
        f"layercache: serving {setup.tiers[0]}",
        *(f"  then {tier}" for tier in setup.tiers[1:]),
        f"  at {scheme}://{host}, for {upstream} and others{', and pushes' if settings.writable else ''}",
        "",
        *_for_docker(settings, f"{scheme}://{host}"),
        "  containerd  in /etc/containerd/certs.d/_default/hosts.toml, for all:",
        f'                [host."{scheme}://{host}"]',
        '                capabilities = ["pull", "resolve"]',
        "  podman      in /etc/containers/registries.conf.d/layercache.conf, for each:",
        f'                [[registry]]\n                location = "{upstream}"',
        "                [[registry.mirror]]",
        f'                location = "{host}/{upstream}"',
        *([] if settings.tls_certificate else ["                insecure = true"]),
        f"  others      pull {host}/{upstream}/library/alpine",
        *([f"  push        {host}/{_hosted(settings)}"] if settings.writable else []),
    ]
    return "\n".join(lines)


def _for_docker(settings: ServeSettings, address: str) -> list[str]:
    """Docker asks its mirrors for docker.io's names, without a registry: these must stand for that here."""
    if settings.hosted == ("*",) or settings.default_upstream != DEFAULT_REGISTRY:
        return []
    return [
        "  Docker      in /etc/docker/daemon.json, for docker.io:",
        f'                {{"registry-mirrors": ["{address}"]}}',
    ]


def _hosted(settings: ServeSettings) -> str:
    """The first name to which clients may push."""
    first = (settings.hosted or ("*",))[0]
    return "NAME:TAG" if first == "*" else f"{first}:TAG"


def _host(listening: socket.socket) -> str:
    address, port = place(listening)
    if address in _EVERYWHERE:
        address = socket.gethostname()
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
