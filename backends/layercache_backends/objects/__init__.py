"""What object stores (s3, gcs) share: sessions, deadlines, readers and sinks on a service."""
