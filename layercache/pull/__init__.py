"""Pulls images into a cache: which ones (lists, patterns, lock files), what that takes, and the transfers."""

from __future__ import annotations

from layercache.pull.puller import Outcome, Outcomes, Puller, default_form, distinct

__all__ = ["Outcome", "Outcomes", "Puller", "default_form", "distinct"]
