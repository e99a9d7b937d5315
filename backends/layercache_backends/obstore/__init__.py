"""The fast path for small objects: obstore, used by s3 and gcs if it is installed."""
