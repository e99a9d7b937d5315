"""The two names of a layer: what is one, and what is not."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layercache.errors import InvalidNameError
from layercache.oci.digest import HEX_LENGTH, DiffID, Digest, Hash

HEX = "0123456789abcdef" * 4

few_examples = settings(max_examples=60)


@st.composite
def names(draw: st.DrawFn) -> str:
    algorithm, length = draw(st.sampled_from(sorted(HEX_LENGTH.items())))
    return f"{algorithm}:{draw(st.text('0123456789abcdef', min_size=length, max_size=length))}"


@few_examples
@given(names())
def test_a_name_is_a_string_of_its_two_parts(name: str) -> None:
    for kind in (Hash, Digest, DiffID):
        made = kind(name)
        assert made == name
        assert hash(made) == hash(name)
        assert f"{made.algorithm}:{made.hex}" == name
        assert json.loads(json.dumps([made])) == [name]
        assert repr(made) == f"{kind.__name__}({name!r})"


@few_examples
@given(names())
def test_a_name_survives_copying_and_pickling(name: str) -> None:
    digest = Digest(name)
    for again in (Digest(digest), copy.deepcopy(digest), pickle.loads(pickle.dumps(digest))):
        assert (again, type(again)) == (digest, Digest)


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", HEX, f"sha256-{HEX}", f"sha256:{HEX}0", f"sha256:{HEX[1:]}", f"sha512:{HEX}",
     f"SHA256:{HEX}", f"sha256:{HEX.upper()}", f"sha256:{HEX[1:]}g", f"md5:{HEX[:32]}", f" sha256:{HEX}",
     f"sha256:{HEX}\n", f"sha256:{HEX[1:]}\n", f"sha256::{HEX[1:]}", f"sha256:{HEX[2:]}..",
     f"sha384:{HEX}", f"sha256:{HEX[:-1]}٣"],
)  # fmt: skip
def test_what_is_no_name_is_refused_with_what_is_wanted(text: str) -> None:
    for kind in (Hash, Digest, DiffID):
        with pytest.raises(InvalidNameError) as caught:
            kind(text)
        assert repr(text) in str(caught.value)
        assert "hex digits" in caught.value.hint
        assert isinstance(caught.value, ValueError)


@few_examples
@given(name=names(), at=st.integers(0, 200), new=st.sampled_from(string.printable))
def test_one_wrong_character_makes_it_no_name(name: str, at: int, new: str) -> None:
    at %= len(name)
    changed = name[:at] + new + name[at + 1 :]
    algorithm, _, digits = changed.partition(":")
    well_formed = HEX_LENGTH.get(algorithm) == len(digits) and not set(digits) - set("0123456789abcdef")
    if well_formed:
        assert Hash(changed) == changed
    else:
        with pytest.raises(InvalidNameError):
            Hash(changed)


@pytest.mark.parametrize("algorithm", sorted(HEX_LENGTH))
@few_examples
@given(data=st.binary(max_size=100))
def test_the_name_of_bytes_is_their_hash(algorithm: str, data: bytes) -> None:
    name = DiffID.of(data, algorithm)
    assert type(name) is DiffID
    assert name == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    running = name.hasher()
    running.update(data)
    assert DiffID.from_hasher(running) == name


def test_sha256_is_what_is_meant_if_nothing_is_said() -> None:
    assert Digest.of(b"").startswith("sha256:e3b0c44298fc1c14")


def test_the_short_form_has_the_algorithm_and_twelve_digits() -> None:
    assert Digest(f"sha256:{HEX}").short == "sha256:0123456789ab"
    assert Digest(f"sha512:{HEX * 2}").short == "sha512:0123456789ab"


def test_a_role_is_kept_or_changed_on_purpose() -> None:
    digest = Digest(f"sha256:{HEX}")
    assert type(Hash(digest)) is Hash
    assert type(DiffID(digest)) is DiffID
    assert str(DiffID(digest)) == digest
