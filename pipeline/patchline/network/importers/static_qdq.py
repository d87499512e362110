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

INPUT_ZERO_POINT = -128
"""Of an input of pixels: with scale 1 / 255, int8 input = pixel - 128 exactly."""


def quantise_static(
    model: onnx.ModelProto, input_name: str, samples: Iterator[Sample], input_scale: float | None
) -> onnx.ModelProto:
    """The int8 QDQ form of a float `model`; ranges by minimum and maximum over `samples` (as the model takes them).

    With `input_scale` the input is fixed to that scale and zero point -128. Errors are onnxruntime's own.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Sample] | None:
            sample = next(samples, None)
            return None if sample is None else {input_name: sample}

    extra: dict[str, Any] = {}
    if input_scale is not None:
        fixed = {"scale": np.array(input_scale, np.float32), "zero_point": np.array(INPUT_ZERO_POINT, np.int8)}
        extra = {"TensorQuantOverrides": {input_name: [fixed]}}
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
