"""Platforms are named and matched as containerd does it."""

from __future__ import annotations

import os

import pytest

from layercache.errors import InvalidNameError, NotFoundError
from layercache.oci.descriptor import OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Platform
from layercache.oci.digest import Digest
from layercache.oci.platforms import ATTESTATION_TYPE, check, default_platform, parse_platform, select


def entry(platform: str | None, *, media_type: str = OCI_MANIFEST, attestation: bool = False) -> Descriptor:
    parts = ["", "", ""] if platform is None else [*platform.split("/"), "", ""][:3]
    return Descriptor(
        media_type=media_type,
        digest=Digest.of(str(platform).encode()),
        size=1,
        annotations={ATTESTATION_TYPE: "attestation-manifest"} if attestation else None,
        platform=None if platform is None else Platform(os=parts[0], architecture=parts[1], variant=parts[2]),
    )


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/i386", "linux/386"),
        ("Linux/AARCH64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("macos/arm64", "darwin/arm64"),
        ("windows/amd64", "windows/amd64"),
        ("s390x", "linux/s390x"),
        ("aarch64", "linux/arm64"),
    ],
)
def test_a_platform_is_normalised(text: str, platform: str) -> None:
    assert str(parse_platform(text)) == platform


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/arm/v7/x", "linux/*", "plan10", "linux amd64"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match="linux/arm/v7"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("ppc64le", "linux/ppc64le"),
    ],
)
def test_the_default_is_linux_on_this_machine_whatever_it_runs(
    machine: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = os.uname_result(("Darwin", "here", "1", "1", machine))
    monkeypatch.setattr(os, "uname", lambda: there)
    assert str(default_platform()) == platform
    assert parse_platform("linux") == default_platform()


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64", "windows/amd64"], "linux/amd64"),
        ("linux/arm64", ["linux/arm64/v8", "linux/amd64"], "linux/arm64/v8"),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v8.5"], "linux/arm64/v8.5"),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], "linux/arm/v5"),
        ("linux/arm/v7", ["linux/arm"], "linux/arm"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64/v3", ["linux/amd64"], "linux/amd64"),
    ],
)
def test_the_best_that_the_platform_can_run_is_chosen(wanted: str, offered: list[str], chosen: str) -> None:
    found = select([entry(name) for name in offered], parse_platform(wanted))
    assert str(found.platform) == chosen


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", ["linux/386", "linux/amd64/v2"]),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v9"]),
        ("linux/amd64", ["windows/amd64"]),
    ],
)
def test_what_the_platform_cannot_run_is_not_chosen_and_what_there_is_is_listed(
    wanted: str, offered: list[str]
) -> None:
    with pytest.raises(NotFoundError) as caught:
        select([entry(name) for name in offered], parse_platform(wanted))
    assert f"no image for {wanted}" in str(caught.value)
    assert all(name in str(caught.value) for name in offered)


def test_unknown_platforms_attestations_and_layers_are_never_chosen_nor_listed() -> None:
    entries = [
        entry("unknown/unknown"),
        entry("linux/amd64", attestation=True),
        entry("linux/amd64", media_type=OCI_LAYER_GZIP),
    ]
    with pytest.raises(NotFoundError) as caught:
        select(entries, parse_platform("linux/amd64"))
    assert "unknown" not in str(caught.value)
    with pytest.raises(NotFoundError):
        select(entries, Platform(os="unknown", architecture="unknown"))


def test_a_nested_index_may_be_chosen() -> None:
    nested = entry("linux/amd64", media_type=OCI_INDEX)
    assert select([entry("linux/arm64"), nested], parse_platform("linux/amd64")) == nested


def test_an_entry_without_a_platform_is_taken_only_where_it_is_the_one_image() -> None:
    bare = entry(None)
    amd64 = parse_platform("linux/amd64")
    assert select([bare, entry("unknown/unknown")], amd64) == bare
    with pytest.raises(NotFoundError):
        select([bare, entry("linux/arm64")], amd64)


def test_a_version_of_the_operating_system_is_matched_where_it_is_asked_for() -> None:
    entries = [
        Descriptor(
            media_type=OCI_MANIFEST,
            digest=Digest.of(version.encode()),
            size=1,
            platform=Platform(os="windows", architecture="amd64", os_version=version),
        )
        for version in ("10.0.17763.1", "10.0.20348.1")
    ]
    assert select(entries, parse_platform("windows/amd64")) == entries[0]
    wanted = Platform(os="windows", architecture="amd64", os_version="10.0.20348.1")
    assert select(entries, wanted) == entries[1]


@pytest.mark.parametrize("own", ["linux/arm64", "linux/aarch64/v9", ""])
def test_an_image_of_one_platform_fits_its_architecture_in_any_variant_and_any_if_it_names_none(
    own: str,
) -> None:
    check("app:1", platform_of(own), parse_platform("linux/arm64"))


@pytest.mark.parametrize("own", ["linux/amd64", "windows/arm64"])
def test_an_image_of_another_platform_is_not_found_and_its_own_is_named(own: str) -> None:
    with pytest.raises(NotFoundError, match="app:1 has no linux/arm64") as caught:
        check("app:1", platform_of(own), parse_platform("linux/arm64"))
    assert caught.value.hint == f"it is for {own} only"


def platform_of(text: str) -> Platform:
    return entry(text).platform or Platform()


def test_an_error_lists_platforms_in_one_line_and_not_too_many() -> None:
    there = [entry(f"os{number}/cpu") for number in range(1000)] + [entry("a\x1b[31m\nlayercache: ok/x")]
    with pytest.raises(NotFoundError) as caught:
        select(there, parse_platform("linux/amd64"))
    assert caught.value.hint.isprintable()
    assert len(caught.value.hint) < 400
