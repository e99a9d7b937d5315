"""Who may read what: by what the upstream says to a client, and by which upstreams are listed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from serve.accounts import MANIFEST, NOBODY, OWNER, STRANGER, basic, code, everything_of, requests, statuses
from servers.images import noise
from servers.received import receive
from servers.registry import PASSWORD, Registry
from servers.tokens import TokenServer

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from serve.accounts import Start
    from servers.images import Sample


# Private images


def test_the_second_user_is_refused_whatever_the_first_one_has_brought_here(
    start: Start, private: Registry, sample: Sample
) -> None:
    first, paths = start(private.host), everything_of(sample)
    assert receive(first, MANIFEST, OWNER).body == sample.image.manifest
    assert statuses(first, paths, OWNER) == [200] * len(paths)
    other = start(private.host)  # another mirror of the same cache
    for service in (first, other):
        for headers in (NOBODY, STRANGER, basic("", ""), basic("other", PASSWORD)):
            assert statuses(service, paths, headers) == [401] * len(paths)
        assert statuses(service, paths, OWNER) == [200] * len(paths)


def test_another_mirror_over_the_same_shared_store_refuses_the_second_user_as_well(
    start: Start, private: Registry, sample: Sample
) -> None:
    one, paths = start(private.host, caches=("near", "shared")), everything_of(sample)
    assert statuses(one, paths, OWNER) == [200] * len(paths)
    one.cache.flush()
    other = start(private.host, caches=("elsewhere", "shared"))
    for headers in (NOBODY, STRANGER):
        assert statuses(other, paths, headers) == [401] * len(paths)
    assert statuses(other, paths, OWNER) == [200] * len(paths)
    assert [private.fetches(digest) for digest in sample.image.blobs] == [1] * len(sample.image.blobs)


def test_a_private_image_of_a_registry_with_tokens_is_served_to_its_owner_alone(
    start: Start, tmp_path: Path, sample: Sample
) -> None:
    with (
        TokenServer(tmp_path / "tokens", anonymous=False) as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        mirror, paths = start(registry.host), everything_of(sample)
        assert statuses(mirror, paths, OWNER) == [200] * len(paths)
        for headers in (NOBODY, STRANGER):
            assert statuses(mirror, paths, headers) == [401] * len(paths)


def test_what_is_cached_of_a_private_image_is_not_given_out_through_a_public_one(
    start: Start, private: Registry, public: Registry, sample: Sample, tmp_path: Path
) -> None:
    mirror = start(public.host, upstreams=(public.host, private.host))
    name = f"{private.host}/team/secret"
    secret = noise(1000, 77)
    digest = Digest.of(secret)
    (tmp_path / "secret").write_bytes(secret)
    private.push(f"oci:{sample.layout}:index", "team/secret:1")
    children = [image.descriptor.digest for image in sample.index.images]
    blobs = [blob for image in sample.index.images for blob in image.blobs]
    paths = [*(f"manifests/{each}" for each in ("1", *children)), *(f"blobs/{each}" for each in blobs)]
    assert statuses(mirror, [f"/v2/{name}/{path}" for path in paths], OWNER) == [200] * len(paths)
    assert receive(mirror, MANIFEST).status == 200
    for path in paths[1:]:
        assert receive(mirror, f"/v2/team/app/{path}", NOBODY).status == 404
        assert receive(mirror, f"/v2/team/app/{path}", OWNER).status == 404
    assert receive(mirror, f"/v2/team/app/blobs/{digest}").status == 404


def test_credentials_are_checked_again_after_a_while_and_no_sooner(
    start: Start, private: Registry, sample: Sample
) -> None:
    mirror = start(private.host)
    assert statuses(mirror, everything_of(sample), OWNER)[0] == 200
    before = requests(private)
    assert set(statuses(mirror, everything_of(sample), OWNER)) == {200}
    assert requests(private) == before
    forgetful = start(private.host, access_age=0)
    assert receive(forgetful, MANIFEST, OWNER).status == 200
    (private._folder / "htpasswd").write_text("")
    private.stop()
    private.start()
    assert receive(forgetful, MANIFEST, OWNER).status == 401
    assert receive(mirror, MANIFEST, OWNER).status == 200


def test_a_refusal_is_remembered_for_a_moment_and_costs_the_upstream_nothing(
    start: Start, private: Registry
) -> None:
    mirror = start(private.host)
    assert receive(mirror, MANIFEST, STRANGER).status == 401
    before = requests(private)
    for _ in range(5):
        assert receive(mirror, MANIFEST, STRANGER).status == 401
        assert receive(mirror, MANIFEST).status == 401
    assert requests(private) == before


def test_many_clients_with_the_same_credentials_ask_the_upstream_once(
    start: Start, private: Registry
) -> None:
    mirror = start(private.host)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: receive(mirror, MANIFEST, OWNER).status, range(40)))
    assert set(found) == {200}
    heads = [each for each in private.accesses() if each.method == "HEAD" and each.status == 200]
    assert len(heads) == 1


def test_credentials_are_sent_to_the_upstream_that_is_asked_and_to_no_other(
    start: Start, private: Registry, public: Registry
) -> None:
    mirror = start(public.host, upstreams=(public.host, private.host))
    assert receive(mirror, MANIFEST, basic("someone", "elses")).status == 200  # public: not even looked at
    assert receive(mirror, f"/v2/{private.host}/team/app/manifests/1", basic("some", "one")).status == 401


def test_without_an_answer_of_the_upstream_a_private_image_is_not_served_and_not_denied_either(
    start: Start, private: Registry
) -> None:
    mirror = start(private.host, access_age=0, missing_age=0)
    assert receive(mirror, MANIFEST, OWNER).status == 200
    private.stop()
    assert code(mirror, MANIFEST, OWNER) == (503, "UNAVAILABLE")
    assert receive(mirror, MANIFEST).status == 401


# Public images


def test_a_public_image_stays_available_while_its_upstream_is_down(
    start: Start, public: Registry, sample: Sample
) -> None:
    mirror, paths = start(public.host, access_age=0, tag_age=0), everything_of(sample)
    assert statuses(mirror, paths, NOBODY) == [200] * len(paths)
    public.stop()
    assert statuses(mirror, paths, NOBODY) == [200] * len(paths)
    assert statuses(mirror, paths, OWNER) == [200] * len(paths)


def test_a_public_image_is_available_after_a_restart_while_its_upstream_is_down(
    start: Start, public: Registry, private: Registry, sample: Sample
) -> None:
    both = (public.host, private.host)
    mirror, paths = start(public.host, upstreams=both), everything_of(sample)
    secret = f"/v2/{private.host}/team/app/manifests/1"
    assert statuses(mirror, [*paths, secret], OWNER) == [200] * (len(paths) + 1)
    public.stop()
    private.stop()
    restarted = start(public.host, upstreams=both, tag_age=0)
    assert statuses(restarted, paths, NOBODY) == [200] * len(paths)
    for headers in (NOBODY, OWNER):
        assert receive(restarted, secret, headers).status == 503


def test_an_image_that_became_private_is_refused(start: Start, tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "changing"
    with Registry(folder) as registry:
        registry.push(f"oci:{sample.layout}:image", "team/app:1")
        mirror = start(registry.host, access_age=0, missing_age=0)
        assert receive(mirror, MANIFEST).status == 200
        registry.stop()
        closed = Registry(folder, basic_auth=True)
        closed.port = registry.port
        with closed:
            assert receive(mirror, MANIFEST).status == 401
            assert receive(mirror, MANIFEST, OWNER).status == 200
            closed.stop()
            assert receive(mirror, MANIFEST).status == 401
            assert receive(start(registry.host), MANIFEST).status == 503  # not even after a restart


def test_what_a_public_repository_does_not_have_is_absent(start: Start, public: Registry) -> None:
    mirror = start(public.host)
    assert code(mirror, "/v2/team/app/manifests/2") == (404, "MANIFEST_UNKNOWN")
    assert code(mirror, "/v2/team/none/tags/list")[0] == 404
    assert code(mirror, f"/v2/team/app/blobs/{Digest.of(b'none')}") == (404, "BLOB_UNKNOWN")


# What is listed


def test_only_listed_upstreams_and_repositories_are_asked(
    start: Start, public: Registry, private: Registry
) -> None:
    mirror, before = start(public.host, upstreams=(f"{public.host}/team/*",)), requests(private)
    assert receive(mirror, MANIFEST).status == 200
    for path in (
        "/v2/other/app/manifests/1",
        f"/v2/{private.host}/team/app/manifests/1",
        "/v2/169.254.169.254/latest/manifests/1",
        "/v2/metadata.google.internal/x/tags/list",
    ):
        assert code(mirror, path) == (403, "DENIED")
    assert requests(private) == before


def test_without_a_list_the_default_upstream_is_the_only_one(
    start: Start, public: Registry, private: Registry
) -> None:
    mirror = start(public.host)
    assert receive(mirror, MANIFEST).status == 200
    assert code(mirror, f"/v2/{private.host}/team/app/manifests/1", OWNER) == (403, "DENIED")
