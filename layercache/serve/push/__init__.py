"""Repositories that this mirror hosts: what clients push to it, it serves without an upstream."""
