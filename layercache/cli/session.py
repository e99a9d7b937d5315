"""One run of the program: the cache that its global options open, and what it reports."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct, field

from layercache.cli import output
from layercache.cli.activity import Activity, sending
from layercache.cli.exit_codes import BROKEN_PIPE, is_terminated
from layercache.cli.global_options import CACHE
from layercache.cli.loading import loading
from layercache.cli.new_cache import announcement, check_there, default_folder
from layercache.cli.output import count, human
from layercache.cli.progress import Display
from layercache.cli.reported import Reported
from layercache.cli.terminal import WARNING, echo, screen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.cache import Cache
    from layercache.cli.global_options import GlobalOption
    from layercache.config.configuration import Configuration
    from layercache.config.setting import Setting
    from layercache.events import Event


class Session(Struct, eq=False):
    """One run of the program: which cache it uses, and how much it logs on stderr."""

    urls: list[str] = field(default_factory=list)
    config: str | None = None
    offline: bool = False
    strict: bool = False
    quiet: bool = False
    verbose: bool = False
    warned: bool = False
    activity: Activity = field(default_factory=Activity)
    end_display: Callable[[], object] = lambda: None
    """Shows no more of what the command is doing: from now on it waits for others."""
    reported: Reported = field(default_factory=Reported)

    def take(self, option: GlobalOption, value: str | bool) -> None:
        """Take the value of a global option; True for one that has none."""
        if option.names[0] == CACHE:
            self.urls.append(str(value))
        else:
            setattr(self, option.attribute, value)

    def run(self, work: Callable[[], int | None]) -> int:
        """Do the work of a command, and report what it fails with. Returns the exit code."""
        with self.display():
            try:
                return work() or 0
            except BrokenPipeError:
                return BROKEN_PIPE
            except BaseException as error:  # report every error; show no bare traceback
                if isinstance(error, SystemExit) and is_terminated(error.code):
                    raise
                from layercache.cli import failures

                failures.show(error, trace=self.verbose)
                return failures.exit_code(error)

    @contextmanager
    def display(self) -> Iterator[None]:
        """Show inside the block what the command is doing, unless --quiet is given."""
        display = Display(self.activity)
        self.activity.begun = lambda: None if self.quiet else display.start()
        self.end_display = display.close
        screen.overlay, screen.lent = display, False
        try:
            yield
        finally:
            display.close()
            screen.overlay = None

    @contextmanager
    def cache(
        self,
        *,
        creates: bool = False,
        ca_file: str | None = None,
        plain_http: Sequence[str] = (),
        insecure: Sequence[str] = (),
    ) -> Iterator[Cache]:
        """Open the requested cache, log what it skips, and close it at the end of the block.

        ``creates``: the command may create the cache; to others a cache that does not exist is an error. The
        end of the block waits for uploads; an interrupt breaks them off, and reports what is left. The
        registry arguments add to the registry settings of the configuration and the environment.
        """
        configuration = self.configuration()
        registries = (
            configuration.registries(ca_file=ca_file, plain_http=plain_http, insecure=insecure)
            if ca_file or plain_http or insecure
            else None
        )
        with self.activity.step("opening the cache"), loading():  # a backend, and what it needs
            cache = configuration.open(self.urls, by=CACHE, given=self.given(), registries=registries)
        self.activity.uploads = lambda: cache.uploads.progress()  # imported when it is first shown
        names = ", ".join(tier.name for tier in cache.tiers)
        try:
            with (
                self.activity.step(f"working with {names}"),
                cache.watch(self.activity.watch),
                cache.watch(self._log),  # also logs what fails while it is closed
                cache,
            ):
                if not creates:
                    check_there(cache, self.note)
                created = default_folder(cache) if creates else None
                yield cache
                self._wait_for_uploads(cache)
        except BaseException:
            self._report_unsent(cache)
            raise
        if created and os.path.isdir(created[0]):
            self.note(announcement(*created))

    def _wait_for_uploads(self, cache: Cache) -> None:
        def words() -> str:
            left = sending(cache.uploads.progress())
            return f"{left}, Ctrl-C leaves it for next time" if left else "finishing"

        with self.activity.step(words):
            cache.flush()

    def _report_unsent(self, cache: Cache) -> None:
        """Report what an interrupt or an error has left unsent."""
        for each in cache.uploads.progress():
            if each.left:
                size = f" ({human(each.total - each.sent)})" if each.sent < each.total else ""
                what = f"{count(each.left, 'object')}{size}"
                self.note(f"layercache: {what} not sent to {each.where}; the next pull or put sends the rest")

    def configuration(self) -> Configuration:
        """Load the configuration files, if there are any."""
        with loading():
            from layercache.config.opening import load

        configuration = load(self.config)
        if configuration.variables and configuration.variables.unknown and not self.warned:
            from layercache.config.from_variables import warning

            self.warned = True
            self.note(f"layercache: warning: {warning(configuration.variables.unknown)}")
        return configuration

    def tiers(self, urls: Sequence[str] | None = None) -> list[str]:
        """Return the URLs of the tiers chosen by ``urls`` or the options, nearest first."""
        return [each.value for each in self.configuration().choose(urls or self.urls, CACHE).tiers]

    def given(self) -> dict[str, Setting]:
        """Return the settings that options set."""
        from layercache.config.setting import Setting

        flags = {"offline": self.offline, "strict": self.strict}
        return {key: Setting(True, f"--{key}") for key, given in flags.items() if given}

    def note(self, text: str) -> None:
        """Print a message on stderr unless --quiet was given, after what was written to stdout before."""
        if not self.quiet:
            output.flush()
            warning = "layercache: warning:"
            echo(text, err=True, mark=(warning, WARNING) if text.startswith(warning) else None)

    def show(self, error: Exception) -> None:
        """Print an error; not its cause again if a warning has reported the same failure before."""
        from layercache.cli import failures

        failures.show(error if self.quiet else self.reported.shortened(error), trace=self.verbose)

    def _log(self, event: Event) -> None:
        if event.kind == "failed":
            what = f"{event.name} in {event.where}" if event.name else event.where
            why = event.note.removeprefix(f"{event.where}: ")
            if event.name is None and not self.reported.is_new(event.where, why, event.hint):
                return
            hint = f"\n  hint       {event.hint}" if event.hint else ""
            self.note(f"layercache: warning: skipped {what}: {why}{hint}")
        elif event.kind == "mislabelled":
            self.note(f"layercache: warning: {event.name}: {event.note}")
        elif event.kind == "unconfirmed":
            self.note(f"layercache: warning: {event.where}: {event.note}")
        elif event.kind == "unindexed":
            self.note(f"layercache: {event.note}")
        elif event.kind == "finishing":
            self.note(f"layercache: finishing {event.name}{_progress(event)}; Ctrl-C drops it")
        elif event.kind == "imported":
            self.note(f"layercache: recorded {event.where} as {event.note}")
        elif self.verbose and event.kind != "bytes":
            size = f" {event.size} bytes" if event.size else ""
            where = f" {event.where}" if event.where else ""
            echo(f"layercache: {event.kind} {event.form} {event.name}{size}{where}", err=True)


def _progress(event: Event) -> str:
    """How far a transfer is."""
    from layercache.cli.output import human

    return f", {human(event.size)} of {human(event.total)}" if event.total else f", {human(event.size)}"
