"""Lists of images, patterns of tags, plans and lock files."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest
from fixtures.calling import Caller
from servers.images import Layer, make_image, make_layer, noise
from servers.lying import LyingRegistry, silent, status, wrong_bytes
from servers.registry import Registry

from layercache.errors import BackendError, ConfigError
from layercache.pull import plan as plans
from layercache.pull.lists import read_list
from layercache.pull.patterns import MATCHES_MAX, split_pattern
from layercache.pull.plan import Amount, Plan, Room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.images import Sample


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry() as running:
        yield running


class Team(NamedTuple):
    """Two images that share their biggest layer."""

    names: list[str]
    layers: list[Layer]

    @property
    def distinct(self) -> int:
        return sum(len(layer.blob) for layer in self.layers)


@pytest.fixture
def team(registry: LyingRegistry) -> Team:
    shared, one, two = (make_layer({"noise": noise(size, size)}) for size in (9000, 500, 700))
    names = [
        registry.add_image("1", make_image([shared, one])),
        registry.add_image("2", make_image([shared, two])),
    ]
    return Team(names, [shared, one, two])


def write_tags(registry: LyingRegistry, tags: list[str], *, times: int = 1) -> None:
    body = json.dumps({"name": "app", "tags": tags}).encode()
    registry.on("/tags/list", *[status(200, body)] * times)


def test_a_list_has_comments_and_blank_lines(
    cli: Caller, registry: LyingRegistry, team: Team, tmp_path: Path
) -> None:
    one, two = team.names
    (tmp_path / "images.txt").write_text(f"\ufeff# ours\r\n\r\n{one}  # the first\r\n  {two}\r\n{one}\n")
    pulled = cli.lines("pull", "--from", str(tmp_path / "images.txt"))
    assert [line[-1] for line in pulled] == [one, one, two, two]
    assert [len(registry.asked(layer.digest)) for layer in team.layers] == [1, 1, 1]


def test_lists_stdin_and_names_are_pulled_together(
    cli: Caller, registry: LyingRegistry, team: Team, tmp_path: Path, layout: str
) -> None:
    one, two = team.names
    (tmp_path / "images.txt").write_text(f"{layout}\n")
    called = cli("pull", one, "--from", str(tmp_path / "images.txt"), "--from", "-", stdin=two.encode())
    assert [line.split("\t")[-1] for line in called.stdout.splitlines()][::2] == [one, layout, layout, two]
    assert "\n3 images: 6 layers (" in called.stderr
    assert len(registry.asked(team.layers[0].digest)) == 1


@pytest.mark.parametrize("arguments", [["pull", "--from"], ["pull", "--locked"], ["verify", "--lock"]])
def test_a_list_from_a_closed_stdin_is_a_usage_error(cli: Caller, arguments: list[str]) -> None:
    done = cli.process(*arguments, "-", stdin=None, preexec_fn=lambda: os.close(0))
    assert (done.returncode, done.stderr.count(b"- means stdin, which is closed")) == (2, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"debian:12\n\n debian 12 # two words\n-x\n", "-:3: not an image: 'debian 12' (and 1 more lines)"),
        (b"Debian:12", "-:1: not a repository: 'Debian'"),
        (b"deb*an:12", "-:1: not an image: 'deb*an:12'"),
        (b"http://x/y", "-:1: unknown transport http:"),
        (b"\xff\xfe", "- is not UTF-8 text"),
        (b"# nothing\n\n", "no image is listed in"),
        (b"x" * (5 << 20), "has more than 4194304 bytes"),
    ],
)
def test_a_list_that_is_wrong_is_refused_before_anything_is_fetched(
    cli: Caller, registry: LyingRegistry, text: bytes, said: str
) -> None:
    called = cli("pull", "--from", "-", stdin=text, code=2)
    assert said in re.sub(r"<.*?>", "-", called.stderr)
    assert not registry.requests


def test_a_line_with_a_hash_sign_in_a_path_is_a_path() -> None:
    assert read_list(io.BytesIO(b"oci:/a#b:c #d"), "x") == ["oci:/a#b:c"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("debian:12*", ("debian", "12*")),
        ("[::1]:5000/app:v[12]", ("[::1]:5000/app", "v[12]")),
        ("localhost:5000/app", None),
        ("[::1]:5000/app", None),
        ("oci:/a/*:b*", None),
        ("debian:12@sha256:" + "0" * 64, None),
    ],
)
def test_only_a_tag_is_a_pattern(name: str, split: tuple[str, str] | None) -> None:
    assert split_pattern(name) == split


@pytest.mark.parametrize("name", ["team/*", "team/a?p:1", "*", "debian:1*@sha256:" + "0" * 64])
def test_a_pattern_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not an image") as caught:
        split_pattern(name)
    assert "only a tag can be a pattern" in caught.value.hint


def test_a_pattern_stands_for_every_tag_of_a_real_registry_that_matches(
    cli: Caller, layout: str, tmp_path: Path
) -> None:
    with Registry(tmp_path / "real") as real:
        for tag in ("1.0", "1.1", "2.0"):
            real.push(layout, f"team/app:{tag}")
        repository = f"{real.host}/team/app"
        assert cli("tags", repository).stdout.split() == ["1.0", "1.1", "2.0"]
        assert cli("tags", f"{repository}:1.*").stdout.split() == ["1.0", "1.1"]
        names = {line[-1] for line in cli.lines("pull", f"{repository}:1.*")}
        assert names == {f"{repository}:1.0", f"{repository}:1.1"}
        listings = [access for access in real.accesses() if access.path.startswith("/v2/team/app/tags/")]
        assert len(listings) == 3, "one request for each command"
        assert "has no tags" in cli("tags", f"{real.host}/nothing", code=1).stderr
    assert cli("--offline", "tags", f"{repository}:*").stdout.split() == ["1.0", "1.1"]
    assert "no tag of" in cli("--offline", "tags", f"{real.host}/nothing", code=1).stderr


def test_tags_that_are_none_are_left_out(cli: Caller, registry: LyingRegistry) -> None:
    write_tags(registry, ["b", "a", "\x1b[2J", "x y", "../../v2", "-no", "b", "x" * 129], times=2)
    assert cli("tags", f"{registry.host}/app").stdout == "a\nb\n"
    assert cli.json("tags", f"{registry.host}/app:*")["tags"] == ["a", "b"]


def test_a_pattern_of_no_tag_fails_alone(cli: Caller, registry: LyingRegistry, team: Team) -> None:
    write_tags(registry, ["1", "2"])
    called = cli("pull", f"{registry.host}/app:9*", team.names[0], code=1)
    assert f"no tag of {registry.host}/app matches '9*'" in called.stderr
    assert len(called.stdout.splitlines()) == 2


def test_a_pattern_of_too_many_tags_is_refused_before_any_is_fetched(
    cli: Caller, registry: LyingRegistry
) -> None:
    write_tags(registry, [str(number) for number in range(MATCHES_MAX + 1)])
    said = cli("pull", f"{registry.host}/app:*", code=2).stderr
    assert f"matches {MATCHES_MAX + 1} tags; a pattern may match {MATCHES_MAX} at most" in said
    assert not registry.asked("/manifests/")


def test_the_plan_counts_what_is_shared_cached_and_missing(
    cli: Caller, registry: LyingRegistry, team: Team
) -> None:
    shared, one, two = (len(layer.blob) for layer in team.layers)
    planned = cli.json("pull", *team.names, "--dry-run")
    assert planned["plan"]["total"] == {"layers": 4, "bytes": 2 * shared + one + two}
    assert planned["plan"]["distinct"] == planned["plan"]["missing"] == {"layers": 3, "bytes": team.distinct}
    assert planned["plan"]["cached"] == {"layers": 0, "bytes": 0}
    assert planned["plan"]["room"]["free"] > 0
    assert not registry.asked("/blobs/" + team.layers[0].digest), "a dry run fetches no layer"
    cli("pull", team.names[0])
    planned = cli.json("pull", *team.names, "--plan")
    assert planned["plan"]["cached"] == {"layers": 2, "bytes": shared + one}
    assert planned["plan"]["missing"] == {"layers": 1, "bytes": two}
    assert [image["cached"] for image in planned["images"]] == [shared + one, shared]
    line = cli.lines("pull", "-n", *team.names)[1]
    assert line == [team.names[1], "linux/amd64", "2", str(shared + two), str(shared), line[-1]]


def test_a_dry_run_says_which_far_tier_has_what(tmp_path: Path, registry: LyingRegistry, team: Team) -> None:
    with Registry(tmp_path / "real") as real:
        far = f"oci://{real.host}/cache"
        both = Caller(f"file://{tmp_path}/one")
        both("--cache", far, "pull", team.names[0])
        planned = Caller(f"file://{tmp_path}/two").json("--cache", far, "pull", "-n", *team.names)
    shared, one, _ = (len(layer.blob) for layer in team.layers)
    assert planned["plan"]["far"] == {far: {"layers": 2, "bytes": shared + one}}
    assert planned["plan"]["missing"]["layers"] == 3


def test_what_does_not_fit_on_the_disk_is_refused_before_a_layer_is_fetched(
    cli: Caller, registry: LyingRegistry, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "_free", lambda _folder: team.distinct - 1)
    called = cli("pull", *team.names, code=4)
    assert f"{team.distinct} bytes are needed" in called.stderr
    assert f"has {team.distinct - 1} left" in called.stderr
    assert not registry.asked("/blobs/" + team.layers[0].digest)
    monkeypatch.setattr(plans, "_free", lambda _folder: team.distinct)
    cli("pull", *team.names)


def test_images_that_are_bigger_than_the_limit_are_refused_before_a_layer_is_fetched(
    tmp_path: Path, registry: LyingRegistry, team: Team
) -> None:
    small = Caller(f"file://{tmp_path}/cache?max_size=9500")
    said = small("pull", *team.names, code=4).stderr
    assert f"they have {team.distinct} bytes" in said
    assert "may have 9500 (max_size)" in said
    assert not registry.asked("/blobs/" + team.layers[0].digest)
    said = small("--cache", f"file://{tmp_path}/far", "pull", *team.names).stderr
    assert "bigger than that limit" in said, "the other tier has room"
    assert (
        "bigger than that limit"
        not in Caller(f"file://{tmp_path}/x?max_size=1GB")("pull", *team.names).stderr
    )


def plan_of(missing: int, room: Room | None) -> Plan:
    amount = Amount(1, missing)
    return Plan(1, amount, amount, Amount(), amount, {}, room)


@pytest.mark.parametrize(
    ("missing", "room", "fits"),
    [
        (100, None, True),
        (100, Room("far"), True),
        (100, Room("here", free=100), True),
        (101, Room("here", free=100), False),
        # What is evicted makes room: 20 bytes may be added, then others go.
        (101, Room("here", free=20, limit=120, used=100), True),
        (101, Room("here", free=19, limit=120, used=100), False),
        (101, Room("here", free=0, limit=120, used=130), True),
    ],
)
def test_eviction_counts_as_room(missing: int, room: Room | None, *, fits: bool) -> None:
    plan = plan_of(missing, room)
    if fits:
        plan.check_room()
    else:
        with pytest.raises(BackendError, match="do not fit"):
            plan.check_room()


def test_one_image_is_pulled_without_a_plan(cli: Caller, team: Team) -> None:
    assert cli("pull", team.names[0]).stderr.startswith("from registry 2")


def test_failed_images_are_listed_at_the_end_and_the_others_stay(
    cli: Caller, registry: LyingRegistry, team: Team
) -> None:
    missing = team.names[0].replace(":1", ":9")
    registry.on(team.layers[2].digest, wrong_bytes)
    called = cli("pull", missing, *team.names, code=1)
    assert called.stderr.endswith(
        f"layercache: 2 of 3 images failed:\n  {missing}: is not in its registry: MANIFEST_UNKNOWN not here\n"
        f"  {team.names[1]}: 1 of 2 layers failed\n"
    )
    assert [line[4] for line in cli.lines("pull", team.names[0])] == ["hit", "hit"]
    told = cli.json("pull", missing, *team.names, code=1)
    assert list(told["failed_images"]) == [missing]


def test_a_lock_file_pins_what_tags_named(
    cli: Caller, registry: LyingRegistry, team: Team, tmp_path: Path
) -> None:
    lock = tmp_path / "images.lock"
    called = cli("pull", *reversed(team.names), "--lock", str(lock))
    assert f"wrote {lock}, 2 images" in called.stderr
    lines = lock.read_text().splitlines()
    assert lines == sorted(lines)
    assert [line.partition("@")[0] for line in lines] == team.names
    moved = make_image([make_layer({"new": b"bytes"})])
    registry.add_image("1", moved)
    other = Caller(f"file://{tmp_path}/other")
    pulled = other.lines("pull", "--locked", str(lock))
    assert {line[0] for line in pulled} == {layer.digest for layer in team.layers}
    assert [line[-1] for line in pulled[::2]] == lines
    assert cli.lines("pull", team.names[0])[0][0] == moved.layers[0].digest, "without a lock, the tag counts"


def test_a_lock_of_an_index_has_its_digest_whatever_the_platform(
    cli: Caller, registry: LyingRegistry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.add_image("1", sample.index)
    for number, platform in enumerate(("linux/amd64", "linux/arm64", "all")):
        lock = tmp_path / f"{number}.lock"
        cli("pull", name, "--platform", platform, "--lock", str(lock))
        assert lock.read_text() == f"{name}@{sample.index.descriptor.digest}\n"


def test_a_lock_is_not_written_if_anything_failed_and_not_touched_if_nothing_changed(
    cli: Caller, registry: LyingRegistry, team: Team, tmp_path: Path
) -> None:
    lock = tmp_path / "images.lock"
    cli("pull", *team.names, "--lock", str(lock))
    before = lock.stat()
    assert f"unchanged: {lock}" in cli("pull", *team.names, "--lock", str(lock)).stderr
    missing = team.names[0].replace(":1", ":9")
    assert "was not written" in cli("pull", missing, *team.names, "--lock", str(lock), code=1).stderr
    assert (lock.stat().st_mtime_ns, lock.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "images.lock"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull", "--locked", "LOCK", "alpine"],
        ["pull", "--locked", "LOCK", "--lock", "other"],
        ["pull", "alpine", "--lock", "other", "--dry-run"],
        ["pull", "oci:/x", "--lock", "other"],
        ["pull", "--locked", "/nowhere"],
        ["pull"],
    ],
)
def test_options_that_contradict_each_other_are_refused(
    cli: Caller, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "lock").write_text(f"localhost:1/app:1@sha256:{'0' * 64}\n")
    said = cli(*[each.replace("LOCK", str(tmp_path / "lock")) for each in arguments], code=2).stderr
    assert "Usage: " in said


def test_a_lock_file_may_be_a_pipe(cli: Caller, team: Team, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        cli("pull", *team.names, "--lock", str(pipe))
        assert read.result().count(b"@sha256:") == len(team.names)
    assert pipe.is_fifo()


def test_a_lock_without_a_digest_is_refused(cli: Caller) -> None:
    said = cli("pull", "--locked", "-", stdin=b"alpine:3\n", code=2).stderr
    assert "alpine:3 has no digest" in said


def test_a_registry_cannot_give_other_bytes_for_a_lock(
    cli: Caller, registry: LyingRegistry, team: Team
) -> None:
    """The digest in the file decides, not what the registry answers."""
    lie = make_image([make_layer({"lie": b"!"})])
    real = f"{team.names[0]}@sha256:{'1' * 64}"
    registry.on("/manifests/", status(200, lie.manifest, Content_Type=lie.media_type))
    called = cli("pull", "--locked", "-", stdin=real.encode(), code=3)
    assert "hash" in called.stderr
    assert not registry.asked(lie.layers[0].digest)


def test_several_images_cost_a_registry_no_more_requests_than_one_by_one(
    cli: Caller, registry: LyingRegistry, team: Team, tmp_path: Path
) -> None:
    cli("pull", *team.names, "--jobs", "1")
    # Of each image the manifest and the config, and each layer once.
    assert len(registry.asked("GET /v2/app/")) == len(registry.asked("/v2/app/")) == 2 * 2 + 3
    cli("pull", *team.names, "--lock", str(tmp_path / "lock"))
    assert len(registry.asked("/v2/app/")) == 2 * 2 + 3 + 2, "one HEAD for each"
    cli("pull", "--locked", str(tmp_path / "lock"))
    cli("pull", "--locked", str(tmp_path / "lock"))
    cli("pull", "--locked", str(tmp_path / "lock"), "--plan")
    assert len(registry.asked("/v2/app/")) == 2 * 2 + 3 + 2 + 2, "a digest that was pulled is final"


def test_a_plan_asks_far_tiers_only_for_a_dry_run(
    tmp_path: Path, registry: LyingRegistry, team: Team
) -> None:
    with Registry(tmp_path / "real") as real:
        tiers = ("--cache", f"oci://{real.host}/cache")
        Caller(f"file://{tmp_path}/first")(*tiers, "pull", *team.names)

        def asked(near: str, *calls: list[str]) -> int:
            before = len(real.accesses())
            for call in calls:
                Caller(f"file://{tmp_path}/{near}")(*tiers, "pull", *call)
            return len(real.accesses()) - before

        one_by_one = asked("second", *([name] for name in team.names))
        assert asked("third", team.names) <= one_by_one
        assert asked("fourth", [*team.names, "--plan"]) > 0


def test_an_interrupt_while_images_are_looked_up_ends_at_once(
    cli: Caller, registry: LyingRegistry, team: Team
) -> None:
    registry.on("/manifests/", silent(0), silent(0))
    with cli.begin("pull", *team.names) as process:
        while len(registry.asked("/manifests/")) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == b"layercache: interrupted"


def test_a_lock_may_go_to_stdout_or_a_pipe_and_a_link_stays_a_link(
    cli: Caller, team: Team, tmp_path: Path
) -> None:
    cli("pull", *team.names, "--lock", str(tmp_path / "real.lock"))
    lock = (tmp_path / "real.lock").read_text()
    assert cli("pull", "-q", *team.names, "--lock", "-").stdout.endswith(lock)
    done = cli.process("pull", "-q", *team.names, "--lock", "/dev/stdout")
    assert done.stdout.decode().endswith(lock)
    (tmp_path / "link.lock").symlink_to("real.lock")
    (tmp_path / "real.lock").write_text("old\n")
    cli("pull", *team.names, "--lock", str(tmp_path / "link.lock"))
    assert (tmp_path / "link.lock").is_symlink()
    assert (tmp_path / "real.lock").read_text() == lock
