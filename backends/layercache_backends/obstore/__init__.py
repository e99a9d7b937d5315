"""obstore beside our own requests, for small objects."""
