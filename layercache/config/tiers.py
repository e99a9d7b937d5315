"""The array of tiers: URLs, and tables of a URL and its options. Both are turned into URLs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.backend import BackendURL
from layercache.backend.url import is_path
from layercache.config.checker import dotted, wrong_type
from layercache.errors import ConfigError
from layercache.tiers.policy import take_policy

if TYPE_CHECKING:
    from layercache.config.checker import Checker

TIERS = 'an array of URLs, paths and tables: ["~/layers", { url = "s3://bucket", readonly = true }]'

TIER = "a URL, a path, or a table with a url and options"
OPTION = "a string, a number, true or false"

NOT_FOR_PROJECTS = frozenset({"plain_http", "insecure", "ca_file"})
"""Options of a tier in a registry that a project's file may not set, as in `[registries]`."""

TOKENS_TO = frozenset(
    {("gs", "endpoint_url"), ("gcs", "endpoint_url"), ("az", "endpoint_url"), ("azure", "endpoint_url")}
)
"""Stores that get a token or a key of the user's, which an address of the project's choice would receive."""

_CREDENTIALS = re.compile(r"://[^/?#]*@")


@dataclass(frozen=True, slots=True)
class ConfiguredTier:
    """A tier's URL with all its options, and its key in the file."""

    url: str
    key: str


def tiers(checker: Checker, value: object, path: str) -> tuple[ConfiguredTier, ...]:
    """Return the tiers, nearest first. Raises `ValueError`; problems of one tier go to the checker."""
    if not isinstance(value, list):
        raise wrong_type(value)
    if not value:
        raise ValueError("is empty")
    return checker.each(value, path, lambda item, number: _tier(checker, item, path, number), TIER)


def _tier(checker: Checker, item: object, array: str, number: int) -> ConfiguredTier:
    path, nearest = f"{array}[{number}]", not number
    table = item if isinstance(item, dict) else {"url": item}
    if "url" not in table:
        raise ValueError("has no url")
    url = _parsed(checker, table["url"])
    query = dict(url.query)
    for name, value in table.items():
        if name != "url":
            with checker.attempt(dotted(path, name), OPTION):
                if name in query:
                    raise ConfigError(
                        "is given twice", hint="give it in the url or in the table, not in both"
                    )
                query[name] = _option(checker, name, value)
    right = {}  # leaves out what is wrong, so that opening the tier does not report it again
    for name, text in query.items():
        with checker.attempt(dotted(path, name) if name in table else path, OPTION):
            _check_option(checker, url, name, text, nearest=nearest)
            right[name] = text
    if checker.is_project and nearest and not _is_the_users(checker, url):
        right["trusted"] = "false"
    url = BackendURL(url.scheme, url.netloc, url.path, right)
    return ConfiguredTier(str(url), f"{checker.prefix}{path}")


def _parsed(checker: Checker, item: object) -> BackendURL:
    """Parse the URL. A relative path is relative to the folder of the configuration file."""
    text = checker.text(item)
    if not text.startswith("~") and is_path(text, checker.folder):
        text = os.path.join(checker.folder, text)
    url = BackendURL.parse(text)
    if url.scheme != "file" or url.netloc or url.path.startswith("/"):
        return url
    path = os.path.expanduser(url.path)
    if path.startswith("~"):
        raise ValueError(f"{url.path} names an unknown user")
    return BackendURL("file", "", os.path.normpath(os.path.join(checker.folder, path)), url.query)


def _option(checker: Checker, name: str, value: object) -> str:
    """Return an option's value as it is written in a URL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value}s" if name == "max_age" else str(value)
    return checker.text(value)


def _check_option(checker: Checker, url: BackendURL, name: str, text: str, *, nearest: bool) -> None:
    """Refuse secrets and wrong values of the tier's own options; the backend checks the rest."""
    if _CREDENTIALS.search(text):
        raise ConfigError(
            f"{name} holds credentials",
            hint="supply credentials as for the store's own tools: environment, profile, credentials file",
        )
    if checker.is_project and (name in NOT_FOR_PROJECTS or (url.scheme, name) in TOKENS_TO):
        raise ConfigError(
            f"a project's file may not set {name} of a tier",
            hint="set it in your own configuration: it decides who may receive your credentials",
        )
    if name == "trusted" and checker.is_project:
        raise ConfigError(
            "a project's file may not set trusted",
            hint="set it in your own configuration: only you know who can write to the tier",
        )
    take_policy(BackendURL(url.scheme, url.netloc, url.path, {name: text}), nearest=nearest)


def _is_the_users(checker: Checker, url: BackendURL) -> bool:
    """Whether the first tier of a project's file may be trusted like any nearest tier on this machine.

    A folder inside the project may have been filled by the author of the project.
    """
    if url.scheme != "file":
        return True
    project = os.path.realpath(checker.folder)
    return os.path.commonpath([project, os.path.realpath(url.path)]) != project
