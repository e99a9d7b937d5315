"""Readers that hash, peek, inflate and judge bytes on their way."""
