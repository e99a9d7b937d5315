"""Programs that hold credentials: the protocol of docker-credential-helpers."""

from __future__ import annotations

import re
import subprocess

import msgspec

from layercache.oci.descriptor import NOT_VALID
from layercache.registry.credential import Credential, UnavailableError
from layercache.value import json_decoder

HELPER_SECONDS = 60
NOT_FOUND = "credentials not found in native keychain"
"""docker-credential-helpers, credentials/error.go: the one answer of a helper that is not a failure."""

IDENTITY_USER = "<token>"
"""A user of this name means that the secret is an identity token (docker-credential-helpers, README)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str
    secret: str


def program(helper: str) -> str:
    """The program that a helper's name stands for."""
    return f"docker-credential-{helper}"


def ask(helper: str, key: str, where: str) -> Credential | None:
    """What the helper has for a server; None for nothing. ``where`` names the helper.

    Nothing that it prints gets into a message. Raises `UnavailableError`.
    """
    name, hint = program(helper), _hint(where)
    done = _run(helper, "get", key.encode(), where)
    if done.returncode:
        if done.stdout.decode(errors="replace").strip() == NOT_FOUND:
            return None
        raise UnavailableError(
            name,
            f"failed for {key} with exit status {done.returncode}",
            hint=f"see what it prints: echo {key} | {name} get",
        )
    try:
        answer = json_decoder(_Answer).decode(done.stdout)
    except NOT_VALID:
        raise UnavailableError(name, f"did not return a valid answer for {key}", hint=hint) from None
    if answer.username == IDENTITY_USER:
        return Credential(identity_token=answer.secret)
    return Credential(answer.username, answer.secret) if answer.username else None


def store(helper: str, key: str, credential: Credential, where: str) -> None:
    """Let the helper store a user and password for a server. Raises `UnavailableError`."""
    fields = {"ServerURL": key, "Username": credential.user, "Secret": credential.password}
    _change(helper, "store", key, msgspec.json.encode(fields), where)


def erase(helper: str, key: str, where: str) -> None:
    """Let the helper remove what it has for a server. Raises `UnavailableError`."""
    _change(helper, "erase", key, key.encode(), where)


def _change(helper: str, action: str, key: str, data: bytes, where: str) -> None:
    done = _run(helper, action, data, where)
    if done.returncode:
        message = f"failed to {action} the login for {key} with exit status {done.returncode}"
        raise UnavailableError(program(helper), message, hint=_hint(where))


def _run(helper: str, action: str, data: bytes, where: str) -> subprocess.CompletedProcess[bytes]:
    if not _NAME.fullmatch(helper):
        raise UnavailableError(where, "names a credential helper that is not the name of a program")
    name, hint = program(helper), _hint(where)
    try:
        return subprocess.run(  # noqa: S603 # the user's own configuration names the program
            [name, action], input=data, capture_output=True, check=False, timeout=HELPER_SECONDS
        )
    except OSError as error:
        raise UnavailableError(name, f"cannot be run: {error.strerror}", hint=hint) from error
    except subprocess.TimeoutExpired:
        # Without a cause: the exception holds what the helper has printed so far.
        message = f"did not answer within {HELPER_SECONDS} seconds"
        raise UnavailableError(name, message, hint=hint) from None


def _hint(where: str) -> str:
    return f"{where} names it: install the program, or do not name it there"
