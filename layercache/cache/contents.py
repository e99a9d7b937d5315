"""What a cache holds: listed, counted, copied, checked, removed."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from layercache.cache.core import CacheCore
from layercache.errors import ClosedError, wrong_type
from layercache.oci.digest import Hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from layercache.copy import Copied
    from layercache.images.cached import CachedImage
    from layercache.tiers.inventory import CachedLayer, TierStats
    from layercache.tiers.policy import Keep
    from layercache.upkeep import Checked, Cleaned, Pruned, Removed, Sample
    from layercache.upkeep.index import WrittenIndex
    from layercache.upkeep.upgrade import Upgraded


class CacheContents(CacheCore):
    """The methods of a `Cache` that are about all that its tiers hold. The work is done in what stands below.

    Those that say nothing else act on the nearest tier, and with ``all_tiers`` on each.
    """

    def images(self, *, all_tiers: bool = False) -> Iterator[CachedImage]:
        """The images that are cached, by name; of one tier after the other. Raises `BackendError`."""
        from layercache.images.cached import cached_images

        return (image for tier in self._chosen(all_tiers=all_tiers) for image in cached_images(tier))

    def layers(self, *, image: str | None = None, all_tiers: bool = False) -> Iterator[CachedLayer]:
        """The layers that a tier knows, in any order, also those of which neither form is there any more.

        ``image``: those of an image as it was last pulled, of each cached platform, lowest first; raises
        `NotFoundError` if it is not cached. Raises `BackendError`.
        """
        from layercache.tiers.inventory import layers, layers_of

        tiers = self._chosen(all_tiers=all_tiers)
        if image is None:
            return (layer for tier in tiers for layer in layers(tier))
        opener, reference, source = self._source_of(image)
        found = opener.all_from_source(None if reference else source, reference)
        digests = list(dict.fromkeys(layer.digest for each in found for layer in each.layers))
        return (layer for tier in tiers for layer in layers_of(tier, digests))

    def stats(self, *, progress: Callable[[int], object] = lambda _size: None) -> Iterator[TierStats]:
        """Count what each tier holds, the nearest first. Every object is listed.

        ``progress`` is called with the size of each blob. Raises `BackendError`.
        """
        from layercache.tiers.inventory import count

        return (count(tier, progress) for tier in self._chosen(all_tiers=True))

    def delete(self, name: str, *, force: bool = False, all_tiers: bool = False) -> None:
        """Remove a layer or blob from the nearest writable tier, or with ``all_tiers`` from each.

        By digest: the blob, its associations, and the tar unless another digest leads to it. By diff ID: the
        tar and every digest of it. Raises `NotFoundError` if nothing was there, `InUseError` if a cached
        image uses it, unless ``force``.
        """
        from layercache.tiers import removal

        self._settle(all_tiers=all_tiers)
        removal.delete_from(self.tiers, Hash(name), force=force, all_tiers=all_tiers)
        self.note_change()

    def forget_image(self, name: str, *, blobs: bool = False, all_tiers: bool = False) -> None:
        """Remove an image from the nearest writable tier, or with ``all_tiers`` from each.

        ``blobs``: and blobs that no other image there uses. Raises `NotFoundError`, `InvalidNameError`.
        """
        from layercache.images.cached import forget

        self._settle(all_tiers=all_tiers)
        forget(self.tiers, name, blobs=blobs, all_tiers=all_tiers)
        self.note_change()

    def copy_to(
        self,
        target: str | os.PathLike[str] | CacheCore,
        *,
        images: str | Iterable[str] = (),
        form: Keep | None = None,
        since: float = 0.0,
        jobs: int = 8,
        dry_run: bool = False,
    ) -> Copied:
        """Copy what the nearest tier has and ``target`` lacks: a URL, a folder, or a cache's nearest tier.

        ``images``: only what these need. ``form``: only this one of layers; by default what the target
        stores. ``since``: only what was stored then or later, in seconds since the epoch. Entries of the
        source that are wrong, or cannot be read, are skipped, and among the ``failures`` of what is returned.
        Raises `NotFoundError` for an image that is not cached, `ConfigError`, `BackendError`.
        """
        from layercache.arguments import check_jobs, check_numbers, several
        from layercache.copy import Selection, copy_to
        from layercache.oci.forms import check_form

        self._settle(all_tiers=False)
        check_numbers("seconds", since=since)
        check_jobs(jobs)
        if form is not None:
            check_form(form, both=True)
        selection = Selection.of(form, several(images), since)
        to = partial(copy_to, selection, jobs=jobs, dry_run=dry_run, observers=self._observers)
        if not isinstance(target, CacheCore):
            with closing(self._tier_at(target)) as tier:
                return to(self.tiers[0], tier)
        if target.closed:
            raise ClosedError("the target is closed", hint="copy to it inside its with block")
        done = to(self.tiers[0], target.tiers[0])
        target.note_change()
        return done

    def prune(
        self,
        *,
        max_size: int | None = None,
        max_age: float | None = None,
        forget: bool = False,
        leftovers_older_than: float | None = None,
        dry_run: bool = False,
        all_tiers: bool = False,
        watcher: Callable[[Removed], object] = lambda _removed: None,
    ) -> list[Pruned]:
        """Evict blobs beyond the limits, least recently used first, and remove leftovers; a result a tier.

        ``max_size`` (bytes of all blobs) and ``max_age`` (seconds since the last use) are by default those of
        each tier. ``leftovers_older_than`` seconds: by default a day, or ``max_age`` if that is less.
        ``forget``: also facts and images of which nothing is left. ``watcher`` is called with each blob.
        ``dry_run`` removes nothing. Raises `ConfigError` if no tier can be written to, `BackendError`.
        """
        from layercache.arguments import check_numbers
        from layercache.upkeep import prune

        check_numbers("bytes", max_size=max_size)
        check_numbers("seconds", max_age=max_age, leftovers_older_than=leftovers_older_than)
        done = [
            prune(
                tier,
                max_size=max_size,
                max_age=max_age,
                forget=forget,
                dry_run=dry_run,
                leftovers_older_than=leftovers_older_than,
                watcher=watcher,
            )
            for tier in self._stores(all_tiers=all_tiers, writable=True)
        ]
        if not dry_run:
            self.note_change()
        return done

    def verify(
        self,
        images: str | Iterable[str] | None = None,
        *,
        platform: str | None = None,
        sample: Sample | None = None,
        deep: bool = False,
        jobs: int | None = None,
        all_tiers: bool = False,
    ) -> Iterator[Checked]:
        """Hash every blob again, check facts and images, and quarantine what is wrong; yield each object.

        ``images``, named with digests: check what these need of a ``platform`` (as for `pull`), and whether
        it is there. ``sample``: a part at random. ``deep``: inflate what was computed. ``jobs`` at a time, by
        default as many as there are cores. Raises `BackendError`, `InvalidNameError`.
        """
        from layercache.arguments import check_jobs, several
        from layercache.upkeep import Sample, verify_stores

        check_jobs(jobs)
        if sample is not None and not isinstance(sample, Sample):
            raise wrong_type("a Sample", sample)
        if images is not None:
            images = several(images)
        stores = self._stores(all_tiers=all_tiers)
        return verify_stores(
            stores, images, platform, sample=sample, deep=deep, jobs=jobs, changed=self.note_change
        )

    def clean(self, *, dry_run: bool = False, all_tiers: bool = False) -> list[Cleaned]:
        """Remove everything that the cache keeps, and no other file; a result a tier.

        ``dry_run`` counts what would go. Raises `ConfigError` if a tier is another tool's layout, or none can
        be written to, `BackendError`.
        """
        from layercache.upkeep import clean, count_all

        stores = self._stores(all_tiers=all_tiers, writable=True)
        done = [count_all(tier) for tier in stores]  # each is checked before the first is emptied
        if not dry_run:
            done = [clean(tier) for tier in stores]
            self.note_change()
        return done

    def write_index(self, *, layers: bool | None = None) -> WrittenIndex:
        """Rewrite index.json of the nearest writable tier, by which other tools read it as an OCI layout.

        On a local disk this happens by itself, a few seconds after a change. What other tools added is taken
        over first. ``layers``: whether layers are listed besides images; by default if they are fewer than
        10,000. Raises `ConfigError` if no tier can be written to, `BackendError`.
        """
        from layercache.upkeep.index import write_index_of

        self._settle(all_tiers=False)
        return write_index_of(self.tiers, layers=layers)

    def upgrade(self, *, jobs: int | None = None, dry_run: bool = False) -> list[Upgraded]:
        """Convert each writable tier of the earlier format to the present one; a result a tier.

        Raises `ConfigError` if there is none, `StoreFormatError` if a format is newer, `BackendError`.
        """
        from layercache.upkeep.upgrade import Upgrade

        stores = self._stores(all_tiers=True, writable=not dry_run)
        return [Upgrade(tier, jobs=jobs, dry_run=dry_run).run() for tier in stores]
