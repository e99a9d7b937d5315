"""The two forms that a layer has."""

from __future__ import annotations

from typing import Literal

Form = Literal["compressed", "uncompressed"]

COMPRESSED: Form = "compressed"
UNCOMPRESSED: Form = "uncompressed"
FORMS = (COMPRESSED, UNCOMPRESSED)
BOTH = "both"


def check_form(form: str, *, both: bool = False) -> None:
    """Raise `ValueError` for what is not a form; ``both``: both of them are one, too."""
    expected = (*FORMS, BOTH) if both else FORMS
    if form not in expected:
        raise ValueError(f"not a form: {form!r} (expected {', '.join(expected)})")
