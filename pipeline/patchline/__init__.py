"""Patchline: from images to a verified microcontroller firmware, as one reproducible pipeline."""

import os

__version__ = "0.1.0"

# Before torch is loaded: its threads must sleep while they wait for each other. By default they spin, and where other
# work shares the cores training then takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
