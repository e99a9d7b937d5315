"""What the config of a pushed image states of its layers, recorded as a pull records it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.errors import IntegrityError, NotFoundError
from layercache.oci.descriptor import MANIFESTS, Manifest, claimed_diff_ids, decode, image_config, is_foreign

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.images.hosted import HostedImages
    from layercache.serve.push.pushed import Pushed


def record_claims(cache: Cache, images: HostedImages, pushed: Pushed, data: bytes) -> None:
    """Record which diff IDs the layers of a manifest should have, so that they are found by those, too.

    Nothing is inflated. A config that does not fit the manifest claims nothing: clients decide what to make
    of such an image.
    """
    if pushed.image.media_type not in MANIFESTS:
        return
    with suppress(IntegrityError, NotFoundError):
        manifest = decode(data, Manifest, pushed.image.digest)
        config = image_config(
            pushed.image.media_type, manifest.config, images.document(manifest.config.digest)
        )
        for layer, diff_id in zip(manifest.layers, claimed_diff_ids(manifest, config), strict=True):
            if diff_id is not None and not is_foreign(layer.media_type):
                stated = cache.layer(
                    layer.digest, diff_id=diff_id, size=layer.size, media_type=layer.media_type
                )
                stated.fill("compressed")
