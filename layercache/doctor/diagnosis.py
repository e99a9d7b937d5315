"""All checks of a cache as it is configured, and of the registries and images that it is to fetch from."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from layercache.arguments import several
from layercache.config.opening import configured
from layercache.config.setting import ARGUMENT
from layercache.config.show import shown_url
from layercache.doctor.check import SECONDS
from layercache.doctor.sources import check_source
from layercache.doctor.tiers import check_tier
from layercache.registry.client import RegistryClient
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from layercache.config.opening import Configuration
    from layercache.doctor.check import Subject
    from layercache.registry.settings import RegistrySettings


def diagnose(
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    sources: str | Iterable[str] = (),
    *,
    config: str | os.PathLike[str] | Configuration | None = None,
    timeout: float = SECONDS,
    registries: RegistrySettings | None = None,
    progress: Callable[[str], object] = lambda _name: None,
) -> Iterator[Subject]:
    """Check the tiers of a cache, then images and hosts of registries; yield each when it is checked.

    ``urls``, ``config`` and ``registries`` are as for `layercache.open`. ``sources``: names of images, and
    hosts; those that the configuration has settings for are checked, too. Test data is written to each
    writable tier, and removed. ``timeout``: seconds of a check; those of speed have a minute. ``progress`` is
    called with the name of what is checked next. What fails is a result. Raises `ConfigError` if the
    configuration is invalid.
    """
    named = several(sources)
    configuration, chosen = configured(config, urls)
    reached = configuration.registries if registries is None else lambda: registries
    tiers = configuration.choose(chosen, ARGUMENT).tiers
    names = dict.fromkeys([*named, *configuration.registry_tables.hosts])
    return _checked([each.value for each in tiers], list(names), reached, timeout, progress)


def _checked(
    urls: Sequence[str],
    sources: Sequence[str],
    reached: Callable[[], RegistrySettings],
    timeout: float,
    progress: Callable[[str], object],
) -> Iterator[Subject]:
    for number, url in enumerate(urls):
        progress(url.partition("?")[0])
        opening = partial(open_tier, url, nearest=not number, registries=reached)
        yield check_tier(shown_url(url), opening, seconds=timeout)
    if sources:
        with closing(RegistryClient(reached())) as client:
            for name in sources:
                progress(name)
                yield check_source(name, client, seconds=timeout)
