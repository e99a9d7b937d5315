"""The team's mirror: a registry of the OCI distribution-spec over a cache. Its only state is the tiers."""
