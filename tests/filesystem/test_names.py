"""Where the name of an image or a layer ends in a path."""

from __future__ import annotations

import pytest

from layercache import InvalidNameError
from layercache.filesystem.names import split_image, split_layer

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("alpine:3.20", "etc/os-release"),
        ("debian:12", "etc/os-release"),
        ("debian:12", ""),
        ("team/app:1", "usr/share/man/man3/a:b.3"),
        ("ghcr.io/team/app:1.2-rc_1", "data.csv"),
        ("ghcr.io:443/team/app:1", "data.csv"),
        ("localhost:5000/team/app:1", "1:2/@x"),
        ("127.0.0.1:5000/app:1", "x"),
        ("[::1]:5000/app:1", "x"),
        ("Registry:5000/app:1", "x"),
        (f"alpine@sha256:{HEX}", "etc"),
        (f"ghcr.io/team/app:1@sha256:{HEX}", "etc"),
    ],
)
def test_an_image_ends_with_its_tag_or_digest(name: str, inside: str) -> None:
    assert split_image(f"{name}/{inside}") == (name, inside)
    assert split_image(f"{name}/{inside}/") == (name, inside)


def test_a_port_of_a_host_without_a_dot_is_a_tag() -> None:
    assert split_image("registry:5000/app/x") == ("registry:5000", "app/x")


@pytest.mark.parametrize(
    "path", ["", "alpine", "alpine/etc/os-release", "localhost:5000/app/x", "a b:1/x", ":1/x"]
)
def test_an_image_whose_end_does_not_show_is_refused(path: str) -> None:
    with pytest.raises(InvalidNameError):
        split_image(path)


def test_a_layer_ends_with_its_hash() -> None:
    assert split_layer(f"sha256:{HEX}/etc/passwd") == (f"sha256:{HEX}", "etc/passwd")
    assert split_layer(f"sha256:{HEX}") == (f"sha256:{HEX}", "")


@pytest.mark.parametrize("path", ["", "etc/passwd", "sha256:0123/etc", f"sha256:{HEX}0/x", f"SHA256:{HEX}/x"])
def test_what_is_no_hash_is_no_layer(path: str) -> None:
    with pytest.raises(InvalidNameError, match="layer://"):
        split_layer(path)
