"""The words of the OCI specifications: digests, descriptors, references, platforms, documents."""
