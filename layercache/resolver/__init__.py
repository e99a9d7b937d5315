"""The core: finds the cheapest way to a layer's bytes, goes it, and keeps what it brought."""
