"""What object stores have in common: sessions, deadlines, readers and sinks on a service."""
