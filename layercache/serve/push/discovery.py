"""What hosted repositories have: their tags, and what refers to a manifest (distribution-spec, "Content
Discovery").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.images.hosted import HOSTED
from layercache.serve.messages import RegistryError, json_answer
from layercache.serve.pages import page
from layercache.serve.referrers import FILTERED, listed_referrers
from layercache.tiers import keys

if TYPE_CHECKING:
    from layercache.images.hosted import HostedImages
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Answer, Headers
    from layercache.serve.push.contents import Contents


class Discovery:
    """Answers ``/v2/<name>/tags/list`` and ``/v2/<name>/referrers/<digest>``."""

    def __init__(self, images: HostedImages, contents: Contents) -> None:
        self._images = images
        self._contents = contents

    def tags(self, admitted: Admitted) -> Answer:
        """The tags in the order of their bytes, or a page of them. There may be none."""
        folder = keys.image_tag(HOSTED, admitted.reference.repository, "")
        tags = sorted(key.removeprefix(folder) for key in self._images.within(folder))
        shown, link = page(admitted.request, tags)
        return json_answer({"name": admitted.route.name, "tags": shown}, link)

    def referrers(self, admitted: Admitted) -> Answer:
        """An index of the manifests whose subject is this one; an empty one if there are none."""
        reference = admitted.reference
        if reference.digest is None:
            raise RegistryError(400, "DIGEST_INVALID", f"{admitted.route.reference[:100]} is not a digest")
        manifests = self._contents.manifests(reference.repository)
        found = [each.listed for each in manifests if each.subject == reference.digest]
        headers: Headers = []
        if kind := admitted.request.query.get("artifactType"):
            found = [each for each in found if each.get("artifactType") == kind]
            headers.append(FILTERED)
        found.sort(key=lambda each: str(each["digest"]))
        return listed_referrers(found, headers)
