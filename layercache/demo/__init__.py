"""What ``layercache demo`` stands on: an image made of files that are on any machine, and its registry."""

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that holds a manifest's tag in ``index.json`` (image-spec annotations.md)."""
