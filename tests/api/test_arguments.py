"""What methods take, and what they say of anything else; and that a closed cache is closed."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers.images import make_image, make_layer, noise

import layercache
from layercache import ClosedError
from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.lying import LyingRegistry

    from layercache import Cache, Layer

LAYER = make_layer({"file": noise(3000)})

WRONG: list[tuple[str, Callable[[Cache], object]]] = [
    ("a digest or a diff ID, a str (sha256:…), found int: 5", lambda cache: cache.get(_any(5))),
    ("a digest or a diff ID, a str (sha256:…), found bytes", lambda cache: cache.layer(_any(b"sha256:"))),
    ("a digest or a diff ID, a str (sha256:…), found NoneType", lambda cache: cache.delete(_any(None))),
    ("a path, or a binary stream, found int", lambda cache: cache.put(_any(5))),
    (
        "the name of an image, a str (alpine:3.20, oci:PATH), found",
        lambda cache: cache.image(_any(Path("x"))),
    ),
    ("the name of an image, a str", lambda cache: cache.platforms(_any(5))),
    ("the name of an image, a str", lambda cache: cache.manifest(_any(5))),
    ("the name of an image, a str", lambda cache: cache.pull(_any([5]))),
    ("the name of an image, a str", lambda cache: cache.tags(_any(5))),
    ("the name of an image, a str", lambda cache: cache.forget_image(_any(5))),
    ("the name of an image, a str", lambda cache: cache.export(_any(5), "oci:x")),
    ("a platform, a str (linux/amd64), found int", lambda cache: cache.image("oci:x", platform=_any(5))),
    ("a target, a str (oci:PATH", lambda cache: cache.export("alpine", _any(Path("x")))),
    ("a path, or a binary stream, found StringIO", lambda cache: cache.put(_any(io.StringIO("x")))),
    ("the name of an image, or several", lambda cache: cache.pull(_any(None))),
    ("jobs, a whole number, found str: '2'", lambda cache: cache.pull("alpine", jobs=_any("2"))),
    ("jobs, a whole number, found str: '2'", lambda cache: cache.verify(jobs=_any("2"))),
    ("a Sample, found float: 0.05", lambda cache: cache.verify(sample=_any(0.05))),
    ("max_size in bytes, a number, found str: '20GB'", lambda cache: cache.prune(max_size=_any("20GB"))),
    ("max_age in seconds, a number, found str: '30d'", lambda cache: cache.prune(max_age=_any("30d"))),
    ("since in seconds, a number, found str", lambda cache: cache.copy_to("memory://x", since=_any("1d"))),
    ("a function of an event, found int: 5", lambda cache: cache.watch(_any(5))),
    ("a function that makes observers, found int", lambda cache: cache.observe(_any(5))),
    ("fetch, a function of a digest, found int", lambda cache: cache.layer(LAYER.digest, fetch=_any(5))),
    ("an offset in bytes, a whole number, found str", lambda cache: _layer(cache).compressed(_any("5"))),
    ("an offset in bytes, a whole number, found float", lambda cache: _layer(cache).compressed(0, _any(2.5))),
    (
        "tag_age, a number of seconds, found str: '1h'",
        lambda _: layercache.open("memory://x", tag_age=_any("1h")),
    ),
    ("strict, True or False, found int: 1", lambda _: layercache.open("memory://x", strict=_any(1))),
    ("max_ratio, a whole number, found bool", lambda _: layercache.open("memory://x", max_ratio=_any(True))),
    ("config, a path, found int: 5", lambda _: layercache.open(config=_any(5))),
    (
        "registries, a RegistrySettings, found dict",
        lambda _: layercache.open("memory://x", registries=_any({})),
    ),
    ("several paths, found str: 'etc'", lambda c: _layer(c).extract("/nowhere", "etc")),
    ("a URL or a folder, or several of them, found int: 5", lambda _: layercache.open(_any(5))),
    ("the URL or the folder of a cache, a str or a path, found int", lambda _: layercache.open(_any([5]))),
]


def _any(value: object) -> Any:
    return value


def _layer(cache: Cache) -> Layer:
    return cache.put(io.BytesIO(LAYER.blob))


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_an_argument_of_a_wrong_type_is_a_type_error_that_says_what_is_expected(
    number: int, tmp_path: Path
) -> None:
    message, call = WRONG[number]
    with layercache.open(tmp_path / "cache") as cache, pytest.raises(TypeError) as caught:
        call(cache)
    assert f"expected {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (
            "not a form: 'tar' (expected compressed, uncompressed, both)",
            lambda c: _layer(c).fill(_any("tar")),
        ),
        ("not a form: 'both' (expected compressed, uncompressed)", lambda c: _layer(c).path(_any("both"))),
        ("not a form: 'tar'", lambda c: c.pull("oci:x", form=_any("tar"))),
        ("not a form: 'tar'", lambda c: c.copy_to("memory://x", form=_any("tar"))),
        ("jobs: expected 1 or more, found 0", lambda c: c.pull("oci:x", jobs=0)),
        ("max_size: expected 0 bytes or more, found -1", lambda c: c.prune(max_size=-1)),
    ],
)
def test_a_wrong_value_is_a_value_error_before_anything_is_done(
    message: str, call: Callable[[Cache], object], tmp_path: Path
) -> None:
    with layercache.open(tmp_path / "cache") as cache, pytest.raises(ValueError, match=re.escape(message)):
        call(cache)


def test_paths_are_taken_wherever_a_path_can_stand(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(LAYER.blob)
    (tmp_path / "config.toml").write_text("offline = true\n")
    settings = layercache.RegistrySettings(auth_files=(tmp_path / "auth.json",), ca_file=None)
    with layercache.open(
        [tmp_path / "near", tmp_path / "far"], config=tmp_path / "config.toml", registries=settings
    ) as cache:
        assert cache.offline
        layer = cache.put(tmp_path / "layer")
        assert cache.copy_to(tmp_path / "other").copied > 0
    assert layer.digest == LAYER.digest


METHODS: dict[str, Callable[[Cache, Layer], object]] = {
    "get": lambda cache, layer: cache.get(layer.digest),
    "in": lambda cache, layer: layer.digest in cache,
    "put": lambda cache, _: cache.put(__file__, any_data=True),
    "layer": lambda cache, layer: cache.layer(layer.digest),
    "image": lambda cache, _: cache.image("alpine"),
    "tags": lambda cache, _: cache.tags("alpine"),
    "manifest": lambda cache, _: cache.manifest("alpine"),
    "pull": lambda cache, _: cache.pull("alpine"),
    "images": lambda cache, _: cache.images(),
    "layers": lambda cache, _: cache.layers(),
    "stats": lambda cache, _: cache.stats(),
    "verify": lambda cache, _: cache.verify(),
    "prune": lambda cache, _: cache.prune(),
    "clean": lambda cache, _: cache.clean(),
    "adopt": lambda cache, _: cache.adopt(),
    "upgrade": lambda cache, _: cache.upgrade(),
    "explain": lambda cache, _: cache.explain("alpine"),
    "export": lambda cache, _: cache.export("alpine", "oci:x"),
    "delete": lambda cache, layer: cache.delete(layer.digest),
    "forget_image": lambda cache, _: cache.forget_image("alpine"),
    "copy_to": lambda cache, _: cache.copy_to("memory://x"),
    "with": lambda cache, _: cache.__enter__(),
    "compressed": lambda _, layer: layer.compressed(),
    "uncompressed": lambda _, layer: layer.uncompressed(1, 2),
    "fill": lambda _, layer: layer.fill(),
    "stat": lambda _, layer: layer.stat(),
    "path": lambda _, layer: layer.path(),
    "compress": lambda _, layer: layer.compress("zstd"),
    "signed_url": lambda _, layer: layer.signed_url("compressed", 5),
}


@pytest.fixture
def closed(tmp_path: Path) -> tuple[Cache, Layer]:
    (tmp_path / "layer").write_bytes(LAYER.blob)
    with layercache.open(tmp_path / "cache") as cache:
        layer = cache.put(tmp_path / "layer")
    return cache, layer


@pytest.mark.parametrize("method", METHODS)
def test_a_closed_cache_says_so(method: str, closed: tuple[Cache, Layer]) -> None:
    with pytest.raises(ClosedError, match="the cache is closed") as caught:
        METHODS[method](*closed)
    assert isinstance(caught.value, ValueError), "as for a closed file"
    assert isinstance(caught.value, LayercacheError)


def test_what_a_closed_cache_has_counted_can_still_be_read(closed: tuple[Cache, Layer]) -> None:
    cache, layer = closed
    assert cache.closed
    assert cache.counters.stored == 2
    assert cache.uploads.progress() == []
    assert repr(cache).startswith("<closed cache ")
    assert layer.digest == LAYER.digest
    cache.close()


def test_layers_images_and_caches_can_be_pickled(tmp_path: Path, lying: LyingRegistry) -> None:
    name = lying.add_image("1", make_image([LAYER]))
    with layercache.open(tmp_path / "cache") as cache:
        image = cache.image(name, platform="linux/amd64")
        asked = len(lying.requests)
        data = pickle.dumps((cache, image, image.layers[0]))
        same, copy, layer = pickle.loads(data)
        assert same is cache
        assert (copy.digest, copy.config) == (image.digest, image.config)
        assert layer.names == image.layers[0].names
        assert len(data) < 10_000
        assert len(lying.requests) == asked, "neither needs a request"
        with layer.uncompressed() as tar:
            assert tar.read() == LAYER.tar, "its registry is known"


def test_a_pickle_opens_the_cache_once_where_it_is_not_open(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(LAYER.blob)
    with layercache.open(tmp_path / "cache", offline=True, tag_age=5) as cache:
        layer = cache.put(tmp_path / "layer")
        data = pickle.dumps([layer, layer])
    first, second = pickle.loads(data)  # closed here, as it would be in another process
    with first.compressed() as blob:
        assert blob.read() == LAYER.blob
    again = pickle.loads(pickle.dumps(first))
    assert first._resolver is second._resolver is again._resolver
    again._resolver.reopening.cache().close()


def test_a_layer_goes_to_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    (tmp_path / "layer").write_bytes(LAYER.blob)
    monkeypatch.chdir(tmp_path)
    with layercache.open("./cache") as cache, multiprocessing.get_context("spawn").Pool(1) as pool:
        layer = cache.put("layer")
        assert pool.apply(type(layer).fill, (layer,)) is None
        assert pool.apply(type(layer).stat, (layer,)) == len(LAYER.blob)


def test_a_cache_that_was_made_otherwise_cannot_be_pickled() -> None:
    from layercache.config.opening import load

    with load().open(["memory://"], by="test") as cache:
        layer = cache.layer(LAYER.digest)
        for each in (cache, layer):
            with pytest.raises(TypeError, match=r"layercache\.open"):
                pickle.dumps(each)
