"""Places where layers are kept: tiers on backends, layouts and registries, their policies and limits."""
