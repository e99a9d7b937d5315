"""A pull of images: all that a program needs to do, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from layercache.oci.reference import canonical
from layercache.pull.opening import open_images
from layercache.pull.plan import make_plan
from layercache.pull.puller import Puller, default_form, distinct
from layercache.sources.names import registry_reference
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.images.image import Image
    from layercache.layer import Forms
    from layercache.oci.reference import Reference
    from layercache.pull.filled import FilledCache
    from layercache.pull.opening import Opened
    from layercache.pull.plan import Plan
    from layercache.pull.puller import Outcomes


@dataclass(slots=True)
class Pulled:
    """What became of each image and layer of a pull.

    ``opened``: each name, with its images, one a platform, and the errors of those that could not be opened.
    ``outcomes``: of each layer, by digest; empty in a dry run. ``plan``: None where one image was pulled, as
    it costs look-ups.
    """

    form: Forms
    opened: list[Opened]
    outcomes: Outcomes = field(default_factory=dict)
    plan: Plan | None = None

    @property
    def images(self) -> list[Image]:
        """The images that were opened, in the order of their names."""
        return [image for each in self.opened for image in each.images]

    @property
    def errors(self) -> list[Exception]:
        """What failed: images that could not be opened, then layers that could not be fetched."""
        errors: list[Exception] = [error for each in self.opened for error in each.errors]
        return errors + [outcome.error for outcome in self.outcomes.values() if outcome.error]

    @property
    def failed(self) -> dict[str, str]:
        """The names of the images that are not complete, each with the reason in a line."""
        found = {}
        for each in self.opened:
            layers = {str(layer.digest) for image in each.images for layer in image.layers}
            wrong = sum(1 for name in layers if name in self.outcomes and self.outcomes[name].error)
            if each.errors:
                found[each.name] = each.errors[0].message.removeprefix(f"{canonical(each.name)} ")
            elif wrong:
                found[each.name] = f"{wrong} of {len(layers)} layer{'' if len(layers) == 1 else 's'} failed"
        return found

    @property
    def references(self) -> list[Reference]:
        """The images of registries, with the digest of what each name leads to: a manifest or an index."""
        names = [(registry_reference(each.name), each.images[:1]) for each in self.opened]
        return [replace(name, digest=image.root.digest) for name, images in names if name for image in images]

    def check(self, failed: Callable[[Exception], object] | None) -> Self:
        """Call ``failed`` with each error; without it raise the first one."""
        for error in self.errors:
            if failed is None:
                raise error
            failed(error)
        return self


def pull(
    cache: FilledCache,
    names: Iterable[str],
    *,
    platform: str | None = None,
    form: Forms | None = None,
    jobs: int = 8,
    dry_run: bool = False,
) -> Pulled:
    """Open images and fetch their layers; what failed is in what is returned.

    ``dry_run``: only make the plan, for which far tiers are asked too. Raises `BackendError` if several
    images do not fit.
    """
    done = Pulled(form or default_form(cache), open_images(cache, names, platform, jobs))
    if dry_run or len(done.opened) > 1:
        done.plan = make_plan(cache, done.images, done.form, ask_far=dry_run)
    if not dry_run:
        if done.plan is not None:
            done.plan.check_room()
        done.outcomes = Puller(cache, done.form, jobs).run(distinct(done.images), lambda _layer: None)
    return done
