"""The one call of onnxruntime's static quantisation: QDQ, int8, weights per channel, asymmetric activations."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Sample = NDArray[np.float32]

Quantisation = tuple[float, int]  # scale, zero point

WITHOUT_A_KERNEL = ("GlobalMaxPool", "ReduceMean", "Upsample")
"""Operators that onnxruntime has no int8 kernel for and therefore passes over; their results need a scale as well."""


class _Samples:
    """onnxruntime reads the samples from here; the range of all of them is kept."""

    def __init__(self, name: str, samples: Iterator[Sample]) -> None:
        self.name = name
        self.samples = samples
        self.low, self.high = 0.0, 0.0

    def get_next(self) -> dict[str, Sample] | None:
        sample = next(self.samples, None)
        if sample is None:
            return None
        self.low, self.high = min(self.low, float(sample.min())), max(self.high, float(sample.max()))
        return {self.name: sample}

    def scale_and_zero(self) -> Quantisation:
        """Of the model's input: the whole range on int8."""
        scale = (self.high - self.low) / 255 or 1.0
        return scale, int(np.clip(np.rint(-128 - self.low / scale), -128, 127))


def quantise_static(
    model: onnx.ModelProto, input_name: str, samples: Iterator[Sample], fixed: Quantisation | None
) -> onnx.ModelProto:
    """The int8 QDQ form of a float `model`; ranges by minimum and maximum over `samples` (as the model takes them).

    `fixed` is the quantisation of the input, None to find it like all others. Errors are onnxruntime's own.
    """
    from onnxruntime import quantization

    reader = _Samples(input_name, samples)
    extra: dict[str, Any] = {"ForceQuantizeNoInputCheck": True}
    if fixed is not None:
        scale, zero_point = np.array(fixed[0], np.float32), np.array(fixed[1], np.int8)
        extra |= {"TensorQuantOverrides": {input_name: [{"scale": scale, "zero_point": zero_point}]}}
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # onnxruntime advises steps that are already taken
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, ready, result = (Path(folder) / f"{stage}.onnx" for stage in ("float", "ready", "int8"))
            onnx.save(model, source)
            _prepare(source, ready)
            quantization.quantize_static(
                ready, result, reader, quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax, extra_options=extra,
                op_types_to_quantize=_op_types(onnx.load(ready)),
            )  # fmt: skip
            quantised = onnx.load(result)
    finally:
        log.setLevel(level)
    return _with_quantised_input(quantised, input_name, *(fixed or reader.scale_and_zero()))


def _prepare(source: Path, ready: Path) -> None:
    """onnxruntime's preparation. Its symbolic inference of shapes, which is a help only, gives up on some models."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(source, ready)
    except Exception:  # an AssertionError, mostly
        quant_pre_process(source, ready, skip_symbolic_shape=True)


def _op_types(model: onnx.ModelProto) -> list[str]:
    """The types of operators whose inputs and outputs get a scale: onnxruntime's own, those it passes over, and those
    at the model's end."""
    from onnxruntime.quantization import registry

    outputs = {info.name for info in model.graph.output}
    last = set()
    for node in reversed(model.graph.node):
        if outputs & set(node.output):
            last.add(node.op_type)
            if node.op_type in ("Relu", "Clip"):  # joins what is before it, which then is the end
                outputs.update(node.input[:1])
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry, *WITHOUT_A_KERNEL, *last})


def _with_quantised_input(model: onnx.ModelProto, name: str, scale: float, zero_point: int) -> onnx.ModelProto:
    """`model` in which nothing reads the float input but its QuantizeLinear (a first Relu or Sub may do so)."""
    nodes = model.graph.node
    bare = [node for node in nodes if name in node.input and node.op_type != "QuantizeLinear"]
    if not bare:
        return model
    quantised = next((n.output[0] for n in nodes if n.op_type == "QuantizeLinear" and n.input[0] == name), None)
    real = next((n.output[0] for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] == quantised), None)
    if real is None:
        real = f"{name}_real"
        values = {f"{name}_scale_": np.float32(scale), f"{name}_zero_": np.int8(zero_point)}
        model.graph.initializer.extend(onnx.numpy_helper.from_array(np.array(v), key) for key, v in values.items())
        pair = [
            onnx.helper.make_node("QuantizeLinear", [name, *values], [f"{name}_int8"], name=f"{name}_quantise"),
            onnx.helper.make_node("DequantizeLinear", [f"{name}_int8", *values], [real], name=f"{name}_dequantise"),
        ]
        for node in reversed(pair):
            nodes.insert(0, node)
    for node in bare:
        node.input[:] = [real if x == name else x for x in node.input]
    return model
