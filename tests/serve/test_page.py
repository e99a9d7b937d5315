"""The page at ``/``, as a browser shows it and as its requests are answered."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fixtures.stores import far
from servers.asking import ask
from servers.browser import chromium, picture
from servers.images import make_image, make_layer, noise
from servers.lying import LyingRegistry
from servers.mirror import Mirror

import layercache
from layercache.errors import SourceError
from layercache.events import Event
from layercache.serve.page.activity import Activity, all_workers, by_minute
from layercache.serve.page.inventory import Inventory
from layercache.serve.page.page import FILES, Page
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab
    from servers.lying import Answer, Request

    from layercache.backend import Entry
    from layercache.cache import Cache
    from layercache.serve.access import Access

PACE = 2_000_000
BIG = make_layer({"big": noise(6_000_000)}, "gzip")
SMALL = make_layer({"small": noise(3000, 1)}, "gzip")


@pytest.fixture(scope="module")
def upstream() -> Iterator[LyingRegistry]:
    """A registry with two images that share a layer. The other layer of the first comes slowly."""

    def slowly(_: Request, answer: Answer) -> None:
        answer.pace = PACE

    with LyingRegistry() as running:
        running.add_image("1", make_image([SMALL, BIG]))
        running.add_image("2", make_image([SMALL]))
        running.on(f"GET /v2/app/blobs/{BIG.digest}", slowly)
        yield running


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, upstream: LyingRegistry) -> Iterator[Mirror]:
    config = f'default_upstream = "{upstream.host}"\nupstream_timeout = 2'
    folder = tmp_path_factory.mktemp("page")
    with Mirror(folder / "mirror", config=config, environment={"XDG_STATE_HOME": str(folder)}) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, browser: Browser, mirror: Mirror) -> Iterator[Tab]:
    """The page in a browser that fails the test if anything is reported in its console."""
    problems: list[str] = []
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda asked: problems.extend([] if mirror.host in asked.url else [asked.url]))
    opened.goto(f"http://{mirror.host}/")
    yield opened
    context.close()
    assert not [each for each in problems if not each.startswith("data:")]


def pull(mirror: Mirror, tag: str) -> None:
    for path in (f"manifests/{tag}", *(f"blobs/{layer.digest}" for layer in (SMALL, BIG)[: 3 - int(tag)])):
        assert mirror.get(f"/v2/app/{path}").status == 200


@pytest.mark.slow
def test_a_browser_shows_a_pull_while_it_goes_on_and_then_what_is_cached(
    mirror: Mirror, browser: Browser
) -> None:
    tab = browser.new_page()
    tab.goto(f"http://{mirror.host}/")
    tab.get_by_text("live", exact=True).wait_for()
    assert tab.get_by_text("Nothing is being fetched or inflated.").is_visible()
    pulling = threading.Thread(target=pull, args=(mirror, "1"))
    pulling.start()
    row = tab.locator(f'#running li[data-name="{BIG.digest}"]')
    row.wait_for()
    bar = row.get_by_role("progressbar")
    assert float(bar.get_attribute("max") or 0) == len(BIG.blob)
    seen = {bar.evaluate("bar => bar.value")}
    while len(seen) < 2:  # ends, or fails, with the pull: then there is no bar
        seen.add(bar.evaluate("bar => bar.value"))
    picture(tab, "while-pulling")
    pulling.join()
    row.wait_for(state="detached")
    pull(mirror, "2")
    tab.locator("#images th button").nth(1).wait_for()
    assert tab.locator("#tiers .between").first.inner_text().endswith("2 images")
    tab.close()


@pytest.mark.slow
def test_images_are_found_by_a_search_and_opened_with_the_keyboard(
    tab: Tab, mirror: Mirror, upstream: LyingRegistry, request: pytest.FixtureRequest
) -> None:
    pull(mirror, "1")
    pull(mirror, "2")
    tab.locator("#images th button").nth(1).wait_for()
    tab.get_by_role("searchbox").fill(BIG.digest)
    assert tab.locator("#images-count").inner_text() == "1 of 2 images"
    tab.get_by_role("searchbox").press("Tab")  # the table can be scrolled, so it has the focus in between
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    button = tab.get_by_role("button", name=f"{upstream.host}/app:1")
    assert button.get_attribute("aria-expanded") == "true"
    layers = tab.locator("#images td table tbody tr")
    assert layers.count() == 2
    assert layers.first.locator("td").nth(2).inner_text() == "2", "both images have the small layer"
    tab.get_by_role("button", name="Last 30 days").click()
    tab.set_viewport_size({"width": 390, "height": 800})
    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "nothing but the table scrolls sideways"
    picture(tab, f"narrow-{request.node.callspec.id}")
    tab.set_viewport_size({"width": 1200, "height": 900})
    picture(tab, f"wide-{request.node.callspec.id}")


def test_the_page_loads_nothing_from_elsewhere_and_may_not_be_framed(mirror: Mirror) -> None:
    for path, (name, kind) in FILES.items():
        response = mirror.get(path)
        assert (response.status, response.headers["content-type"]) == (200, kind), name
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert b"https://" not in response.body.replace(b"http://www.w3.org", b"")
        again = mirror.get(path, {"If-None-Match": response.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
    assert mirror.get("/ui/../secret").status == 404
    assert mirror.get("/ui/nothing").status == 404


def test_the_page_is_off_where_the_configuration_says_so(serve_alone: Service) -> None:
    assert ask(serve_alone, "/").status == 404


@pytest.fixture
def serve_alone(tmp_path: Path) -> Iterator[Service]:
    service = Service(layercache.open(f"file://{tmp_path}/cache"), ServeSettings())
    yield service
    service.close()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with layercache.open(f"file://{tmp_path}/cache") as opened:
        yield opened


def test_a_client_sees_neither_images_nor_errors_of_repositories_that_it_may_not_read(
    cache: Cache, tmp_path: Path, upstream: LyingRegistry
) -> None:
    cache.image(f"{upstream.host}/app:2")
    (tmp_path / "workers").mkdir()

    def service(*, shown: bool) -> Service:
        def page(_: Access) -> Page:
            return Page(cache, ServeSettings(), lambda _admitted, _about: shown, str(tmp_path / "workers"))

        return Service(cache, ServeSettings(), page=page)

    def seen(running: Service) -> tuple[list[str], list[str]]:
        while not (tier := ask(running, "/ui/tiers").json["tiers"][0])["counted"]:
            threading.Event().wait(0.02)  # it is being counted
        errors = ask(running, "/ui/state").json["errors"]
        return [image["name"] for image in tier["images"]], [error["what"] for error in errors]

    for shown in (True, False):
        running = service(shown=shown)
        assert running.page is not None
        running.page.activity.failed(SourceError("no answer"), repository=f"{upstream.host}/app:2")
        running.page.activity.save()
        images, errors = seen(running)
        assert bool(images) is shown
        assert bool(errors) is shown
        running.page.close()


def test_workers_add_up_and_one_that_was_killed_is_forgotten(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [Activity(str(tmp_path), number, lambda: cache.counters, lambda: None) for number in range(2)]
    for worker in workers:
        worker.failed("once")
        worker.failed("twice", about="docker.io")
        worker.failed("twice", about="docker.io")
        worker.save()
    states = all_workers(str(tmp_path))
    assert [[(each.what, each.times) for each in state.errors] for state in states] == [
        [("once", 1), ("docker.io: twice", 2)]
    ] * 2
    assert len(by_minute(states)) == 60
    (tmp_path / "3.activity").write_bytes(b"{not json")
    assert len(all_workers(str(tmp_path))) == 2
    monkeypatch.setattr("layercache.serve.page.activity.STALE", -1.0)
    assert not all_workers(str(tmp_path))


def test_totals_are_recorded_every_minute_since_a_mirror_runs_for_months(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, now = [], 1_800_000_000.0
    monkeypatch.setattr("layercache.serve.page.activity.time.time", lambda: now)
    activity = Activity(str(tmp_path), 0, lambda: cache.counters, lambda: recorded.append(now))
    for seconds in (0, 0.5, 30, 61, 62, 200):
        now = 1_800_000_000.0 + seconds
        activity.save()
    assert [each - 1_800_000_000 for each in recorded] == [0, 61, 200]


def test_a_transfer_that_gets_no_bytes_is_forgotten_since_its_error_is_no_event(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("layercache.serve.page.activity.time.time", lambda: now)
    activity = Activity(str(tmp_path), 0, lambda: cache.counters, lambda: None)
    activity.watch(Event("fetching", BIG.digest, "compressed", "docker.io", total=10))
    shown = []
    for seconds in (0, 80, 160, 260):
        now = 1_800_000_000.0 + seconds
        if seconds == 80:
            activity.watch(Event("bytes", BIG.digest, "compressed", "docker.io", size=5))
        activity.save()
        (state,) = all_workers(str(tmp_path))
        shown.append([each.done for each in state.running])
    assert shown == [[0], [5], [5], []]


def test_a_bucket_is_listed_when_it_is_asked_for_and_not_again_for_minutes_whoever_asks() -> None:
    class Listed(MemoryBackend):
        listings = 0

        def scan(self, prefix: str = "") -> Iterator[Entry]:
            self.listings += prefix.startswith("blobs")
            return super().scan(prefix)

    store = Listed()
    tier = far(store)
    tier.remote = True
    inventory = Inventory([tier])
    assert [inventory.latest()[0]["counted"] for _ in range(3)] == [None] * 3
    assert store.listings == 0, "nobody asked for it"
    while not inventory.latest(wanted=tier.name)[0]["counted"]:
        threading.Event().wait(0.01)
    for _ in range(20):
        assert not inventory.latest(wanted=tier.name)[0]["counting"]
    assert store.listings == 1
