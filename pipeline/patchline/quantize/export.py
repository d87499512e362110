"""torch -> ONNX in one self-contained file whose bytes do not depend on the machine."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import onnx
import torch

from patchline.supernet import StaticNet
from patchline.supernet.architecture import IMAGE_CHANNELS
from patchline.supernet.extract import fold

INPUT = "image"
OUTPUT = "logits"


def export_onnx(net: StaticNet, name: str) -> onnx.ModelProto:
    """Float ONNX model of `net`, normalisation folded: input `image` [N, 3, H, W] in [0, 1], output `logits`."""
    folded = fold(net).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    size = net.arch.resolution
    example = torch.zeros(2, IMAGE_CHANNELS, size, size)
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            folded, (example,), dynamo=True, external_data=False, verbose=False, input_names=[INPUT],
            output_names=[OUTPUT], dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    return anonymous(model, name)


def anonymous(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Clear, in place, what a file tells of where it was made: stack traces, paths, descriptions. Returns `model`."""
    model.ClearField("metadata_props")
    model.doc_string = ""
    graph = model.graph
    graph.name, graph.doc_string = name, ""
    graph.ClearField("metadata_props")
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.doc_string = ""
    return model


@contextlib.contextmanager
def _quiet(*loggers: str):  # type: ignore[no-untyped-def]
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
