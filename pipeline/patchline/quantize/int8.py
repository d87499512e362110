"""Static quantisation of the pipeline's own export, with prepared images as calibration data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from patchline.network.contract import PIXEL_SCALE, PIXEL_ZERO
from patchline.network.importers.static_qdq import Sample, quantise_static
from patchline.quantize.export import INPUT, anonymous
from patchline.supernet.images import Images, to_input

BATCH = 32


def quantize_onnx(model: onnx.ModelProto, calibration: Images) -> onnx.ModelProto:
    """The int8 form of a float `model` made by `export_onnx`; ranges come from `calibration` (uint8 [N, H, W, 3]).

    The input's quantisation is that of pixels which stand for 0 to 1, as `to_input` makes them.
    """
    resolution = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    name = model.graph.name
    fixed = (PIXEL_SCALE, PIXEL_ZERO)
    return anonymous(quantise_static(model, INPUT, _batches(calibration, resolution), fixed), name)


def _batches(images: Images, resolution: int) -> Iterator[Sample]:
    """Calibration images as inputs at the network's resolution."""
    for start in range(0, len(images), BATCH):
        yield np.ascontiguousarray(to_input(images[start : start + BATCH], resolution).numpy())
