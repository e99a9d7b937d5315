from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import pytest
from fixtures.calling import PROGRAM, Caller, on_terminal
from servers.images import make_image, make_layer, noise, sample_layers
from servers.lying import LyingRegistry, silent, wrong_bytes

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.certificates import Certificate
    from servers.images import Image, Sample


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


@pytest.fixture
def image(sample: Sample) -> Image:
    return sample.image


def test_pull_shows_where_each_layer_came_from(cli: Caller, registry: LyingRegistry, image: Image) -> None:
    name = registry.add_image("1", image)
    where = name.removesuffix(":1")
    expected = [[layer.digest, layer.diff_id, str(len(layer.blob)), "-"] for layer in image.layers]
    pulled = cli.lines("pull", name)
    assert [line[:4] for line in pulled[:2]] == expected[:2]
    assert [line[4:] for line in pulled] == [["fetched", where, name]] * 3
    assert [line[4:] for line in cli.lines("pull", name)] == [["hit", cli.url, name]] * 3
    assert [len(registry.asked(layer.digest)) for layer in image.layers] == [1, 1, 1]


def test_the_summary_counts_and_stdout_has_only_data(
    cli: Caller, registry: LyingRegistry, image: Image
) -> None:
    called = cli("pull", registry.add_image("1", image))
    fetched = sum(len(layer.blob) for layer in image.layers)
    assert called.stderr.startswith(f"from registry 3 ({fetched / 1000:.1f} kB), failed 0, ")
    assert "inflated" not in called.stdout


def test_quiet_prints_nothing(cli: Caller, layout: str) -> None:
    assert cli("pull", "--quiet", layout).output == ""
    assert len(cli.lines("ls")) == 3


def test_json_has_every_field(cli: Caller, registry: LyingRegistry, image: Image) -> None:
    name = registry.add_image("1", image)
    told = cli.json("pull", name, "--form", "both")
    (pulled,) = told["images"]
    assert (pulled["name"], pulled["digest"]) == (name, image.descriptor.digest)
    assert pulled["platform"] == "linux/amd64"
    assert [each["digest"] for each in pulled["layers"]] == [layer.digest for layer in image.layers]
    assert [each["uncompressed_size"] for each in pulled["layers"]] == [
        len(each.tar) for each in image.layers
    ]
    assert {each["result"] for each in pulled["layers"]} == {"fetched"}
    assert [each["inflated"] for each in pulled["layers"]] == [True, True, False], "the last is a plain tar"
    assert (told["fetched"], told["inflated"], told["errors"]) == (3, 2, [])


@pytest.mark.parametrize(("form", "forms"), [("compressed", "compressed"), ("both", "both")])
def test_the_form_decides_what_is_kept(cli: Caller, layout: str, form: str, forms: str) -> None:
    cli("pull", layout, "--form", form)
    assert sorted(line[-1] for line in cli.lines("ls")) == sorted([forms, forms, "both"])


def test_a_cache_of_tars_gets_tars(tmp_path: Path, layout: str) -> None:
    caller = Caller(f"file://{tmp_path}/cache?keep=uncompressed")
    assert [line[4] for line in caller.lines("pull", layout)] == ["fetched"] * 3
    assert {line[-1] for line in caller.lines("ls")} <= {"uncompressed", "both"}
    assert "no tier keeps the compressed form" in caller("pull", layout, "--form", "both", code=2).stderr


def test_the_next_pull_shows_a_tar_size_that_was_learned(cli: Caller, layout: str, image: Image) -> None:
    cli("pull", layout, "--form", "both")
    assert [line[3] for line in cli.lines("pull", layout)] == [str(len(layer.tar)) for layer in image.layers]


def test_a_layer_that_images_share_is_pulled_once(cli: Caller, registry: LyingRegistry) -> None:
    shared, one, two = (make_layer({"noise": noise(500, seed)}) for seed in range(3))
    names = [
        registry.add_image("1", make_image([shared, one])),
        registry.add_image("2", make_image([shared, two])),
    ]
    pulled = cli.lines("pull", *names)
    assert [line[-1] for line in pulled] == [names[0], names[0], names[1], names[1]]
    assert len(registry.asked(shared.digest)) == 1


def test_the_biggest_layer_comes_first(cli: Caller, registry: LyingRegistry) -> None:
    layers = [make_layer({"noise": noise(size)}) for size in (1000, 30_000, 5000)]
    cli("pull", "--jobs", "1", registry.add_image("1", make_image(layers)))
    asked = [request.path.rpartition("/")[2] for request in registry.asked("GET /v2/app/blobs/")]
    assert [name for name in asked if name in {layer.digest for layer in layers}] == [
        layers[number].digest for number in (1, 2, 0)
    ]


