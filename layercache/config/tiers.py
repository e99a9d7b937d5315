"""The array of tiers: URLs, and tables that are a URL and its options. Both become URLs: one grammar."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.backend import BackendURL
from layercache.config.checker import dotted, wrong_type
from layercache.errors import ConfigError
from layercache.tiers.policy import take_policy

if TYPE_CHECKING:
    from layercache.config.checker import Checker

TIERS = 'an array of URLs, paths and tables: ["~/layers", { url = "s3://bucket", readonly = true }]'

TIER = "a URL, a path, or a table with a url and options"
OPTION = "a string, a number, true or false"

_CREDENTIALS = re.compile(r"://[^/?#]*@")


@dataclass(frozen=True, slots=True)
class ConfiguredTier:
    """A tier's URL with all its options, and the key that it stands under."""

    url: str
    key: str


def tiers(checker: Checker, value: object, path: str) -> tuple[ConfiguredTier, ...]:
    """The tiers, near to far. Raises `ValueError`; what is wrong with one is put to the checker."""
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
                    raise ConfigError("is given twice", hint="in the url or beside it, not in both")
                query[name] = _option(checker, value)
    right = {}  # what is wrong was said, and shall not be said again by whoever opens the tier
    for name, text in query.items():
        with checker.attempt(dotted(path, name) if name in table else path, OPTION):
            _check_option(checker, url, name, text, nearest=nearest)
            right[name] = text
    if checker.is_project and nearest and not _is_the_users(checker, url):
        right["trusted"] = "false"
    url = BackendURL(url.scheme, url.netloc, url.path, right)
    return ConfiguredTier(str(url), f"{checker.prefix}{path}")


def _parsed(checker: Checker, item: object) -> BackendURL:
    """The URL, with a relative path taken from the configuration's folder, as in other tools' files."""
    url = BackendURL.parse(checker.text(item))
    if url.scheme != "file" or url.netloc or url.path.startswith("/"):
        return url
    path = os.path.expanduser(url.path)
    if path.startswith("~"):
        raise ValueError(f"there is no user of the name in {url.path}")
    return BackendURL("file", "", os.path.normpath(os.path.join(checker.folder, path)), url.query)


def _option(checker: Checker, value: object) -> str:
    """An option's value as a URL has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else checker.text(value)


def _check_option(checker: Checker, url: BackendURL, name: str, text: str, *, nearest: bool) -> None:
    """Refuse a secret, and a wrong value for one of the tier's own options; the rest is the backend's."""
    if _CREDENTIALS.search(text):
        raise ConfigError(
            f"{name} holds credentials",
            hint="give them as the store's own tools take them: environment, profile, credentials file",
        )
    if name == "trusted" and checker.is_project:
        raise ConfigError(
            "a project's file may not set trusted",
            hint="who wrote what a tier holds is for you to know: set it in your own configuration",
        )
    take_policy(BackendURL(url.scheme, url.netloc, url.path, {name: text}), nearest=nearest)


def _is_the_users(checker: Checker, url: BackendURL) -> bool:
    """Whether a tier that a project's file names first may be trusted as any nearest one on this machine.

    A folder that came with a project may have been filled by whoever made the project.
    """
    if url.scheme != "file":
        return True
    project = os.path.realpath(checker.folder)
    return os.path.commonpath([project, os.path.realpath(url.path)]) != project
