"""Whether an answer came from the cache: the header X-Layercache."""

HEADER = "x-layercache"
HIT = (HEADER, "hit")
MISS = (HEADER, "miss")
STALE = (HEADER, "stale")

STALE_WARNING = ("warning", '110 - "Response is Stale"')
"""A second header of stale answers, which HTTP knows (RFC 7234, 5.5.1)."""