def test_the_platform_is_chosen(cli: Caller, sample: Sample) -> None:
    name = f"oci:{sample.layout}:index"
    for platform, image in zip(("linux/amd64", "linux/arm64"), sample.index.images, strict=True):
        told = cli.json("pull", name, "--platform", platform)
        assert told["images"][0]["digest"] == image.descriptor.digest
    assert "s390x" in cli("pull", name, "--platform", "linux/s390x", code=1).stderr


def test_a_foreign_layer_is_listed_as_skipped(cli: Caller, registry: LyingRegistry, image: Image) -> None:
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    text = image.manifest.replace(image.layers[0].media_type.encode(), foreign.encode(), 1)
    for blob in image.blobs.values():
        registry.add_blob(blob)
    registry.add_manifest("1", image.media_type, text)
    name = f"{registry.host}/app:1"
    called = cli("pull", name)
    assert [image.layers[0].digest, "skipped"] in [
        line.split("\t")[::4][:2] for line in called.stdout.splitlines()
    ]
    assert "skipped 1 foreign layer" in called.stderr
    assert not registry.asked(image.layers[0].digest)
    assert cli.json("pull", name)["images"][0]["foreign"][0]["digest"] == image.layers[0].digest


def test_a_blob_that_is_not_a_layer_is_pulled_unchanged(cli: Caller, registry: LyingRegistry) -> None:
    chart = registry.add_blob(b"a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    config = registry.add_blob(b"{}", "application/vnd.cncf.helm.config.v1+json")
    entries = [
        f'{{"mediaType":"{each.media_type}","digest":"{each.digest}","size":{each.size}}}'
        for each in (config, chart)
    ]
    text = f'{{"schemaVersion":2,"config":{entries[0]},"layers":[{entries[1]}]}}'
    registry.add_manifest("1", "application/vnd.oci.image.manifest.v1+json", text.encode())
    (line,) = cli.lines("pull", f"{registry.host}/app:1", "--form", "both")
    assert line[:2] == [chart.digest, "-"]
    assert cli("get", chart.digest).stdout_bytes == b"a chart"


def test_offline_an_image_is_what_it_was(cli: Caller, registry: LyingRegistry, image: Image) -> None:
    name = registry.add_image("1", image)
    assert "is not cached" in cli("--offline", "pull", name, code=1).stderr
    assert not registry.requests
    cli("pull", name)
    before = len(registry.requests)
    assert [line[4] for line in cli.lines("--offline", "pull", name)] == ["hit"] * 3
    assert len(registry.requests) == before


def test_an_image_protects_its_layers_unless_forced(
    cli: Caller, registry: LyingRegistry, image: Image
) -> None:
    name = registry.add_image("1", image)
    cli("pull", name)
    digest = image.layers[0].digest
    assert name in cli("rm", digest, code=5).stderr
    assert cli.json("info", digest)["images"] == [name]
    assert f"image    {name}\n" in cli("info", digest).stdout
    cli("rm", "--force", digest)
    assert len(cli.lines("ls")) == 2


def test_if_an_image_fails_the_others_go_on(cli: Caller, registry: LyingRegistry, image: Image) -> None:
    name = registry.add_image("1", image)
    missing = name.replace(":1", ":2")
    called = cli("pull", missing, name, "oci:/nowhere", code=1)
    assert len(called.stdout.splitlines()) == 3
    assert missing in called.stderr
    assert "oci:/nowhere" in called.stderr


def test_if_a_layer_fails_the_others_go_on(cli: Caller, registry: LyingRegistry, image: Image) -> None:
    name = registry.add_image("1", image)
    registry.on(image.layers[1].digest, wrong_bytes)
    called = cli("pull", name, code=3)
    assert [line.split("\t")[4] for line in called.stdout.splitlines()] == ["fetched", "failed", "fetched"]
    assert f"layercache: the bytes of {image.layers[1].digest} have the hash" in called.stderr
    assert [line[4] for line in cli.lines("pull", name)] == ["hit", "fetched", "hit"]


def test_many_equal_failures_are_summarized(cli: Caller, registry: LyingRegistry) -> None:
    layers = [make_layer({"number": b"%d" % number}) for number in range(9)]
    name = registry.add_image("1", make_image(layers))
    for layer in layers:
        registry.on(layer.digest, wrong_bytes)
    said = cli("pull", name, code=3).stderr
    assert said.count("layercache: ") == 6
    assert said.endswith("layercache: and 4 more failures\n")


def test_a_registry_that_is_down_is_a_failure(cli: Caller) -> None:
    with LyingRegistry() as gone:
        name = f"{gone.host}/app:1"
    said = cli("pull", name, code=4)
    assert said.stderr.startswith(f"layercache: cannot connect to {gone.host}: ")
    assert said.stdout == ""


def test_a_certificate_of_an_own_authority_is_trusted_if_named(
    cli: Caller, image: Image, certificate: Certificate
) -> None:
    with LyingRegistry(tls=certificate) as registry:
        name = registry.add_image("1", image)
        assert "certificate" in cli("pull", name, code=4).stderr
        cli("pull", name, "--ca-file", str(certificate.authority))
        cli("pull", name, "--insecure", registry.host)


def test_a_certificate_file_that_is_not_there_is_a_usage_error(cli: Caller, layout: str) -> None:
    assert "nowhere.pem" in cli("pull", layout, "--ca-file", "nowhere.pem", code=2).stderr


def test_on_a_terminal_hashes_are_short_and_the_table_fits(cli: Caller, registry: LyingRegistry) -> None:
    image = make_image(sample_layers(5))
    name = registry.add_image("1", image)
    code, seen = cli.on_terminal("pull", name)
    assert code == 0
    table = click.unstyle(seen.rpartition("\x1b[2K")[2]).splitlines()
    assert table[0] == f"{name}  linux/amd64"
    assert table[1].split()[:4] == ["DIGEST", "DIFF", "ID", "SIZE"]
    assert [line[:12] for line in table[2:5]] == [layer.digest.hex[:12] for layer in image.layers]
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize("terminal", ["dumb", "unknown", "vt100"])
def test_a_terminal_that_can_do_little_gets_the_table(layout: str, cli: Caller, terminal: str) -> None:
    code, seen = on_terminal([*PROGRAM, "--cache", cli.url, "pull", layout], terminal=terminal)
    assert code == 0
    assert "from oci:" in seen
    if terminal == "dumb":
        assert "\x1b" not in seen


def test_verbose_logs_each_step(cli: Caller, layout: str, image: Image) -> None:
    said = cli("--verbose", "pull", layout).stderr
    assert (
        f"layercache: fetched compressed {image.layers[0].digest} {len(image.layers[0].blob)} bytes oci:"
        in said
    )
    assert f"layercache: stored compressed {image.layers[0].digest}" in said


def test_the_interrupt_key_ends_it_at_once_and_leaves_nothing_half(
    cli: Caller, registry: LyingRegistry, tmp_path: Path
) -> None:
    big, small = make_layer({"noise": noise(2 << 20)}), make_layer({"noise": noise(100, 1)})
    name = registry.add_image("1", make_image([big, small]))
    registry.on(f"GET /v2/app/blobs/{big.digest}", silent(1 << 20))

    def press(seen: bytes) -> bytes:
        return b"\x03" if b"1 of 2 layers" in seen else b""

    code, seen = cli.on_terminal("pull", name, when=press)
    assert code == 130
    assert "layercache: interrupted" in click.unstyle(seen)
    assert "Traceback" not in seen
    assert_whole(tmp_path / "cache", absent=big.digest)


@pytest.mark.parametrize(
    ("number", "code", "words"), [(1, 129, b""), (2, 130, b"layercache: interrupted\n"), (15, 143, b"")]
)
def test_a_signal_ends_it_with_its_own_code(
    cli: Caller, registry: LyingRegistry, tmp_path: Path, number: int, code: int, words: bytes
) -> None:
    big = make_layer({"noise": noise(2 << 20)})
    name = registry.add_image("1", make_image([big]))
    registry.on(f"GET /v2/app/blobs/{big.digest}", silent(1 << 20))
    with cli.begin("pull", name) as process:
        while not registry.asked(f"GET /v2/app/blobs/{big.digest}"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, words)
    assert_whole(tmp_path / "cache", absent=big.digest)


def assert_whole(cache: Path, *, absent: Digest) -> None:
    """Every blob has its name's hash, this one is not there, and nothing unfinished is left."""
    for blob in (cache / "blobs" / "sha256").iterdir():
        assert Digest.of(blob.read_bytes()).hex == blob.name
        assert blob.name != absent.hex
    assert list((cache / "tmp").iterdir()) == []


def test_platform_all_pulls_what_a_sparse_index_has_and_reports_the_rest(
    cli: Caller, registry: LyingRegistry, sample: Sample
) -> None:
    there, missing = sample.index.images
    name = registry.add_image("part", there).removesuffix("part") + "1"
    registry.add_manifest("1", sample.index.media_type, sample.index.manifest)
    called = cli("pull", "--platform", "all", name, code=1)
    assert [line.split("\t")[4] for line in called.stdout.splitlines()] == ["fetched"] * 3
    assert missing.descriptor.digest in called.stderr
    assert there.descriptor.digest not in called.stderr
    document = cli.json("pull", "--platform", "all", name, code=1)
    assert [each["digest"] for each in document["images"]] == [there.descriptor.digest]
    assert len(document["errors"]) == 1
    assert len(cli.lines("--offline", "pull", "--platform", "all", name)) == 3
    cli("verify")
