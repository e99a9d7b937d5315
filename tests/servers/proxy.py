"""The fault proxy, which `layercache.testing` gives to authors of backends too."""

from layercache.testing import Fault, FaultProxy

__all__ = ["Fault", "FaultProxy"]
