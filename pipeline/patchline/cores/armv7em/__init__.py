"""ARMv7E-M with the DSP extension: the family of cores that firmware_template's assembly kernels are written for."""

from patchline.cores.armv7em import cortex_m4, cortex_m7
from patchline.cores.core import Core

CORES: tuple[Core, ...] = (cortex_m4.CORE, cortex_m7.CORE)
