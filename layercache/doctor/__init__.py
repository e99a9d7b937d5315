"""Looking at tiers and sources: whether they can be used, how fast they are, what to do where they cannot.

Each check has its own time: what does not answer is told so, and nothing waits for it.
"""

from __future__ import annotations

from layercache.doctor.check import Check, Subject
from layercache.doctor.sources import check_source
from layercache.doctor.tiers import check_tier

__all__ = ["Check", "Subject", "check_source", "check_tier"]
