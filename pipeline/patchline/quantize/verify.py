"""The int8 network three ways: reference execution, onnxruntime, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from patchline.network import reference
from patchline.network.ir import Network
from patchline.progress import track
from patchline.quantize.export import INPUT
from patchline.supernet import StaticNet
from patchline.supernet.images import Images, batches, to_input

BATCH = 100
VALUES_WITHIN_ONE = 0.99  # share of output values that onnxruntime and the reference must share within one step


BROKEN_BELOW = 0.8  # a smaller share is no matter of rounding: barely trained networks reach 0.95


@dataclass(frozen=True)
class Agreement:
    """Counts over int8 outputs of two executions of one network."""

    images: int
    values: int
    equal: int
    within_one: int
    same_class: int
    excused: int  # another class, but in one of the two the two best values differ by at most one step

    @property
    def holds(self) -> bool:
        """The project's rule: 99 % of the values within one step; the same class unless the two best are as close."""
        return self.within_one >= VALUES_WITHIN_ONE * self.values and self.same_class + self.excused == self.images

    @property
    def broken(self) -> bool:
        """Whether the two are different networks rather than different roundings."""
        return self.within_one < BROKEN_BELOW * self.values


def agreement(reference_outputs: NDArray[np.int8], other: NDArray[np.int8]) -> Agreement:
    """Compare int8 outputs [N, classes]."""
    a, b = reference_outputs.astype(np.int64), other.astype(np.int64)
    difference = np.abs(a - b)
    same = a.argmax(1) == b.argmax(1)
    close = _close(a) | _close(b)
    return Agreement(
        len(a),
        a.size,
        int((difference == 0).sum()),
        int((difference <= 1).sum()),
        int(same.sum()),
        int((~same & close).sum()),
    )


def _close(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where the two best of each row differ by at most one step."""
    best = np.sort(values, axis=1)
    return best[:, -1] - best[:, -2] <= 1 if values.shape[1] > 1 else np.ones(len(values), dtype=np.bool_)


@torch.no_grad()
def float_classes(net: StaticNet, images: Images) -> NDArray[np.int64]:
    """The best class [N] of each image in the float network, which is put in evaluation mode."""
    net.eval()
    return np.concatenate([net(x).argmax(1).numpy() for x in batches(images, net.arch.resolution, BATCH)])


def run_reference(network: Network, images: Images) -> NDArray[np.int8]:
    """int8 outputs [N, classes] of the reference execution for uint8 images of the network's input size."""
    outputs = []
    for start in track(range(0, len(images), BATCH), "int8 reference"):
        inputs = network.contract.values_of(images[start : start + BATCH])
        outputs.append(reference.run_batch(network, inputs)[network.outputs[0]].reshape(len(inputs), -1))
    return np.concatenate(outputs)


def run_onnx(model: onnx.ModelProto, images: Images, scale: float, zero_point: int) -> NDArray[np.int8]:
    """int8 outputs [N, classes] of onnxruntime; `scale` and `zero_point` are those of the network's output."""
    resolution = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = []
    for start in track(range(0, len(images), BATCH), "int8 onnxruntime"):
        x = np.ascontiguousarray(to_input(images[start : start + BATCH], resolution).numpy())
        outputs.append(session.run(None, {INPUT: x})[0])
    return np.clip(np.round(np.concatenate(outputs) / scale) + zero_point, -128, 127).astype(np.int8)
