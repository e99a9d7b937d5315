"""One run of ``layercache pull``: the images, the outcomes of their layers, and what is printed."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import failures, pull_plan
from layercache.cli.pull_report import PullReport
from layercache.cli.terminal import echo
from layercache.oci.forms import COMPRESSED
from layercache.pull import Puller, distinct
from layercache.pull.plan import make_plan

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.cli.activity import Activity, Step
    from layercache.cli.pull_report import Done
    from layercache.cli.session import Session
    from layercache.events import Event
    from layercache.layer import Layer
    from layercache.pull import Pulled

SHOWN_ERRORS = 5
"""Failures that are printed in full: when a registry goes down, all layers fail alike."""


@dataclass
class PullRun:
    """``pulled.plan`` is None where one image is pulled: it costs look-ups."""

    session: Session
    cache: Cache
    pulled: Pulled

    def check_plan(self) -> None:
        """Print the plan. Raises `BackendError` if the images do not fit on the disk."""
        self.pulled.plan = plan = make_plan(self.cache, self.pulled.images, self.pulled.form)
        self.session.note(pull_plan.described(plan))
        plan.check_room()

    def show_plan(self, *, as_json: bool, whole: bool) -> dict[str, Any]:
        """Print a line for each image, and the plan; or return both for JSON."""
        self.pulled.plan = plan = make_plan(self.cache, self.pulled.images, self.pulled.form, ask_far=True)
        rows = pull_plan.rows(self.cache, self.pulled.images, self.pulled.form)
        if not as_json:
            pull_plan.print_rows(rows, whole=whole)
            self.session.note(pull_plan.described(plan))
        return {
            "dry_run": True,
            "images": [asdict(row) for row in rows],
            "plan": asdict(plan),
            "errors": [str(error) for error in self.pulled.errors],
            "failed_images": self.pulled.failed,
        }

    def fill(self, jobs: int) -> None:
        """Pull the layers of all images; several after a plan. Raises `BackendError` if they do not fit."""
        if len(self.pulled.opened) > 1:
            self.check_plan()
        layers, activity = distinct(self.pulled.images), self.session.activity
        size = sum(layer.size or 0 for layer in layers)
        with activity.step("pulling", total=size, of=len(layers), noun="layer") as step:
            follower = Follower(activity, step)
            with self.cache.watch(follower.watch):
                self.pulled.outcomes = Puller(self.cache, self.pulled.form, jobs).run(layers, follower.finish)

    def print(self, *, whole: bool) -> None:
        """Print where each layer came from."""
        printed = self._printed()
        if printed.images and not self.session.quiet:
            printed.print(whole=whole)

    def report(self, done: Done, *, as_json: bool) -> dict[str, Any]:
        """Print a summary; or return all for JSON."""
        printed = self._printed()
        if not as_json and printed.images:
            self.session.note(printed.summary(done))
        plan = {"plan": asdict(self.pulled.plan)} if self.pulled.plan else {}
        return {**plan, **printed.document(done), "failed_images": self.pulled.failed}

    def _printed(self) -> PullReport:
        return PullReport(
            self.pulled.images,
            self.pulled.outcomes,
            self.pulled.errors,
            [tier.name for tier in self.cache.tiers],
        )

    def explain(self) -> None:
        """Print each failure once, then the images that failed, and exit with the code of the first failure.

        Returns if nothing failed.
        """
        if not self.pulled.errors:
            return
        different = list({str(error): error for error in self.pulled.errors}.values())
        for error in different[:SHOWN_ERRORS]:
            self.session.show(error)
        if len(different) > SHOWN_ERRORS:
            echo(f"layercache: and {len(different) - SHOWN_ERRORS} more failures", err=True)
        if len(self.pulled.opened) > 1:
            failed = self.pulled.failed
            echo(f"layercache: {len(failed)} of {len(self.pulled.opened)} images failed:", err=True)
            for name, reason in failed.items():
                echo(f"  {name}: {reason}", err=True)
        click.get_current_context().exit(failures.exit_code(self.pulled.errors[0]))


class Follower:
    """Counts the bytes and the layers of a pull's step: compressed bytes, each layer as much as it has."""

    # The lock guards `_come`: each layer ends in the thread that pulled it, its bytes may come in others.

    def __init__(self, activity: Activity, step: Step) -> None:
        self._activity = activity
        self._step = step
        self._lock = threading.Lock()
        self._come: dict[str, int] = {}

    def watch(self, event: Event) -> None:
        if event.kind == "bytes" and event.form == COMPRESSED and event.name is not None:
            with self._lock:
                self._come[event.name] = self._come.get(event.name, 0) + event.size
            self._step.advance(event.size)

    def finish(self, layer: Layer) -> None:
        with self._lock:
            come = self._come.pop(str(layer.digest), 0)
        self._step.advance((layer.size or 0) - come, objects=1)
        self._activity.ended(*layer.names)
