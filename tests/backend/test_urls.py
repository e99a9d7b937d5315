"""A URL picks the backend and carries its options; what is wrong with one is said with what is right."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layercache.backend import BackendURL, check_key, check_range, open_backend
from layercache.errors import ConfigError, InvalidNameError
from layercache.testing import keys
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

PATH = string.printable + "ä"

few_examples = settings(max_examples=60)


@dataclass(frozen=True, slots=True)
class Options:
    sync: bool = True
    parts: int = 4
    speed: float = 1.5
    endpoint: str | None = None
    style: Literal["path", "virtual"] = "path"


@dataclass(frozen=True, slots=True)
class NoOptions:
    pass


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("file:///var/cache", BackendURL("file", "", "/var/cache")),
        ("file:///with%20space", BackendURL("file", "", "/with space")),
        ("file://localhost/x?sync=false", BackendURL("file", "localhost", "/x", {"sync": "false"})),
        ("memory://", BackendURL("memory", "", "")),
        ("memory://name", BackendURL("memory", "name", "")),
        ("s3://bucket/a/b", BackendURL("s3", "bucket", "/a/b")),
        ("s3://b?a=1&b=&c=%2F+x", BackendURL("s3", "b", "", {"a": "1", "b": "", "c": "/ x"})),
        ("/var/cache", BackendURL("file", "", "/var/cache")),
        ("/odd name=#1 %20", BackendURL("file", "", "/odd name=#1 %20")),
        ("./x", BackendURL("file", "", "./x")),
        ("../x", BackendURL("file", "", "../x")),
        ("~/x", BackendURL("file", "", "~/x")),
        (".", BackendURL("file", "", ".")),
        ("..", BackendURL("file", "", "..")),
    ],
)
def test_a_url_is_taken_apart(url: str, parsed: BackendURL) -> None:
    assert BackendURL.parse(url) == parsed


@few_examples
@given(
    scheme=st.from_regex(r"[a-z][a-z0-9+.-]{0,8}", fullmatch=True),
    netloc=st.text(string.ascii_lowercase + string.digits + ".-", max_size=12),
    path=st.text(PATH, max_size=20).map(lambda path: f"/{path}") | st.just(""),
    query=st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=3),
)
def test_a_url_that_is_printed_parses_to_itself(
    scheme: str, netloc: str, path: str, query: dict[str, str]
) -> None:
    url = BackendURL(scheme, netloc, path, query)
    assert BackendURL.parse(str(url)) == url


@settings(max_examples=200)
@given(query=st.text("ab1=&/~._-?%+#", max_size=9))
def test_options_are_read_in_the_same_way_whether_urllib_is_asked_or_not(query: str) -> None:
    """It is not imported for a file:/// URL in which nothing is quoted; for a host it is."""

    def options(url: str) -> object:
        try:
            return BackendURL.parse(url).query
        except ConfigError as error:
            return error.message.replace("//localhost", "//")

    assert options(f"file:///x?{query}") == options(f"file://localhost/x?{query}")


@few_examples
@given(query=st.dictionaries(st.text("ab1=&/~._-?%+#", min_size=1), st.text("ab1=&/~._-?%+#"), min_size=1))
def test_options_are_printed_as_urllib_prints_them(query: dict[str, str]) -> None:
    assert str(BackendURL("file", "", "/x", query)) == f"file:///x?{urlencode(query)}"


@pytest.mark.parametrize("url", ["", "cache", "a/b", "file:/x", "s3:bucket", "://x", "registry:5000/x"])
def test_what_is_no_url_is_refused_with_what_is_wanted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not a cache URL(.|\n)*expected scheme://location"):
        open_backend(url)


@pytest.mark.parametrize("url", ["file:///a%00b", "file://~/a%00b", "/a\0b", "./a\0b"])
def test_a_path_that_no_file_system_has_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not the path of a folder"):
        open_backend(url)


