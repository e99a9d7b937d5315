"""What caches have done: counters of one cache, and totals of all processes of a user."""
