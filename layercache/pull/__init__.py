"""Pulls images into a cache: which ones (lists, patterns, lock files), what that takes, and the transfers."""

from __future__ import annotations

from layercache.pull.lists import read_list, read_lock, write_lock
from layercache.pull.plan import Amount, Plan, Room
from layercache.pull.pulled import Pulled, pull
from layercache.pull.puller import Outcome, Outcomes, Puller, default_form, distinct

__all__ = [
    "Amount",
    "Outcome",
    "Outcomes",
    "Plan",
    "Pulled",
    "Puller",
    "Room",
    "default_form",
    "distinct",
    "pull",
    "read_list",
    "read_lock",
    "write_lock",
]
