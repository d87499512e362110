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


def quantise_static(
    model: onnx.ModelProto, input_name: str, samples: Iterator[Sample], fixed: Quantisation | None
) -> onnx.ModelProto:
    """The int8 QDQ form of a float `model`; ranges by minimum and maximum over `samples` (as the model takes them).

    `fixed` is the quantisation of the input, None to find it like all others. Errors are onnxruntime's own.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Sample] | None:
            sample = next(samples, None)
            return None if sample is None else {input_name: sample}

    extra: dict[str, Any] = {}
    if fixed is not None:
        scale, zero_point = np.array(fixed[0], np.float32), np.array(fixed[1], np.int8)
        extra = {"TensorQuantOverrides": {input_name: [{"scale": scale, "zero_point": zero_point}]}}
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # onnxruntime advises steps that are already taken
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, ready, result = (Path(folder) / f"{stage}.onnx" for stage in ("float", "ready", "int8"))
            onnx.save(model, source)
            quant_pre_process(source, ready)
            quantization.quantize_static(
                ready, result, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax, extra_options=extra,
            )  # fmt: skip
            return onnx.load(result)
    finally:
        log.setLevel(level)
