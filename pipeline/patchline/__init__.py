"""Patchline: from images to a verified microcontroller firmware, as one reproducible pipeline."""

__version__ = "0.1.0"
