"""The generated C on this machine: build with sanitizers, run on images, compare row by row with the reference."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.build import make
from patchline.errors import UserError
from patchline.network import reference
from patchline.network.ir import Int8Array, Network

SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"


@dataclass(frozen=True)
class Mismatch:
    """The first row that differs from the reference: columns [x0, x0 + count) of row y of operator `op`."""

    op: int
    name: str
    y: int
    x0: int
    count: int
    differing: int
    largest: int

    def __str__(self) -> str:
        return (
            f"op {self.op} '{self.name}': row {self.y}, columns {self.x0}..{self.x0 + self.count - 1}: "
            f"{self.differing} values differ from the reference, by up to {self.largest}"
        )


def build(
    folder: str | Path, *, sanitize: bool = False, emulate_dsp: bool = False, shared: str | Path | None = None,
    compiler: str = "gcc", program: str = "model",
) -> Path:  # fmt: skip
    """Compile a host program of a generated folder and return it: `model`, or `fuzz` for the serial protocol.

    `emulate_dsp` compiles the kernels for Cortex-M with each DSP instruction written out in C. `shared` is a folder
    for the objects that do not depend on the model, so that several models compile quickly. Raises UserError with the
    compiler's message.
    """
    name = "build-host" + ("-san" if sanitize else "") + ("-dsp" if emulate_dsp else "")
    flags = " ".join([*([SANITIZERS] if sanitize else []), *(["-DPL_EMULATE_DSP=1"] if emulate_dsp else [])])
    variables = {"BUILD": name, "HOST_FLAGS": flags, "HOSTCC": compiler}
    if shared is not None:
        variables["HOST_SHARED"] = f"{make.LINK}/{name}"
    objects = None if shared is None else Path(shared)
    result = make.run(Path(folder), f"{name}/{program}", variables, shared=objects)
    if result.returncode:
        raise UserError(f"the generated code in {folder} does not compile:\n{result.stderr.strip()[-2000:]}")
    return Path(folder) / name / program


def run(
    program: str | Path, network: Network, images: NDArray[np.int8], *, poison: bool = False, trace: Path | None = None
) -> dict[str, Int8Array]:
    """Outputs [N, h, w, c] by name for int8 images [N, H, W, C].

    `poison` spoils every buffer while it is free, `trace` is a file for every computed row. Raises RuntimeError when
    the program fails (a sanitizer's report, a crash).
    """
    command = [str(program), *(["--poison"] if poison else []), *(["--trace", str(trace)] if trace else [])]
    result = subprocess.run(command, input=np.ascontiguousarray(images).tobytes(), capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(
            f"{program} ended with {result.returncode}: {result.stderr.decode(errors='replace')[-3000:]}"
        )
    shapes = {name: network.tensors[name].shape for name in network.outputs}
    values = np.frombuffer(result.stdout, np.int8).reshape(len(images), -1)
    outputs, at = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        outputs[name] = values[:, at : at + size].reshape(len(images), *shape)
        at += size
    return outputs


def compare(program: str | Path, network: Network, image: Int8Array, *, poison: bool = True) -> Mismatch | None:
    """Run one image and compare every computed row with the reference, in the order of computation; None: all equal."""
    expected = reference.run(network, image)
    handle, path = tempfile.mkstemp(suffix=".trace")
    os.close(handle)
    try:
        run(program, network, image[None], poison=poison, trace=Path(path))
        records = Path(path).read_bytes()
    finally:
        Path(path).unlink()
    at = 0
    while at < len(records):
        op, y, x0, count = struct.unpack_from("<4H", records, at)
        tensor = network.tensors[network.ops[op].output]
        at += 8
        row = np.frombuffer(records, np.int8, count * tensor.channels, at).reshape(count, tensor.channels)
        at += row.size
        error = np.abs(row.astype(int) - expected[tensor.name][y, x0 : x0 + count])
        if error.any():
            return Mismatch(op, network.ops[op].name, y, x0, count, int((error > 0).sum()), int(error.max()))
    return None
