"""Checks of tiers and sources: whether they work, how fast they are, and what to do if they do not.

Each check has a timeout, and runs in a thread that nothing else waits for. `diagnose` runs all of them.
"""

from __future__ import annotations

from layercache.doctor.check import Check, Subject
from layercache.doctor.diagnosis import diagnose
from layercache.doctor.sources import check_source
from layercache.doctor.tiers import check_tier

__all__ = ["Check", "Subject", "check_source", "check_tier", "diagnose"]
