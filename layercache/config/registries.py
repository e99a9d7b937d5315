"""The settings of registries: those of all files and variables, key by key, each with its origin."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from msgspec import field

from layercache.config import environment
from layercache.config.setting import Setting
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from _typeshed import DataclassInstance

    from layercache.config.from_variables import Variables
    from layercache.config.schema import Checked
    from layercache.registry.settings import RegistrySettings


class Registries(Value, frozen=True):
    """``every``: settings of all registries that are set. ``hosts``: those of one, by host and key."""

    every: Mapping[str, Setting] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)

    def of_hosts(self, key: str) -> dict[str, Any]:
        """Return the value of a key for each host that has one."""
        return {host: table[key].value for host, table in self.hosts.items() if key in table}

    def settings(
        self,
        *,
        ca_file: str | None,
        plain_http: Sequence[str],
        insecure: Sequence[str],
        max_document_size: int,
    ) -> RegistrySettings:
        """Return the settings, with the arguments in addition. Credentials come from
        `environment.auth_files`, proxies from `environment.proxies`.
        """
        from layercache.registry.settings import RegistrySettings

        every = {key: setting.value for key, setting in self.every.items()}
        every["ca_file"] = ca_file or every.get("ca_file")
        return RegistrySettings(
            auth_files=environment.auth_files(),
            plain_http=(*self._listed("plain_http"), *plain_http),
            insecure=(*self._listed("insecure"), *insecure),
            mirrors=self.of_hosts("mirrors"),
            ca_files=self.of_hosts("ca_file"),
            credential_helpers=self.of_hosts("credentials_helper"),
            proxies=environment.proxies(),
            max_document_size=max_document_size,
            **every,
        )

    def _listed(self, key: str) -> list[str]:
        return [host for host, value in self.of_hosts(key).items() if value]


def combined(variables: Variables | None, files: Sequence[Checked]) -> Registries:
    """Combine the variables and the files: a key has the value of the first place that sets it."""
    every: dict[str, Setting] = {}
    hosts: dict[str, dict[str, Setting]] = {}
    for name, key in ((environment.PLAIN_HTTP, "plain_http"), (environment.INSECURE, "insecure")):
        for host in environment.hosts(name):
            hosts.setdefault(host, {})[key] = Setting(True, name)
    if variables:
        from layercache.config.from_variables import variable_of

        _add(every, variables.registry, variable_of)
        for host, table in variables.hosts.items():
            _add(hosts.setdefault(host, {}), table, variable_of)
    for file in files:
        if file.table.registry:
            _add(every, file.table.registry, file.origin_in("registry"))
        for host, table in (file.table.registries or {}).items():
            _add(hosts.setdefault(host, {}), table, file.origin_in("registries", host))
    return Registries(every, hosts)


def _add(found: dict[str, Setting], table: DataclassInstance, origin: Callable[[str], str]) -> None:
    """Add the keys that a table sets and that no place before it has set."""
    for each in fields(table):
        if each.name not in found and (value := getattr(table, each.name)) is not None:
            found[each.name] = Setting(value, origin(each.name))
