"""files and cat: which files there are, by which names they are printed, and their bytes."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import table_in
from fixtures.file_images import (
    BINARY,
    HOSTILE,
    RELEASE,
    UPPER_RELEASE,
    entry,
    hostile,
    layer_of,
    lower,
    team_image,
    upper,
)
from servers.images import Layer, make_image, noise
from servers.lying import silent

from layercache.oci.descriptor import OCI_LAYER_GZIP

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.lying import LyingRegistry

PATHS = [
    "etc",
    "etc/new.conf",
    "etc/os-release",
    "etc/outside",
    "etc/passwd",
    "etc/release",
    "usr",
    "usr/bin",
    "usr/bin/other",
    "usr/bin/tool",
    "usr/share",
    "usr/share/deep.conf",
]


@pytest.fixture
def image(lying: LyingRegistry) -> str:
    return lying.add_image("1", team_image())


def test_files_prints_the_paths_of_an_image_as_a_container_sees_them(cli: Caller, image: str) -> None:
    assert cli("files", image).stdout.splitlines() == PATHS


def test_files_of_a_layer_are_the_entries_of_its_tar(cli: Caller, image: str) -> None:
    cli("pull", "--quiet", image)
    expected = ["etc", "etc/os-release", "etc/.wh.gone", "etc/new.conf"]
    for name in (upper().digest, upper().diff_id, upper().digest.hex[:12]):
        assert cli("files", name).stdout.splitlines() == expected


def test_the_hash_of_an_image_names_the_image(cli: Caller, image: str) -> None:
    cli("pull", "--quiet", image)
    assert cli("files", team_image().descriptor.digest).stdout.splitlines() == PATHS


def test_a_layer_of_a_cached_image_comes_from_its_registry(cli: Caller, image: str) -> None:
    cli("manifest", image)
    cli("info", image)
    assert cli("cat", lower().digest, "etc/gone").stdout == "removed above"


def test_an_image_of_a_layout_has_files_and_later_by_its_name_in_the_cache(cli: Caller, layout: str) -> None:
    paths = ["etc/name", "noise", "plain", "seed", "zeros"]
    assert cli("files", layout, "name", "noise", "plain", "seed", "zeros").stdout.splitlines() == paths
    assert cli("cat", layout, "etc/name").stdout == "sample 1"
    assert cli("cat", "localhost/imported:image", "etc/name").stdout == "sample 1"
    assert cli.lines("find", layout, "localhost/imported:image", "--name", "plain") == [
        [layout, "plain"],
        ["localhost/imported:image", "plain"],
    ]
    assert "not cached" in cli("cat", "localhost/imported:other", "x", code=1).stderr


def test_globs_choose_by_name_or_by_path(cli: Caller, image: str) -> None:
    assert cli("files", image, "*.conf").stdout.splitlines() == ["etc/new.conf", "usr/share/deep.conf"]
    assert cli("files", image, "/etc/*.conf", "usr/**/tool").stdout.splitlines() == [
        "etc/new.conf",
        "usr/bin/tool",
    ]
    assert cli("files", image, "usr/bin/").stdout.splitlines() == ["usr/bin/other", "usr/bin/tool"]


def test_a_glob_that_matches_nothing_is_not_found_but_the_others_are_printed(cli: Caller, image: str) -> None:
    called = cli("files", image, "*.exe", "passwd", code=1)
    assert called.stdout == "etc/passwd\n"
    assert called.stderr == f"layercache: no file of {image} matches *.exe\n"
    said = cli("files", image, "/etc/paswd", code=1).stderr
    assert "did you mean" in said
    assert "passwd" in said
    said = cli("files", image, "../etc/release", code=1).stderr
    assert "its path in the image is etc/os-release" in said
    assert "it is empty" in cli("files", image, "", code=2).stderr
    said = cli("files", image, "bin/*", code=1).stderr
    assert "  hint       a GLOB with a / is compared with the whole path" in said


def test_the_long_form_has_what_ls_has_and_the_layer(cli: Caller, image: str) -> None:
    found = {line[5]: line[:5] for line in cli.lines("files", "--long", image)}
    time = "2023-11-14T22:13:20Z"
    assert found["etc/passwd"] == ["-rw-------", "root:wheel", "26", time, lower().digest]
    assert found["etc/os-release"] == ["-rw-r--r--", "0:0", str(len(UPPER_RELEASE)), time, upper().digest]
    assert found["usr/bin/tool"] == ["-rwsr-xr-x", "1000:100", str(len(BINARY)), time, lower().digest]
    assert found["usr/share"][0] == "drwxr-xr-x"
    assert found["etc/release -> os-release"][0] == "lrw-r--r--"


def test_a_table_of_files_fits_a_terminal(cli: Caller, lying: LyingRegistry) -> None:
    long = "/".join(["usr/lib/python3.11/site-packages", *(f"package{n}" for n in range(8)), "METADATA"])
    image = lying.add_image("long", make_image([layer_of([entry(long, b"x")])]))
    code, seen = cli.on_terminal("files", "--long", image)
    lines = table_in(seen, "MODE")
    assert code == 0
    assert lines[0].split() == ["MODE", "OWNER", "SIZE", "TIME", "LAYER", "PATH"]
    assert max(map(len, lines)) <= 80
    assert long in "".join("".join(line[50:] for line in lines).split())


def test_json_has_a_document_a_line(cli: Caller, image: str) -> None:
    documents = [json.loads(line) for line in cli("files", image, "--json").stdout.splitlines()]
    assert [each["path"] for each in documents] == PATHS
    (tool,) = [each for each in documents if each["path"] == "usr/bin/tool"]
    assert tool == {
        "path": "usr/bin/tool",
        "type": "file",
        "size": len(BINARY),
        "mode": "4755",
        "uid": 1000,
        "gid": 100,
        "user": "",
        "group": "",
        "mtime": 1_700_000_000,
        "link": None,
        "device": None,
        "xattrs": {},
        "sha256": tool["sha256"],
        "layer": lower().digest,
    }
    assert len(tool["sha256"]) == 64


@pytest.fixture
def harmful(lying: LyingRegistry) -> str:
    return lying.add_image("hostile", make_image([hostile()]))


SHOWN = [
    "hostile/back\\slash",
    "hostile/bytes\\xff\\xfe",
    "hostile/evil\\x1b[31mred",
    "hostile/line\\nbreak",
    "hostile/link",
    "hostile/right\\u202eleft",
    "hostile/tab\\there",
]


def test_no_name_controls_a_terminal_or_ends_a_line(cli: Caller, harmful: str) -> None:
    assert sorted(cli("files", harmful, "hostile/").stdout.splitlines()) == SHOWN
    long = cli("files", harmful, "--long", "hostile/").stdout
    assert all(len(line.split("\t")) == 6 for line in long.splitlines())
    assert "hostile/link -> \\x1b]0;title\\x07" in long
    code, seen = cli.on_terminal("files", "--long", harmful, "hostile/")
    assert code == 0
    assert "\x1b[31m" not in seen
    assert "\x1b]0" not in seen
    assert "\u202e" not in seen
    said = cli("cat", harmful, "hostile/evil\x1b[31m", code=1).stderr
    assert "\x1b" not in said


def test_raw_names_are_exact_and_end_with_a_nul(cli: Caller, harmful: str) -> None:
    raw = cli("files", "--null", harmful, "hostile/").stdout_bytes.split(b"\0")
    assert sorted(raw) == sorted(
        [b"", b"hostile/link", *(os.fsencode(f"hostile/{name}") for name in HOSTILE)]
    )
    documents = [json.loads(line) for line in cli("files", harmful, "--json").stdout.splitlines()]
    assert {f"hostile/{name}" for name in HOSTILE} < {each["path"] for each in documents}


def test_names_are_printed_whatever_letters_the_terminal_has(cli: Caller, lying: LyingRegistry) -> None:
    image = lying.add_image("letters", make_image([layer_of([entry("ä/日本", b"x")])]))
    done = cli.process("files", image, environment={"PYTHONIOENCODING": "ascii"})
    assert done.stdout.splitlines()[-1] == rb"\xe4/\u65e5\u672c"


@pytest.mark.parametrize("wrong", [("--null", "--long"), ("--null", "--json")])
def test_options_that_exclude_each_other_are_a_usage_error(
    cli: Caller, image: str, wrong: tuple[str, str]
) -> None:
    assert "leave out --long and --json" in cli("files", image, *wrong, code=2).stderr


def test_files_ends_quietly_when_nobody_reads_on(cli: Caller, lying: LyingRegistry) -> None:
    many = layer_of([entry(f"{'long' * 20}/{number}") for number in range(1000)])
    image = lying.add_image("many", make_image([many]))
    with cli.begin("files", image) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"long")
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_what_is_not_there_is_not_found(cli: Caller, lying: LyingRegistry, image: str) -> None:
    assert "nowhere" in cli("files", f"{lying.host}/app:nowhere", code=1).stderr
    assert "abcdefabcdef is not cached" in cli("files", "abcdefabcdef", code=1).stderr
    assert cli("files", "--offline", image, code=1).stderr.startswith("layercache: ")


def test_offline_the_files_of_a_pulled_image_are_there(cli: Caller, image: str, lying: LyingRegistry) -> None:
    cli("pull", "--quiet", image)
    before = len(lying.requests)
    assert cli("files", "--offline", image).stdout.splitlines() == PATHS
    assert cli("cat", "--offline", image, "etc/os-release").stdout_bytes == UPPER_RELEASE
    assert len(lying.requests) == before


def test_an_artefact_without_files_says_so(cli: Caller, lying: LyingRegistry) -> None:
    chart = Layer(b"no tar", b'{"a chart": 1}', "application/vnd.cncf.helm.chart.content.v1")
    image = lying.add_image("chart", make_image([chart]))
    for command in (("files", image), ("cat", image, "x")):
        called = cli(*command, code=2)
        assert called.stdout == ""
        assert "layer" in called.stderr


def test_a_layer_that_is_not_a_tar_is_corrupt(cli: Caller, lying: LyingRegistry) -> None:
    import gzip

    blob = gzip.compress(b"not a tar" * 1000, mtime=0)
    image = lying.add_image("broken", make_image([Layer(b"not a tar" * 1000, blob, OCI_LAYER_GZIP)]))
    assert cli("files", image, code=3).stdout == ""


def test_cat_writes_files_byte_for_byte_one_after_the_other(cli: Caller, image: str) -> None:
    done = cli("cat", image, "/usr/bin/tool", "etc/os-release", "usr/bin/other")
    assert done.stdout_bytes == BINARY + UPPER_RELEASE + BINARY
    assert done.stderr == ""


def test_links_are_followed_inside_the_image(cli: Caller, image: str) -> None:
    assert cli("cat", image, "etc/release", "etc/outside").stdout_bytes == UPPER_RELEASE * 2


def test_similar_files_of_any_folder_are_the_hint_where_nothing_matches(cli: Caller, image: str) -> None:
    said = cli("files", image, "os-releas", code=1).stderr
    assert said.endswith("os-releas\n  hint       did you mean etc/os-release?\n")


def test_a_pattern_of_tags_is_refused_with_the_commands_that_take_one(cli: Caller) -> None:
    said = cli("files", "team/app:*", code=2).stderr
    assert "layercache find" in said


def test_cat_of_a_layer_reads_that_layer(cli: Caller, image: str) -> None:
    cli("pull", "--quiet", image)
    assert cli("cat", lower().digest, "etc/os-release").stdout_bytes == RELEASE


def test_a_path_that_fails_does_not_stop_the_others(cli: Caller, image: str) -> None:
    called = cli("cat", image, "etc/os-relase", "usr/bin", "etc/os-release", code=1)
    assert called.stdout_bytes == UPPER_RELEASE
    assert "did you mean os-release?" in called.stderr
    assert (
        "usr/bin is not a file: it is a directory\n  hint       layercache files IMAGE usr/bin/ "
        in called.stderr
    )
    assert cli("cat", image, "usr/bin", code=2).stdout == ""


def test_binary_data_is_not_written_to_a_terminal(cli: Caller, image: str) -> None:
    code, seen = cli.on_terminal("cat", image, "usr/bin/tool")
    assert code == 2
    assert "refusing to write binary data to a terminal" in seen
    code, seen = cli.on_terminal("cat", image, "etc/os-release")
    assert code == 0
    assert table_in(seen, "NAME=") == UPPER_RELEASE.decode().splitlines()


@pytest.mark.timeout(40)  # the registry is silent for longer
def test_an_interrupt_ends_it_and_leaves_nothing_behind(
    cli: Caller, lying: LyingRegistry, tmp_path: Path
) -> None:
    big = layer_of([entry("big", noise(3_000_000))])
    image = lying.add_image("big", make_image([big]))
    lying.on(f"/blobs/{big.digest}", silent(1_000_000))
    code, seen = cli.on_terminal(
        "cat", image, "big", when=lambda seen: b"\x03" if b"reading" in seen else b""
    )
    assert code == 130
    assert "interrupted" in seen
    assert not (tmp_path / "cache" / "blobs" / "sha256" / big.diff_id.hex).exists()


def test_the_hash_of_a_platform_of_an_image_is_the_one_of_a_manifest(
    cli: Caller, lying: LyingRegistry, tmp_path: Path
) -> None:
    manifest = make_image([layer_of([entry("a", b"a")])]).manifest
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest)
    cli("put", "--any", str(path))
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    said = cli("cat", digest, "a", code=2).stderr
    assert f"{digest} is not a layer: it is the manifest of an image\n" in said
    assert f"REPOSITORY@{digest}" in said


def test_the_platform_can_be_chosen(cli: Caller, lying: LyingRegistry) -> None:
    from servers.images import make_index

    images = [
        make_image([layer_of([entry("arch", name.encode())])], f"linux/{name}") for name in ("amd64", "arm64")
    ]
    name = lying.add_image("both", make_index(images))
    assert cli("cat", name, "arch", "--platform", "linux/arm64").stdout == "arm64"
    assert "linux/s390x" in cli("files", name, "--platform", "linux/s390x", code=1).stderr
