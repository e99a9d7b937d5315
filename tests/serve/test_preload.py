"""The first client of a mirror waits for the upstream, and not for Python."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from servers.images import make_image, make_layer
from servers.lying import LyingRegistry
from servers.mirror import Mirror

from layercache.oci.descriptor import OCI_MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = make_image([make_layer({"file": b"bytes"})])
(LAYER,) = IMAGE.layers


def test_a_first_manifest_and_a_first_cold_blob_load_nothing_of_ours(tmp_path: Path) -> None:
    with LyingRegistry() as upstream:
        upstream.add_image("1", IMAGE)
        mirror = Mirror(
            tmp_path,
            config=f'default_upstream = "{upstream.host}"\nworkers = 1',
            environment={"PYTHONPROFILEIMPORTTIME": "1"},
        )
        with mirror:
            started = len(mirror.log)
            assert mirror.get("/v2/app/manifests/1", {"Accept": OCI_MANIFEST}).status == 200
            assert mirror.get(f"/v2/app/blobs/{LAYER.digest}").status == 200
            loaded = re.findall(r"\| +(layercache\.\S+)", mirror.log[started:])
    assert "layercache.serve.start" in re.findall(r"layercache\.\S+", mirror.log[:started])
    assert loaded == []
