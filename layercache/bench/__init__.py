"""Measures a cache against its plain store."""
