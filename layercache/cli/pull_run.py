"""One run of ``layercache pull``: the images, the outcomes of their layers, and what is printed."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import failures, output, pull_plan
from layercache.cli.pull_report import Pulled
from layercache.cli.terminal import echo
from layercache.oci.forms import COMPRESSED
from layercache.oci.reference import canonical
from layercache.pull import Puller, distinct
from layercache.pull.plan import make_plan
from layercache.sources.names import registry_reference
from layercache.value import replace

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.cli.activity import Activity, Step
    from layercache.cli.pull_report import Done
    from layercache.cli.session import Session
    from layercache.events import Event
    from layercache.images.image import Image
    from layercache.layer import Forms, Layer
    from layercache.oci.reference import Reference
    from layercache.pull import Outcomes
    from layercache.pull.opening import Opened
    from layercache.pull.plan import Plan

SHOWN_ERRORS = 5
"""Failures that are printed in full: when a registry goes down, all layers fail alike."""


@dataclass
class PullRun:
    """``plan`` is None where one image is pulled: it costs look-ups."""

    session: Session
    cache: Cache
    opened: list[Opened]
    form: Forms
    outcomes: Outcomes = field(default_factory=dict)
    plan: Plan | None = None

    @property
    def images(self) -> list[Image]:
        return [image for each in self.opened for image in each.images]

    @property
    def errors(self) -> list[Exception]:
        errors: list[Exception] = [error for each in self.opened for error in each.errors]
        return errors + [outcome.error for outcome in self.outcomes.values() if outcome.error]

    def check_plan(self) -> None:
        """Print the plan. Raises `BackendError` if the images do not fit on the disk."""
        self.plan = make_plan(self.cache, self.images, self.form)
        self.session.note(pull_plan.described(self.plan))
        self.plan.check_room()

    def show_plan(self, *, as_json: bool, whole: bool) -> dict[str, Any]:
        """Print a line for each image, and the plan; or return both for JSON."""
        self.plan = make_plan(self.cache, self.images, self.form, ask_far=True)
        rows = pull_plan.rows(self.cache, self.images, self.form)
        if not as_json:
            pull_plan.print_rows(rows, whole=whole)
            self.session.note(pull_plan.described(self.plan))
        return {
            "dry_run": True,
            "images": [asdict(row) for row in rows],
            "plan": asdict(self.plan),
            "errors": [str(error) for error in self.errors],
            "failed_images": self.failed(),
        }

    def fill(self, jobs: int) -> None:
        """Pull the layers of all images; several after a plan. Raises `BackendError` if they do not fit."""
        if len(self.opened) > 1:
            self.check_plan()
        layers, activity = distinct(self.images), self.session.activity
        size = sum(layer.size or 0 for layer in layers)
        with activity.step("pulling", total=size, of=len(layers), noun="layer") as step:
            follower = Follower(activity, step)
            with self.cache.watch(follower.watch):
                self.outcomes = Puller(self.cache, self.form, jobs).run(layers, follower.finish)

    def print(self, *, whole: bool) -> None:
        """Print where each layer came from."""
        pulled = self._pulled()
        if pulled.images and not self.session.quiet:
            pulled.print(whole=whole)

    def report(self, done: Done, *, as_json: bool) -> dict[str, Any]:
        """Print a summary; or return all for JSON."""
        pulled = self._pulled()
        if not as_json and pulled.images:
            self.session.note(pulled.summary(done))
        plan = {"plan": asdict(self.plan)} if self.plan else {}
        return {**plan, **pulled.document(done), "failed_images": self.failed()}

    def _pulled(self) -> Pulled:
        return Pulled(self.images, self.outcomes, self.errors, [tier.name for tier in self.cache.tiers])

    def failed(self) -> dict[str, str]:
        """Return the names of the images that are not complete, each with the reason in a line."""
        found = {}
        for each in self.opened:
            layers = {str(layer.digest) for image in each.images for layer in image.layers}
            wrong = [name for name in layers if name in self.outcomes and self.outcomes[name].error]
            if each.errors:
                found[each.name] = each.errors[0].message.removeprefix(f"{canonical(each.name)} ")
            elif wrong:
                found[each.name] = f"{len(wrong)} of {output.count(len(layers), 'layer')} failed"
        return found

    def references(self) -> list[Reference]:
        """Return the images with the digests of what their names lead to: a manifest or an index."""
        found = []
        for each in self.opened:
            reference = registry_reference(each.name)
            assert reference is not None, "only images of registries are locked"
            found += [replace(reference, digest=image.root.digest) for image in each.images[:1]]
        return found

    def explain(self) -> None:
        """Print each failure once, then the images that failed, and exit with the code of the first failure.

        Returns if nothing failed.
        """
        if not self.errors:
            return
        different = list({str(error): error for error in self.errors}.values())
        for error in different[:SHOWN_ERRORS]:
            self.session.show(error)
        if len(different) > SHOWN_ERRORS:
            echo(f"layercache: and {len(different) - SHOWN_ERRORS} more failures", err=True)
        if len(self.opened) > 1:
            failed = self.failed()
            echo(f"layercache: {len(failed)} of {len(self.opened)} images failed:", err=True)
            for name, reason in failed.items():
                echo(f"  {name}: {reason}", err=True)
        click.get_current_context().exit(failures.exit_code(self.errors[0]))


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
