"""The configuration as users see it: the settings in effect, the files, and what is wrong with them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from layercache.config import files
from layercache.config.opening import configured
from layercache.config.setting import ARGUMENT
from layercache.config.show import settings as every_setting
from layercache.errors import wrong_type
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.config.checker import ConfigProblem
    from layercache.config.opening import Configuration


class EffectiveSetting(Value, frozen=True):
    """A key, its value, and its origin: an argument, a variable, a key of a file, or the default."""

    key: str
    value: Any
    origin: str


class ConfigFile(Value, frozen=True):
    """A place that is searched for a configuration file; ``state``: what is there, or why it is not used."""

    path: str
    kind: files.Kind
    state: str

    @property
    def in_use(self) -> bool:
        """Whether the file is there, and its keys apply."""
        return self.state == IN_USE


IN_USE = "in use"


class CheckedConfig(Value, frozen=True):
    """The configuration files that were checked, and all that is wrong in them."""

    files: tuple[str, ...]
    problems: tuple[ConfigProblem, ...]


def settings(
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    config: str | os.PathLike[str] | Configuration | None = None,
) -> list[EffectiveSetting]:
    """Every setting that `layercache.open` would use with these arguments. Secrets are hidden.

    Raises `ConfigError`.
    """
    configuration, chosen = configured(config, urls)
    found = every_setting(configuration, chosen, ARGUMENT)
    return [EffectiveSetting(key, each.value, each.origin) for key, each in found]


def config_files(config: str | os.PathLike[str] | None = None) -> list[ConfigFile]:
    """Every place that is searched for configuration files, in order; or only the file that is named.

    Raises `ConfigError` if a file cannot be read, or was named and does not exist.
    """
    named = _path(config)
    in_use = {document.place.path for document in files.find(named)}

    def state(place: files.Place) -> str:
        found = files.look(place)
        if isinstance(found, str):
            return found
        return IN_USE if place.path in in_use else "ignored: another file comes first"

    return [ConfigFile(place.path, place.kind, state(place)) for place in files.places(named)]


def check_config(file: str | os.PathLike[str] | None = None) -> CheckedConfig:
    """Check a configuration file, or all in use, and return every problem. Contacts no store.

    ``layercache.toml`` and ``pyproject.toml`` are checked as files of a project, which may not set every key.
    Raises `ConfigError` if a file cannot be read, or is not TOML.
    """
    named = _path(file)
    documents = files.find(named)
    if named and os.path.basename(named) in (files.PROJECT_FILE, files.PYPROJECT):
        documents = [files.Document(files.Place(named, "project"), each.table) for each in documents]
    return CheckedConfig(
        tuple(document.place.path for document in documents),
        tuple(problem for document in documents for problem in _problems(document)),
    )


def _path(file: str | os.PathLike[str] | None) -> str | None:
    if file is not None and not isinstance(file, str | os.PathLike):
        raise wrong_type("the path of a configuration file", file)
    return None if file is None else os.fspath(file)


def _problems(document: files.Document) -> list[ConfigProblem]:
    from layercache.backend import BackendURL, open_backend
    from layercache.config.schema import check
    from layercache.config.tiers import TIER
    from layercache.tiers.guarded import guarded
    from layercache.tiers.policy import take_policy

    checked, checker = check(document)
    caches = [checked.table, *(checked.table.caches or {}).values()]
    for tier in [tier for cache in caches for tier in cache.tiers or ()]:
        with checker.attempt(tier.key.removeprefix(checker.prefix), TIER):
            _, rest = take_policy(BackendURL.parse(tier.url), nearest=True)
            guarded(open_backend(rest)).close()
    return checker.problems
