"""Who may push where, and that nobody else is let in before."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
from servers.asking import ask

from layercache.errors import ConfigError
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from servers.pushing import Pusher, Start

DATA = b"a blob"


@pytest.fixture
def guarded(start: Start, tmp_path: Path) -> Pusher:
    """A mirror with two users, alice and ci, of whom ci may push to team/*, and both to scratch/*."""
    return start(tokens=tokens(tmp_path), writers=("team/*=ci", "scratch/*=*"))


def tokens(tmp_path: Path) -> str:
    lines = [f"{user}:{hashlib.sha256(user.encode()).hexdigest()}" for user in ("alice", "ci")]
    (tmp_path / "tokens").write_text("\n".join(lines))
    return f"{tmp_path}/tokens"


def post(pusher: Pusher, repository: str, user: str) -> int:
    headers = {"authorization": f"Bearer {user}"} if user else {}
    path = f"/v2/{repository}/blobs/uploads/?digest={Digest.of(DATA)}"
    return ask(pusher.service, path, "POST", headers=headers, body=DATA).status


@pytest.mark.parametrize(
    ("user", "repository", "status"),
    [
        ("", "team/app", 401),
        ("mallory", "team/app", 401),
        ("alice", "team/app", 403),
        ("ci", "team/app", 201),
        ("ci", "other/app", 403),
        ("alice", "scratch/app", 201),
    ],
)
def test_a_rule_lets_a_user_push(guarded: Pusher, user: str, repository: str, status: int) -> None:
    assert post(guarded, repository, user) == status


def test_what_a_user_may_not_push_it_may_not_delete_and_may_read(guarded: Pusher) -> None:
    assert post(guarded, "team/app", "ci") == 201
    path = f"/v2/team/app/blobs/{Digest.of(DATA)}"
    basic = base64.b64encode(b"alice:alice").decode()
    for header, method, status in [
        ("Bearer alice", "DELETE", 403),
        ("", "GET", 401),
        (f"Basic {basic}", "GET", 200),
        ("Bearer ci", "DELETE", 202),
    ]:
        headers = {"authorization": header} if header else {}
        assert ask(guarded.service, path, method, headers=headers).status == status


def test_a_blob_is_not_mounted_for_a_client_that_may_not_push(guarded: Pusher) -> None:
    assert post(guarded, "team/app", "ci") == 201
    path = f"/v2/team/other/blobs/uploads/?mount={Digest.of(DATA)}&from=team/app"
    assert ask(guarded.service, path, "POST", headers={"authorization": "Bearer alice"}).status == 403
    assert ask(guarded.service, path, "POST", headers={"authorization": "Bearer ci"}).status == 201


def test_a_rule_for_a_user_that_there_is_not_is_an_error(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="writers: team/\\*=bob: there is no user bob"):
        start(tokens=tokens(tmp_path), writers=("team/*=bob",))
