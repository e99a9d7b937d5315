"""The TOML, shell and CI blocks of the pages do what they promise, unchanged, on a `Workplace`.

Those that name AWS or Google talk to SeaweedFS and fake-gcs-server. Console and Python blocks are run by the
modules that `fixtures.pages.ELSEWHERE` names.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fixtures.pages import PAGES, blocks, of
from fixtures.preloaded import PRELOAD
from fixtures.workplace import Workplace
from servers.google import Google
from servers.images import make_image, make_layer, noise, write_layout
from servers.registry import Registry
from servers.stores import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.pages import Block
    from servers.fake_gcs import FakeGCS

BUCKET = "team-layers"
"""The bucket of the pages, at Amazon and at Google."""

IMAGE = make_image([make_layer({"etc/os-release": b"NAME=Alpine\n"}), make_layer({"more": noise(5000)})])

PREPARED = {
    ("layout.md", "Layouts of other tools as tiers"): (
        "skopeo copy docker://registry.example.com/library/alpine:latest oci:/srv/layout:alpine"
    ),
    ("sharing.md", "Share through a registry"): (
        "layercache pull alpine && layercache copy ~/.cache/layercache oci://registry.example.com/team/cache"
    ),
}
"""What a reader has done before, by page and heading."""


STARTUP = re.compile(r"^(.*)# in ~/\.[\w/.]*(bash|zsh|fish)", re.MULTILINE)
"""A line for the start-up file of a shell."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Docker Hub, as far as the pages pull from it."""
    folder = tmp_path_factory.mktemp("hub")
    layout = write_layout(folder / "layout", {"image": IMAGE})
    with Registry(folder / "registry") as running:
        for name in ("alpine:latest", "alpine:3.20", "python:3.12"):
            running.push(f"oci:{layout}:image", f"library/{name}")
        yield running


@pytest.fixture
def workplace(tmp_path: Path, hub: Registry, program: list[str]) -> Workplace:
    names = {"DIFF-ID": str(IMAGE.layers[0].diff_id), "sha256:…": str(IMAGE.descriptor.digest)}
    return Workplace(tmp_path, hub.host, names, {"PROGRAM": shlex.join(program)})


@pytest.fixture(scope="session")
def amazon(seaweedfs_endpoint: str) -> dict[str, str]:
    """The variables by which Amazon's clients find our bucket, under the pages' name."""
    import botocore.session

    session = botocore.session.get_session()
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    client = session.create_client("s3", "us-east-1", endpoint_url=seaweedfs_endpoint, **keys)
    exists = client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou
    with closing(client), suppress(*exists):
        client.create_bucket(Bucket=BUCKET)
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": seaweedfs_endpoint,
        "AWS_DEFAULT_REGION": "eu-central-1",
        PRELOAD: "s3fs",
    }


@pytest.fixture(scope="session")
def google(fake_gcs: FakeGCS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables by which Google's clients find our bucket, under the pages' name, and a key."""
    fake_gcs.ask("POST", "/storage/v1/b?project=test", json.dumps({"name": BUCKET}).encode())
    key = tmp_path_factory.mktemp("google") / "key.json"
    with Google() as tokens:
        key.write_text(json.dumps(tokens.account()))
        yield {
            "STORAGE_EMULATOR_HOST": fake_gcs.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            PRELOAD: "gcsfs",
        }


@pytest.fixture
def clouds(workplace: Workplace, request: pytest.FixtureRequest) -> Workplace:
    """The workplace, with the clouds that the block names."""
    text = request.node.callspec.params["block"].text
    if "s3://" in text or "aws " in text:
        workplace.environment |= request.getfixturevalue("amazon")
    if "gs://" in text:
        workplace.environment |= request.getfixturevalue("google")
    return workplace


@pytest.mark.parametrize("block", of("sh"), ids=str)
def test_a_shell_block_runs(block: Block, clouds: Workplace) -> None:
    for document in (each for page in PAGES if page.name == block.page for each in blocks(page)):
        if document.heading == block.heading and '"Rules"' in document.text:
            (clouds.project / "lifecycle.json").write_text(document.text)
    clouds.run(PREPARED.get((block.page, block.heading), ""))
    if lines := STARTUP.findall(block.text):
        for line, shell in lines:
            if shutil.which(shell):
                clouds.run(line, shell=shell)
    else:
        clouds.run(block.text)


def steps(pipeline: Any) -> Iterator[tuple[dict[str, str], str]]:
    """Each script of a pipeline of GitHub's or GitLab's, in order, with the variables that are set for it."""
    if not isinstance(pipeline, dict):
        return
    variables = pipeline.get("env") or pipeline.get("variables") or {}
    scripts: Any = pipeline.get("script", pipeline.get("run", []))
    for script in [scripts] if isinstance(scripts, str) else scripts:
        yield variables, script
    for value in pipeline.values():
        for each in value if isinstance(value, list) else [value]:
            for inner, script in steps(each):
                yield {**variables, **inner}, script


@pytest.mark.slow
@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_a_pipeline_of_ci_runs(block: Block, clouds: Workplace) -> None:
    clouds.environment["CI_PROJECT_DIR"] = str(clouds.project)
    found = list(steps(yaml.safe_load(block.text)))
    assert any("layercache" in script for _, script in found)
    for variables, script in found:
        given = {
            name: value.replace("$CI_PROJECT_DIR", str(clouds.project)) for name, value in variables.items()
        }
        clouds.run(script, given)


@pytest.mark.slow
@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_a_configuration_opens_its_caches(block: Block, clouds: Workplace) -> None:
    """`config check` finds no fault, a pull through each of its caches works, and so does `stats`."""
    assert_works(block.text, clouds)


def test_a_home_folder_is_understood_in_a_url(workplace: Workplace, amazon: dict[str, str]) -> None:
    workplace.environment |= amazon
    assert_works(
        "# layercache.toml\n"
        'tiers = [{ url = "file://~/.cache/layercache" }, { url = "s3://team-layers/tilde" }]',
        workplace,
    )
    assert (workplace.home / ".cache" / "layercache" / "blobs").is_dir()


def assert_works(text: str, workplace: Workplace) -> None:
    image = f"{workplace.hub}/library/alpine:latest"
    document = tomllib.loads(text)
    for path in re.findall(r'"(?:file://)?(/(?:mnt|srv|var)/[\w/]+)"', text):  # others have filled them
        workplace.run(f"layercache --cache {path} pull {image}")
    named = "" if text.startswith("# layercache.toml") else "--config config.toml"
    (workplace.project / (named.partition(" ")[2] or "layercache.toml")).write_text(workplace.here(text))
    workplace.run(f"layercache {named} config check")
    for name in ["", *(f"--cache @{name}" for name in document.get("caches", ()))]:
        printed = workplace.run(f"layercache {named} {name} pull {image} && layercache {named} {name} stats")
        assert "warning" not in printed, printed
