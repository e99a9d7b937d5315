"""Images out of the cache, offline: into an OCI layout, an archive for ``docker load``, or a registry."""
