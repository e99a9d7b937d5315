"""The two forms that a layer has."""

from __future__ import annotations

from typing import Literal

Form = Literal["compressed", "uncompressed"]

COMPRESSED: Form = "compressed"
UNCOMPRESSED: Form = "uncompressed"
FORMS = (COMPRESSED, UNCOMPRESSED)
