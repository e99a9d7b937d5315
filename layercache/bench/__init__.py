"""Measures a cache against its plain store."""

from __future__ import annotations

from layercache.bench.benchmark import Measurement
from layercache.bench.measuring import Measured, measure

__all__ = ["Measured", "Measurement", "measure"]
