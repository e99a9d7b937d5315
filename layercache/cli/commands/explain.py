"""``layercache explain``: shows where a layer or an image would come from, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.table import Column, Lines
from layercache.cli.terminal import echo
from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.explain.explanation import Explanation, LayerExplanation, Route, TierState

FORMS = ("compressed", "uncompressed")
COLUMNS = (
    Column("DIGEST", name=True),
    Column("FORM"),
    Column("REQUESTS", right=True),
    Column("READS", right=True),
    Column("INFLATES", right=True),
    Column("FROM"),
)


@click.command(cls=Command)
@click.argument("name", metavar="HASH|IMAGE")
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Platform of the image. Default: Linux on this machine's architecture.",
)
@json_option
@no_trunc_option
@click.pass_obj
def explain(session: Session, name: str, platform: str | None, as_json: bool, no_trunc: bool) -> None:
    """Show where a layer or an image would come from, and why.

    Shows what each tier has of it, which way the bytes of each form would come and what that costs, and for
    what a tier lacks, why: evicted, quarantined, not stored by its options, or a tier that fails. Asks the
    tiers and no source, reads no layer, and changes nothing.
    """
    with session.cache() as cache:
        found = cache.explain(_whole(cache, name), platform=platform)
    if as_json:
        output.document(_document(found))
    elif found.layers and found.digest is None:
        _print_layer(found.layers[0], found)
    else:
        _print_image(found, whole=no_trunc)


def _whole(cache: Cache, text: str) -> str:
    """The whole hash if the text is the beginning of one that is cached; else the text."""
    from layercache.cli.short_hashes import full_name, looks_like_hash

    if looks_like_hash(text):
        try:
            return full_name(cache, text)
        except NotFoundError:
            if ":" in text:
                raise
    return text


def _print_layer(layer: LayerExplanation, found: Explanation) -> None:
    known = "computed" if layer.computed else "claimed" if layer.digest and layer.diff_id else ""
    _field("digest", layer.digest, layer.size, known)
    _field("diff ID", layer.diff_id, layer.uncompressed_size, "")
    for tier in layer.tiers:
        echo(f"tier     {tier.tier}")
        for line in _held(tier):
            echo(f"         {line}")
    for form in FORMS:
        echo(f"{form}: {_way(getattr(layer, form))}")
    for image in found.images:
        echo(f"image    {image}")
    if not (layer.compressed or layer.uncompressed):
        echo(f"no source is known for it: pull {found.images[0] if found.images else 'its image'}")


def _field(title: str, value: str | None, size: int | None, more: str) -> None:
    if value is not None:
        echo(f"{title:<8} {value}")
        words = [output.human(size)] if size is not None else ["size unknown"]
        echo(f"{'':<8} {', '.join([*words, *([more] if more else [])])}")


def _held(tier: TierState) -> list[str]:
    if tier.failure:
        return [f"skipped: {tier.failure}"]
    there = [f"{each.form}: {output.human(each.size)}" for each in tier.held]
    return there + [f"{form}: missing: {why}" for form, why in tier.missing.items()]


def _way(route: Route | None) -> str:
    """Where the bytes would come from, and what that costs."""
    if route is None:
        return "no way leads to it"
    requests = output.count(route.requests, "request") if route.requests else "no request"
    size = "size unknown" if route.size is None else output.human(route.size)
    words = [f"{route.place.where}", requests, size]
    if route.inflates is None:
        words.append("inflated")
    elif route.inflates:
        words.append(f"inflates {output.human(route.inflates)}")
    if route.claimed:
        words.append("confirms a claim")
    if route.lease:
        words.append(f"by one machine for all, with a lease in {route.lease}")
    return ", ".join(words)


def _print_image(found: Explanation, *, whole: bool) -> None:
    echo(f"image    {found.name}")
    if found.digest:
        echo(f"digest   {found.digest}")
    echo(f"tiers    {', '.join(found.known_to) or 'none knows it'}")
    if found.sources:
        echo(f"sources  {', '.join(place.where for place in found.sources)}")
    if found.problem:
        echo(f"problem  {found.problem}")
    with Lines(COLUMNS, whole=whole) as lines:
        for layer in found.layers:
            for form in FORMS:
                lines.add(lines.hash(layer.digest), form, *_cells(getattr(layer, form), lines))
    for (tier, form, why), count in _reasons(found).items():
        echo(f"{tier} lacks {output.count(count, 'layer')} ({form}): {why}")
    for form in FORMS if found.layers else ():
        echo(f"{form}: {_cost(found, form)}")
    leases = Counter(layer.compressed.lease for layer in found.layers if layer.compressed)
    for tier, count in leases.items():
        if tier:
            echo(f"lease    {output.count(count, 'layer')} by one machine for all, in {tier}")


def _cells(route: Route | None, lines: Lines) -> tuple[str, ...]:
    if route is None:
        return ("", "", "", "no way leads to it")
    sizes = (lines.size(route.size), lines.size(route.inflates))
    return (str(route.requests), *sizes, route.place.where)


def _reasons(found: Explanation) -> Counter[tuple[str, str, str]]:
    reasons: Counter[tuple[str, str, str]] = Counter()
    for layer in found.layers:
        for tier in layer.tiers:
            if tier.failure:
                reasons[tier.tier, "either form", f"skipped: {tier.failure}"] += 1
            reasons.update((tier.tier, form, why) for form, why in tier.missing.items())
    return reasons


def _cost(found: Explanation, form: str) -> str:
    """What reading this form of all layers costs."""
    routes = [route for layer in found.layers if (route := getattr(layer, form)) is not None]
    travel = sum(route.size or 0 for route in routes if route.requests)
    inflated = sum(route.inflates or 0 for route in routes)
    unknown = "" if all(route.inflates is not None for route in routes) else " and more"
    missing = len(found.layers) - len(routes)
    words = [
        output.count(sum(route.requests for route in routes), "request"),
        f"{output.human(travel)} from afar",
        f"{output.human(inflated)}{unknown} to inflate",
        *([f"no way to {output.count(missing, 'layer')}"] if missing else []),
    ]
    return ", ".join(words)


def _document(found: Explanation) -> dict[str, Any]:
    document = asdict(found)
    for layer, explained in zip(document["layers"], found.layers, strict=True):
        for form in FORMS:
            if (route := getattr(explained, form)) is not None:
                layer[form]["place"] = route.place._asdict()
    document["sources"] = [place._asdict() for place in found.sources]
    return document
