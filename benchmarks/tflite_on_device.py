"""A TFLite model as a firmware on the emulated board against TFLite's own reference kernels, value by value.

    python benchmarks/tflite_on_device.py vww_96_int8.tflite mcunet-vww1.tflite [--images 20] [--target stm32f746]

Images are random (seeded), from fine noise to a few large patches: on noise alone many networks give one answer.
Everything of the product takes part: import, plan, C code, compiler, Unicorn; on the other side stands the interpreter
of `ai-edge-litert` with its reference kernels (no XNNPACK). Any difference ends with exit code 1.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline import build, codegen, targets
from patchline.build import elf
from patchline.errors import UserError, run_main
from patchline.hil import sessions
from patchline.hil.sessions import Inference, Setup
from patchline.network.importers import load_network
from patchline.network.ir import Network
from patchline.progress import track
from patchline.schedule import Plan, solve
from patchline.targets import Target

SIDES = (1, 4, 12, 32)


@dataclass(frozen=True)
class Comparison:
    """`device` and `tflite`: int8 outputs [images, values]."""

    network: Network
    plan: Plan
    device: NDArray[np.int8]
    tflite: NDArray[np.int8]

    @property
    def differing(self) -> int:
        return int((self.device != self.tflite).sum())

    @property
    def largest(self) -> int:
        """Largest difference in steps."""
        return int(np.abs(self.device.astype(np.int64) - self.tflite).max())


def compare(model: Path, target: Target, count: int, seed: int = 0) -> Comparison:
    """Compile `model` for `target` and run `count` random images on both sides. Raises UserError."""
    network = load_network(model)
    plan = solve(network, target).plan
    if not plan.fits:
        raise UserError(f"{model} does not fit {target.name}: {plan.reason}")
    source = network.tensors[network.input]
    images = random_images(source.shape, count, seed)
    with tempfile.TemporaryDirectory() as name:
        firmware = build.compile_folder(codegen.generate(network, plan, target, name))
        build.check_sizes(elf.load(firmware), plan)
        setup = Setup(firmware, target.name)
        ran = track(sessions.bulk(setup, list(range(count)), images), f"{network.name} on unicorn", count + 1)
        device = np.stack([done.outputs for done in ran if isinstance(done, Inference)])
    found = reference_kernels(model.read_bytes(), images, source.scale, source.zero_point)
    outputs = zip(network.outputs, found, strict=True)
    tflite = [_int8(values, network, output).reshape(count, -1) for output, values in outputs]
    return Comparison(network, plan, device, np.concatenate(tflite, axis=1))


def random_images(shape: tuple[int, int, int], count: int, seed: int = 0) -> NDArray[np.int8]:
    """int8 [count, H, W, C]; image i has squares of one colour of 1, 4, 12 or 32 pixels a side."""
    rng = np.random.default_rng(seed)
    height, width, channels = shape
    images = []
    for i in range(count):
        side = SIDES[i % len(SIDES)]
        small = rng.integers(-128, 128, (-(-height // side), -(-width // side), channels), dtype=np.int8)
        images.append(small.repeat(side, axis=0).repeat(side, axis=1)[:height, :width])
    return np.stack(images)


def reference_kernels(
    content: bytes, images: Sequence[NDArray[np.int8]] | NDArray[np.int8], scale: float = 1.0, zero: int = 0
) -> list[NDArray]:
    """Outputs [N, ...] of a TFLite file for int8 images [N, H, W, C], computed by TFLite's reference kernels.

    A model with a float input gets (image - zero) * scale, one with a uint8 input image + 128.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    results: list[list[NDArray]] = [[] for _ in interpreter.get_output_details()]
    for image in images:
        value: NDArray = image
        if source["dtype"] == np.float32:
            value = (image.astype(np.float32) - zero) * np.float32(scale)
        elif source["dtype"] == np.uint8:
            value = (image.astype(np.int16) + 128).astype(np.uint8)
        interpreter.set_tensor(source["index"], value.reshape(source["shape"]).astype(source["dtype"]))
        interpreter.invoke()
        for result, detail in zip(results, interpreter.get_output_details(), strict=True):
            result.append(interpreter.get_tensor(detail["index"]))
    return [np.stack(result) for result in results]


def _int8(values: NDArray, network: Network, output: str) -> NDArray[np.int8]:
    """Real outputs (the file ends in a Dequantize, which the firmware leaves out) as the int8 values before it."""
    if values.dtype == np.int8:
        return values
    tensor = network.tensors[output]
    return np.rint(values / np.float32(tensor.scale) + tensor.zero_point).astype(np.int8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--target", default="stm32f746")
    args = parser.parse_args()
    different = []
    for model in args.models:
        found = compare(model, targets.load(args.target), args.images)
        values = found.device.size
        print(
            f"{model.name} on {args.target}: {values - found.differing} of {values} output values of "
            f"{args.images} images equal TFLite's reference kernels, largest difference {found.largest}; "
            f"{len(np.unique(found.device, axis=0))} different answers, {found.plan.sram_peak_bytes:,} bytes of SRAM, "
            f"activations {found.plan.activation_peak_bytes:,}"
        )
        if found.differing:
            different.append(model.name)
    if different:
        raise UserError(f"outputs differ: {', '.join(different)}", exit_code=1)


if __name__ == "__main__":
    run_main(main)
