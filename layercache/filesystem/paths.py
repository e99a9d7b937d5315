"""Paths of images and layers for universal_pathlib, which finds them by a separate entry point."""

from __future__ import annotations

from upath import UPath


class ImagePath(UPath):
    """``UPath("image://alpine:3.20/etc")``"""


class LayerPath(UPath):
    """``UPath("layer://sha256:9f32…/etc")``"""
