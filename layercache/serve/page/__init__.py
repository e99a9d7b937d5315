"""The page at ``/`` for people: what the mirror has, does, and saves."""
