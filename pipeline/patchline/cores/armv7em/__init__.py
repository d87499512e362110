"""ARMv7E-M with the DSP extension: the family of cores that firmware_template's assembly kernels are written for."""
