"""Bytes on their way: one pass that reads, hashes and spools, and the readers that follow it."""
