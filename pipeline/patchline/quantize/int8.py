"""Static quantisation by onnxruntime: QDQ, int8, per-channel weights, asymmetric activations."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from patchline.quantize.export import INPUT, anonymous
from patchline.supernet.images import Images, to_input

BATCH = 32
INPUT_SCALE = 1 / 255
INPUT_ZERO_POINT = -128
"""int8 input = pixel - 128, exactly: real = (q + 128) / 255."""


class _Calibration(CalibrationDataReader):
    """Batches of calibration images at the network's resolution."""

    def __init__(self, images: Images, resolution: int) -> None:
        self._batches = self._make(images, resolution)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)

    @staticmethod
    def _make(images: Images, resolution: int) -> Iterator[dict[str, NDArray[np.float32]]]:
        for start in range(0, len(images), BATCH):
            yield {INPUT: np.ascontiguousarray(to_input(images[start : start + BATCH], resolution).numpy())}


def quantize_onnx(model: onnx.ModelProto, calibration: Images) -> onnx.ModelProto:
    """The int8 form of a float `model` made by `export_onnx`; ranges come from `calibration` (uint8 [N, H, W, 3]).

    The input's scale is fixed so that its int8 values are the pixels minus 128.
    """
    resolution = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    name = model.graph.name
    override = {
        "scale": np.array(INPUT_SCALE, dtype=np.float32),
        "zero_point": np.array(INPUT_ZERO_POINT, dtype=np.int8),
    }
    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # onnxruntime advises steps that are already taken
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, ready, result = (Path(folder) / f"{stage}.onnx" for stage in ("float", "ready", "int8"))
            onnx.save(model, source)
            quant_pre_process(source, ready)
            quantize_static(
                ready,
                result,
                _Calibration(calibration, resolution),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"TensorQuantOverrides": {INPUT: [override]}},
            )
            return anonymous(onnx.load(result), name)
    finally:
        log.setLevel(level)
