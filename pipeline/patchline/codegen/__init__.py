"""Plan -> C: `generate` writes a self-contained firmware folder, `host` builds and runs it on this machine."""

from patchline.codegen.generate import generate

__all__ = ["generate"]
