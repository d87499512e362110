"""From generated C to programs: compiles firmware and host programs, reads ELF files, compares sizes with the plan.

`compile` builds the firmware, `host` builds and runs the same code on this machine, `elf` reads what was linked and
`sizes` compares it with the plan. Nothing here knows an emulator.
"""

from patchline.build.compile import COMPILER, compile_folder
from patchline.build.sizes import SizeError, Sizes, check_sizes, linked_sizes

__all__ = ["COMPILER", "SizeError", "Sizes", "check_sizes", "compile_folder", "linked_sizes"]
