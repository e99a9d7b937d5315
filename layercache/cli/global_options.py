"""The global options as data: `command` declares them to click, `direct` understands them without it."""

from __future__ import annotations

from layercache.value import Value

CACHE = "--cache"


class GlobalOption(Value, frozen=True):
    """An option of every command. ``metavar``: what its value is called; empty if it takes none."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    repeats: bool = False

    @property
    def attribute(self) -> str:
        """The attribute of `Session` that it sets."""
        return self.names[0].removeprefix("--")


GLOBAL_OPTIONS = (
    GlobalOption(
        (CACHE,),
        "Cache URL, folder or @NAME of the configuration; repeat for tiers, nearest first.",
        metavar="URL",
        repeats=True,
    ),
    GlobalOption(("--config",), "Configuration file. Default: see layercache config path.", metavar="FILE"),
    GlobalOption(("--offline",), "Do not contact registries or other sources."),
    GlobalOption(("--strict",), "Fail if a tier fails; by default it is skipped with a warning."),
    GlobalOption(("--quiet", "-q"), "Print no progress, summary or warnings."),
    GlobalOption(("--verbose", "-v"), "Log each step and print tracebacks."),
)
