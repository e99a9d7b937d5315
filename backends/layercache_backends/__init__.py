"""The backends that ship with layercache: local, memory, s3, gcs, fsspec, obspec (Azure)."""
