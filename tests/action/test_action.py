"""The GitHub Action: its steps run as GitHub runs them, against a real registry and a shared tier."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from fixtures.action import Job, action
from servers.images import make_image, make_layer, noise, write_layout
from servers.programs import requires, run
from servers.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

IMAGE = make_image([make_layer({"a": noise(5000)}), make_layer({"b": noise(5000, 1)})])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    layout = write_layout(folder / "layout", {"image": IMAGE})
    with Registry(folder / "registry") as running:
        for tag in ("1.0", "1.1", "2.0"):
            running.push(f"oci:{layout}:image", f"team/app:{tag}")
        yield running


def new_job(folder: Path, *, installed: bool = True) -> Job:
    """A job on a new machine."""
    names = [name for name in os.environ if re.match("PATH$|PIP_|SSL_|.*_proxy$|LANG$", name)]
    environment = {name: os.environ[name] for name in names}
    return Job(folder, {**environment, "HOME": str(folder)}, installed)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return new_job(tmp_path / "job")


def test_a_second_job_gets_the_layers_from_the_shared_tier(
    job: Job, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/team/app:1.0"
    tiers = f"\n  file://{tmp_path}/disk\n  file://{tmp_path}/team\n"
    assert job.uses(images=f"\n{name}  # what the tests need\n", cache=tiers), job.log
    assert job.outputs == {"hits": "0", "fetched": "2", "fetched-bytes": job.outputs["fetched-bytes"]}
    assert int(job.outputs["fetched-bytes"]) == sum(len(layer.blob) for layer in IMAGE.layers)
    other = new_job(tmp_path / "other")
    assert other.uses(images=name, cache=tiers.replace("/disk", "/other-disk")), other.log
    assert (other.outputs["hits"], other.outputs["fetched"]) == ("2", "0")
    assert "hit rate    100%: 2 hits, 0 fetched" in other.log
    assert "### layercache\n\n```\ntotals since" in other.summary
    assert f"{tmp_path}/team" in other.summary


def test_the_configuration_of_the_repository_counts(job: Job, registry: Registry, tmp_path: Path) -> None:
    (job.repository / "layercache.toml").write_text(f'tiers = ["file://{tmp_path}/disk"]\n')
    (job.repository / "images.txt").write_text(f"{registry.host}/team/app:1.*\n")
    assert job.uses(**{"from": "images.txt"}), job.log
    assert (tmp_path / "disk" / "blobs").is_dir()
    assert "LAYERCACHE_URL" not in job.environment


def test_a_lock_file_names_the_images(job: Job, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.host}/team/app:1.0"
    (job.repository / "images.lock").write_text(f"{name}@{IMAGE.descriptor.digest}\n")
    assert job.uses(locked="images.lock", cache=f"file://{tmp_path}/disk"), job.log
    assert job.outputs["fetched"] == "2"


def test_later_steps_of_the_job_have_the_command_and_the_cache(
    job: Job, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/team/app:1.0"
    assert job.uses(images=name, cache=f"file://{tmp_path}/disk"), job.log
    assert shutil.which("layercache", path=job.environment["PATH"]) == (
        f"{job.folder}/temp/layercache-commands/layercache"
    )
    assert job.environment["LAYERCACHE_URL"] == f"file://{tmp_path}/disk"


def test_an_image_that_is_not_there_fails_the_job_and_what_was_saved_is_printed_anyway(
    job: Job, registry: Registry, tmp_path: Path
) -> None:
    names = f"{registry.host}/team/app:1.0\n{registry.host}/team/nothing:1"
    assert not job.uses(images=names, cache=f"file://{tmp_path}/disk")
    assert "team/nothing:1" in job.log
    assert "## Load the images" not in job.log
    assert "2 fetched" in job.summary


def test_nothing_to_pull_is_an_error_that_says_what_to_set(job: Job) -> None:
    assert not job.uses(images=" \n")
    assert "::error title=layercache::nothing to pull: set images, from or locked" in job.log


def test_an_input_is_never_code(job: Job, registry: Registry, tmp_path: Path) -> None:
    evil = '"; touch $HOME/evil; echo "$(touch $HOME/evil)`touch $HOME/evil`'
    for name in action()["inputs"]:
        if name not in ("version", "extras"):  # nothing is installed in this test
            job.uses(**{"images": f"{registry.host}/team/app:1.0", "cache": f"{tmp_path}/disk", name: evil})
    assert not (job.folder / "evil").exists()


def test_tiers_set_no_other_variable_of_the_job(job: Job) -> None:
    job.uses(images="", cache="./layers\nBASH_ENV=/tmp/evil\r\nLD_PRELOAD<<X\n/tmp/evil\nX")
    assert not {"BASH_ENV", "LD_PRELOAD"} & job.environment.keys()


def test_an_unknown_program_to_load_into_is_refused(job: Job, registry: Registry, tmp_path: Path) -> None:
    assert not job.uses(images=f"{registry.host}/team/app:1.0", cache=f"{tmp_path}/disk", load="rkt")
    assert "load is docker or podman, not rkt" in job.log


@pytest.mark.timeout(300)
def test_the_action_installs_its_own_checkout_and_loads_the_images(
    tmp_path: Path, registry: Registry
) -> None:
    requires("podman")
    job = new_job(tmp_path / "job", installed=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    podman = f"{shutil.which('podman')} --storage-driver vfs --root $HOME/podman --runroot run-podman"
    (folder / "docker").write_text(f'#!/bin/sh\ncd && exec {podman} "$@"\n')
    (folder / "docker").chmod(0o755)
    job.environment["PATH"] = f"{folder}:{job.environment['PATH']}"
    name = f"{registry.host}/team/app:1.0"
    assert job.uses(images=name, cache=f"file://{tmp_path}/disk", extras="azure", load="docker"), job.log
    python = job.folder / "temp" / "layercache-environment" / "bin" / "python"
    assert run(str(python), "-I", "-c", "import obstore, layercache; print(layercache.__file__)").startswith(
        str(job.folder)
    )
    assert "Loaded image" in job.log
