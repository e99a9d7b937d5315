"""References are read as Docker reads them: the cases of distribution/reference, and the grammar at large."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layercache.errors import InvalidNameError
from layercache.oci.digest import Digest
from layercache.oci.reference import Reference

DIGEST = "sha256:" + "ab" * 32

components = st.from_regex(r"[a-z0-9]{1,6}(([._]|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
registries = st.one_of(
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "[::1]:5000", "10.0.0.1", "Upper"]),
    st.from_regex(r"[a-zA-Z0-9]{1,8}(\.[a-zA-Z0-9]{1,5}){1,3}(:[1-9][0-9]{0,3})?", fullmatch=True),
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
digests = st.binary(max_size=4).map(Digest.of)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.19", "docker.io/library/alpine:3.19"),
        ("foo/bar", "docker.io/foo/bar:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/foo/bar", "docker.io/foo/bar:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("localhost/alpine", "localhost/alpine:latest"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("[2001:db8::1]/a", "[2001:db8::1]/a:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("Example/a", "Example/a:latest"),
        ("ghcr.io/a/b/c__d--e.f:v_1.-", "ghcr.io/a/b/c__d--e.f:v_1.-"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"alpine:3.19@{DIGEST}", f"docker.io/library/alpine:3.19@{DIGEST}"),
    ],
)
def test_what_is_left_out_is_filled_in(text: str, canonical: str) -> None:
    assert str(Reference.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an image"),
        (":tag", "not an image"),
        ("Alpine", "lower case: alpine"),
        ("foo/Bar", "lower case: foo/bar"),
        ("foo//bar", "not a repository"),
        ("foo/", "not a"),
        ("/foo", "not a repository"),
        ("foo-", "not a repository"),
        ("foo..bar", "not a repository"),
        ("foo___bar", "not a repository"),
        ("../foo", "not a"),
        ("foo\n", "not a repository"),
        ("foo bar", "not a repository"),
        ("foo:", "not a tag"),
        ("foo:.hidden", "not a tag"),
        ("foo:bär", "not a tag"),
        ("foo:1.*", "a pattern of tags works with layercache find"),
        ("foo:" + "t" * 129, "not a tag"),
        ("a:5000:x/foo", "not a registry"),
        ("-a.io/foo", "not a registry"),
        ("[::1/foo", "not a registry"),
        ("https://ghcr.io/foo", "not a"),
        ("foo@", "not a digest"),
        ("foo@sha256:abc", "64 lower-case hex digits"),
        ("foo@md5:" + "0" * 32, "not a digest"),
        ("0" * 64, "sha256:" + "0" * 64),
        ("a/" * 127 + "ab", "at most 255"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        Reference.parse(text)
    assert message in str(caught.value)


def test_a_repository_may_have_255_characters_and_a_tag_128() -> None:
    repository = "a/" * 127 + "a"
    assert Reference.parse(f"ghcr.io/{repository}:{'t' * 128}").repository == repository


def test_the_digest_rules_over_the_tag() -> None:
    assert Reference.parse("alpine:3").selector == "3"
    assert Reference.parse(f"alpine:3@{DIGEST}").selector == DIGEST


@pytest.mark.parametrize("name", [("docker.io", "alpine"), ("index.docker.io", "a/b"), ("ghcr", "a")])
def test_a_reference_that_would_be_read_as_another_cannot_be_made(name: tuple[str, str]) -> None:
    with pytest.raises(InvalidNameError, match="another repository"):
        Reference(*name, tag="latest")


def test_a_repository_alone_is_no_reference() -> None:
    with pytest.raises(InvalidNameError, match="names a repository"):
        Reference("ghcr.io", "a")


@pytest.mark.parametrize(
    ("reference", "familiar"),
    [
        (Reference("docker.io", "library/alpine", "3"), "alpine:3"),
        (Reference("docker.io", "library/a/b", "3"), "library/a/b:3"),
        (Reference("docker.io", "foo/bar", "3"), "foo/bar:3"),
        (Reference("docker.io", "foo.bar/x", "3"), "docker.io/foo.bar/x:3"),
        (Reference("ghcr.io", "library/x", "3"), "ghcr.io/library/x:3"),
    ],
)
def test_the_familiar_form_leaves_out_what_is_understood(reference: Reference, familiar: str) -> None:
    assert reference.familiar == familiar


@st.composite
def references(draw: st.DrawFn) -> Reference:
    registry = draw(registries)
    parts = draw(st.lists(components, min_size=1, max_size=4))
    if registry == "docker.io" and len(parts) == 1:
        parts.insert(0, "library")
    digest = draw(st.none() | digests)
    tag = draw(tags) if digest is None else draw(st.none() | tags)
    return Reference(registry, "/".join(parts), tag, digest)


@given(references())
def test_both_printed_forms_are_read_back_as_the_same_reference(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z.:/@\[\]_-]{0,30}", fullmatch=True))
def test_any_text_is_a_reference_or_an_error_that_says_so(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidNameError:
        return
    assert Reference.parse(str(reference)) == reference


def test_reading_a_reference_loads_no_http_client() -> None:
    program = "import sys, layercache.oci.reference; sys.exit('urllib3' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("port", ["0", "00", "65536", "99999", "0070000", "9" * 5000])
def test_a_port_beyond_65535_is_refused_before_anybody_is_asked(port: str) -> None:
    for host in ("localhost", "[::1]"):
        with pytest.raises(InvalidNameError, match="not a registry") as caught:
            Reference.parse(f"{host}:{port}/app:1")
        assert caught.value.hint == "a port is a number from 1 to 65535"
    assert Reference.parse("localhost:65535/app").registry == "localhost:65535"


@pytest.mark.parametrize("name", ["me:s3cret@ghcr.io/app:1", "me:s3@cret@ghcr.io/app", "me:s3cret@a@b"])
def test_a_password_in_a_name_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        Reference.parse(name)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)
    assert "layercache login" in caught.value.hint
