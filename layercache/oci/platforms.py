"""Platforms: read, normalised, and matched with what an index offers.

The rules are those of github.com/containerd/platforms (database.go, compare.go), with one difference:
another architecture is never a match, though the machine might run it (386 on amd64, arm on arm64).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError, NotFoundError, wrong_type
from layercache.oci.descriptor import INDEXES, MANIFESTS, Descriptor, Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ATTESTATION_TYPE = "vnd.docker.reference.type"
"""The annotation by which BuildKit marks entries of an index that are not images."""

UNKNOWN = "unknown"

ALL = "all"
"""In place of a platform: everything that an index lists."""

SHOWN_MAX = 16
"""Platforms that an error lists."""

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_SYSTEMS = "android darwin dragonfly freebsd illumos linux netbsd openbsd plan9 solaris wasip1 windows"
_ARCHITECTURES = "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x wasm"
# The machine names of uname(2), and the distributions' names of architectures.
_SAME_ARCHITECTURE = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv5tel": ("arm", "v5"),
    "armv5tejl": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", ""),
}


def parse_platform(text: str) -> Platform:
    """Read ``os/architecture[/variant]``, or one of the two alone; normalised.

    An architecture alone is Linux's; an operating system alone has this machine's architecture. Raises
    `InvalidNameError`.
    """
    if not isinstance(text, str):
        raise wrong_type("a platform, a str (linux/amd64)", text)
    parts = text.split("/")
    if len(parts) > 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise _not_a_platform(text)
    if len(parts) > 1:
        return normalized(Platform(os=parts[0], architecture=parts[1], variant="".join(parts[2:])))
    alone = normalized(Platform(os=text, architecture=text))
    if alone.os in _SYSTEMS.split():
        here = default_platform()
        return Platform(os=alone.os, architecture=here.architecture, variant=here.variant)
    if alone.architecture in _ARCHITECTURES.split():
        return Platform(os="linux", architecture=alone.architecture, variant=alone.variant)
    raise _not_a_platform(text)


def _not_a_platform(text: str) -> InvalidNameError:
    return InvalidNameError(
        f"not a platform: {text!r}", hint="wanted os/architecture[/variant]: linux/amd64, linux/arm/v7"
    )


def normalized(platform: Platform) -> Platform:
    """The platform under the names that Go and OCI use, without a redundant variant.

    amd64's v1 and arm64's v8 are left out, arm without a variant is v7.
    """
    system = platform.os.lower()
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    if found := _SAME_ARCHITECTURE.get(architecture):
        architecture, variant = found[0], found[1] or variant
    if variant[:1].isdigit():
        variant = f"v{variant}"
    variant = variant.removesuffix(".0")
    match architecture, variant:
        case ("386", _) | ("amd64", "v1") | ("arm64", "v8"):
            variant = ""
        case ("arm", ""):
            variant = "v7"
        case _:
            pass
    return Platform(
        os="darwin" if system == "macos" else system,
        architecture=architecture,
        variant=variant,
        os_version=platform.os_version,
    )


def default_platform() -> Platform:
    """Linux on this machine's architecture: also where containers run in a virtual machine, as on macOS."""
    return normalized(Platform(os="linux", architecture=_machine()))


def _machine() -> str:
    if hasattr(os, "uname"):
        return os.uname().machine
    import platform  # as on Windows, which has no uname(2)

    return platform.machine()


def check(image: str, own: Platform, wanted: Platform) -> None:
    """Raise `NotFoundError` where the one platform that an image has is not the wanted one.

    ``own`` is what its config says; a config that names no system fits any. Variants are not compared, since
    there is nothing to choose from. ``wanted`` is normalised.
    """
    own = normalized(own)
    if own.os and (own.os, own.architecture) != (wanted.os, wanted.architecture):
        raise NotFoundError(f"{image} has no {wanted}", hint=f"it is for {own} only")


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether an index's entry describes another one (provenance, SBOM) and is not an image itself."""
    return ATTESTATION_TYPE in (descriptor.annotations or {})


def select(
    descriptors: Iterable[Descriptor],
    platform: Platform,
    look_into: Callable[[Descriptor], Iterable[Platform]] = lambda _: (),
) -> Descriptor:
    """The entry of an index that suits the platform best; of equals, the first.

    First the platform itself, then lower variants of the same architecture, the highest first (a v7 arm
    runs v6 and v5). An entry without a platform is taken where it is the index's one image, or where no other
    suits and ``look_into`` finds that it does. Never an attestation, nor ``unknown/unknown``. Raises
    `NotFoundError`, which lists the platforms there are.
    """
    images = [entry for entry in descriptors if is_image(entry)]
    if len(images) == 1 and stated_platform(images[0]) is None:
        return images[0]
    wanted = normalized(platform)
    there: set[str] = set()
    for offered in (
        ((stated, entry) for entry in images if (stated := stated_platform(entry)) is not None),
        ((found, entry) for entry in images if stated_platform(entry) is None for found in look_into(entry)),
    ):
        pairs = list(offered)
        if (best := _best(pairs, wanted)) is not None:
            return best
        there |= {str(found) for found, _ in pairs}
    names = sorted(there)[:SHOWN_MAX]
    more = ", …" if len(there) > SHOWN_MAX else ""
    raise NotFoundError(
        f"no image for {platform}",
        hint=f"there are {', '.join(names)}{more}" if there else "the index names no platform at all",
    )


def _best(offered: Iterable[tuple[Platform, Descriptor]], wanted: Platform) -> Descriptor | None:
    named = [(normalized(platform), entry) for platform, entry in offered]
    for variant in _variants(wanted):
        for found, entry in named:
            if (found.os, found.architecture, found.variant) != (wanted.os, wanted.architecture, variant):
                continue
            if not wanted.os_version or wanted.os_version == found.os_version:
                return entry
    return None


def stated_platform(descriptor: Descriptor) -> Platform | None:
    """The platform that an index states for its entry; None also for an empty one."""
    platform = descriptor.platform
    return platform if platform is not None and (platform.os or platform.architecture) else None


def is_image(descriptor: Descriptor) -> bool:
    """Whether an index's entry may be one of its images."""
    if descriptor.media_type not in INDEXES | MANIFESTS or is_attestation(descriptor):
        return False
    platform = descriptor.platform
    return platform is None or UNKNOWN not in (platform.os, platform.architecture)


def _variants(platform: Platform) -> list[str]:
    """The variants of the platform's architecture that it can run, the best first, normalised."""
    variant = platform.variant
    match platform.architecture:
        case "amd64":
            return [f"v{level}" for level in range(_level(variant, 1), 1, -1)] + [""]
        case "arm":
            return [variant, *(f"v{level}" for level in range(_level(variant, 5) - 1, 4, -1))]
        case "arm64":
            return _arm64_variants(variant)
        case _:
            return [variant]


def _arm64_variants(variant: str) -> list[str]:
    """v9.N includes v8.(N + 5), as Arm's reference manual and containerd's table have it."""
    major, _, minor = (variant or "v8").removeprefix("v").partition(".")
    if major not in ("8", "9") or not (minor or "0").isdigit():
        return [variant]
    step = int(minor or "0")
    names = []
    if major == "9":
        names = [f"v9.{number}" if number else "v9" for number in range(step, -1, -1)]
        step += 5
    return names + [f"v8.{number}" if number else "" for number in range(min(step, 9), -1, -1)]


def _level(variant: str, default: int) -> int:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isdigit() else default
