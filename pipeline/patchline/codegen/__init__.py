"""Plan -> C: `generate` writes a self-contained firmware folder."""

from patchline.codegen.generate import generate

__all__ = ["generate"]
