"""The HTTP client of the distribution spec: connections, authentication, retries, mirrors."""