@pytest.mark.parametrize("url", ["file:///x?sync", "s3://[::1", "file:///x#y", "file:///x?a=1&a=2"])
def test_what_could_be_misread_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not a cache URL"):
        open_backend(url)


@pytest.mark.parametrize("path", ["./x", "../x", "~/x", ".", "/odd name=#1 %20"])
def test_a_path_that_is_printed_parses_to_itself(path: str) -> None:
    assert BackendURL.parse(str(BackendURL.parse(path))) == BackendURL.parse(path)


def test_a_path_takes_no_options_and_says_where_they_belong() -> None:
    with pytest.raises(ConfigError, match="file:///path"):
        BackendURL.parse("./layers?readonly=true")


def test_the_value_of_an_unknown_option_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="unknown option secret_key") as caught:
        open_backend("memory://b?secret_key=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://me:hunter2@bucket/x",
        "s3://hunter2@bucket",
        "s3://:hunter2@b?c=d",
        "s3:me:hunter2@b",
        "s3://me:hunter2@[::1",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"credentials|not a cache URL") as caught:
        open_backend(url)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown scheme ftp://(.|\n)*file.*memory"):
        open_backend("ftp://host/x")


def test_a_scheme_picks_its_backend() -> None:
    assert isinstance(open_backend("/x"), LocalBackend)
    assert isinstance(open_backend("file:///x"), LocalBackend)
    assert isinstance(open_backend("memory://"), MemoryBackend)
    assert isinstance(open_backend(BackendURL.parse("memory://")), MemoryBackend)


def test_options_are_converted_to_the_types_of_the_dataclass() -> None:
    query = "sync=false&parts=8&speed=2&endpoint=http://localhost:1&style=virtual"
    options = BackendURL.parse(f"s3://bucket?{query}").options(Options)
    assert options == Options(False, 8, 2.0, "http://localhost:1", "virtual")


def test_options_that_are_not_given_have_their_defaults() -> None:
    assert BackendURL.parse("s3://bucket").options(Options) == Options()
    assert BackendURL.parse("s3://bucket").options(NoOptions) == NoOptions()


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown option part(.|\n)*options of s3://: sync, parts, speed, endpoint, style"
    ):
        BackendURL.parse("s3://bucket?part=8").options(Options)
    with pytest.raises(ConfigError, match=r"unknown option part(.|\n)*options of s3://: none"):
        BackendURL.parse("s3://bucket?part=8").options(NoOptions)


@pytest.mark.parametrize("query", ["sync=perhaps", "parts=many", "parts=", "speed=x", "style=other"])
def test_a_value_of_the_wrong_type_is_refused_by_the_options_name(query: str) -> None:
    name = query.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"\$\.{name}(.|\n)*options of s3://: sync"):
        BackendURL.parse(f"s3://bucket?{query}").options(Options)


# Keys and ranges


@few_examples
@given(keys())
def test_the_keys_of_the_contract_match_the_grammar(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", ".a", "-a", "a/.b", "a b", "ä", "a\n",
     "a\0", "a\\b", "a?b", "a%2Fb", "a*", "a" * 256, "/".join(["a" * 200] * 5)],
)  # fmt: skip
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidNameError, match="not an object name"):
        check_key(key)


@few_examples
@given(st.text(st.sampled_from("ab./_-\n\0ä "), max_size=12))
def test_no_key_leads_out_of_a_folder(key: str) -> None:
    try:
        check_key(key)
    except InvalidNameError:
        return
    components = key.split("/")
    assert all(component and component[0] not in ".-" for component in components)
    assert set(key) <= set("ab./_-")


def test_a_range_begins_at_0_or_later_and_ends_no_sooner() -> None:
    for start, end in [(0, None), (0, 0), (5, 5), (5, 9), (5, None)]:
        check_range(start, end)
    for start, end in [(-1, None), (-1, 0), (5, 4), (0, -1)]:
        with pytest.raises(ValueError, match="not a range"):
            check_range(start, end)
