"""``layercache doctor`` on a tier in a registry: it is tried, and what could not be cleared away is told."""

from __future__ import annotations

import base64
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.calling import Caller
from servers.registry import PASSWORD, USER, Registry
from servers.tokens import TokenServer

from layercache import SourceError
from layercache.doctor import check_tier
from layercache.registry.repository import Repository
from layercache.testing import Fault, FaultProxy
from layercache.tiers.opening import open_tier
from layercache.tiers.registry.record import EMPTY
from layercache.tiers.registry.tier import RegistryTier

if TYPE_CHECKING:
    from pathlib import Path


def url(registry: Registry) -> str:
    return f"oci://{registry.host}/team/cache"


def results(told: Any) -> dict[str, str]:
    (subject,) = told["subjects"]
    return {each["check"]: each["result"] for each in subject["checks"]}


def said(told: Any, name: str) -> dict[str, Any]:
    (subject,) = told["subjects"]
    (check,) = [each for each in subject["checks"] if each["check"] == name]
    return dict(check)


def left_in(registry: Registry, folder: Path) -> tuple[list[str], set[str]]:
    """The tags and the blobs that the repository has, beside the empty one."""
    tier = open_tier(url(registry), nearest=False)
    assert isinstance(tier, RegistryTier)
    tags = list(tier.repository.tags())
    tier.close()
    layers = folder / "storage/docker/registry/v2/repositories/team/cache/_layers/sha256"
    return tags, {path.parent.name for path in layers.glob("*/link")} - {EMPTY.digest.hex}


def log_in(monkeypatch: pytest.MonkeyPatch, folder: Path, registry: Registry, password: str) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)


def test_a_tier_in_a_registry_is_tried_and_nothing_is_left(registry: Registry, tmp_path: Path) -> None:
    told = Caller(url(registry)).json("doctor")
    assert told["ok"]
    tried = ["configured", "credentials", "reached", "listed", "written", "read", "deleted", "artefact"]
    assert results(told) == {
        **dict.fromkeys([*tried, "latency", "up", "down"], "ok"), "conditions": "skipped"
    }  # fmt: skip
    assert said(told, "up")["unit"] == "MB/s"
    assert "not applicable" in said(told, "conditions")["detail"]
    assert left_in(registry, tmp_path / "registry") == ([], set())


def test_blobs_that_a_registry_does_not_delete_are_reported_and_collected_as_garbage(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", deletes=False) as registry:
        Caller(url(registry)).json("doctor")
        told = Caller(url(registry)).json("doctor")
        assert told["ok"]
        assert (results(told)["deleted"], results(told)["artefact"]) == ("warning", "ok")
        assert "storage.delete.enabled" in said(told, "deleted")["hint"]
        left = said(told, "left behind")
        assert left["value"] > 4 << 20
        tags, blobs = left_in(registry, tmp_path / "registry")
        assert tags == ["doctor"]
        assert left["detail"].startswith(f"{len(blobs) // 2} blobs of 4.2 MB")
        registry.collect_garbage()
        data = tmp_path / "registry/storage/docker/registry/v2/blobs"
        assert sum(path.stat().st_size for path in data.rglob("data")) < 4096


def test_a_read_only_tier_in_a_registry_is_only_read(registry: Registry) -> None:
    told = Caller(f"{url(registry)}?readonly=true").json("doctor")
    assert told["ok"]
    assert (results(told)["listed"], results(told)["written"]) == ("ok", "skipped")
    assert {each.method for each in registry.accesses()} == {"GET"}


def test_a_password_opens_the_tier_and_a_wrong_one_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        log_in(monkeypatch, tmp_path, registry, PASSWORD)
        told = Caller(url(registry)).json("doctor")
        assert told["ok"]
        assert said(told, "credentials")["detail"] == f"the user {USER}, from {tmp_path}/config.json"
        log_in(monkeypatch, tmp_path, registry, "hunter2")
        told = Caller(url(registry)).json("doctor", code=4)
        assert results(told)["reached"] == "ok"
        assert results(told)["listed"] == "failed"
        assert f"layercache login {registry.host}" in said(told, "listed")["hint"]
        assert "written" not in results(told)
        assert "hunter2" not in json.dumps(told)


def test_a_user_who_may_pull_but_not_push_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        told = Caller(url(registry)).json("doctor", code=4)
        assert (results(told)["listed"], results(told)["written"]) == ("ok", "failed")
        assert "refuses to change team/cache" in said(told, "written")["detail"]
        assert f"log in: layercache login {registry.host}" in said(told, "written")["hint"]
        assert "latency" not in results(told)


def test_a_registry_that_takes_no_artefacts_fails(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SourceError("400 MANIFEST_INVALID")

    monkeypatch.setattr(Repository, "put_manifest", refuse)
    told = Caller(url(registry)).json("doctor", code=4)
    assert (results(told)["deleted"], results(told)["artefact"]) == ("ok", "failed")
    assert "accepts OCI artefacts" in said(told, "artefact")["hint"]
    assert left_in(registry, tmp_path / "registry") == ([], set())


def test_a_registry_that_gives_other_bytes_fails(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Repository.open_blob
    monkeypatch.setattr(Repository, "open_blob", lambda self, name: opened(self, name, 1))
    assert results(Caller(url(registry)).json("doctor", code=4))["read"] == "failed"
    assert left_in(registry, tmp_path / "registry") == ([], set())


def test_an_interrupt_leaves_nothing_in_a_registry(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("layercache.doctor.registry_probe.RegistryProbe._try_more", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check_tier(url(registry), lambda: open_tier(url(registry), nearest=False))
    assert left_in(registry, tmp_path / "registry") == ([], set())


def test_a_registry_that_is_down_is_reported_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = Caller(f"oci://127.0.0.1:{port}/team/cache").json("doctor", code=4)
    assert results(told) == {"configured": "ok", "credentials": "ok", "reached": "failed"}


def test_a_registry_whose_absence_is_not_understood_is_found_out(registry: Registry) -> None:
    with FaultProxy(registry.port) as proxy:
        proxy.on("GET /v2/team/cache/manifests/", *[Fault(status=404, body=b"<html>not found</html>")] * 9)
        told = Caller(f"oci://127.0.0.1:{proxy.port}/team/cache").json("doctor", code=4)
        assert not told["ok"]
        assert results(told)["artefact"] == "failed"
        assert "not as a registry does" in said(told, "artefact")["detail"]


def test_a_registry_that_does_not_find_what_it_took_is_found_out(registry: Registry) -> None:
    with FaultProxy(registry.port) as proxy:
        absent = Fault(status=404, body=b'{"errors":[{"code":"NOT_FOUND"}]}')
        proxy.on("GET /v2/team/cache/manifests/doctor", *[absent] * 9)
        told = Caller(f"oci://127.0.0.1:{proxy.port}/team/cache").json("doctor", code=4)
        assert results(told)["artefact"] == "failed"
        assert "does not find it" in said(told, "artefact")["hint"]
