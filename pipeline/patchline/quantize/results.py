"""What stage quantize makes of a trained network: the int8 model, the network of the firmware, and how they compare."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import patchline
from patchline import data, files, supernet
from patchline.config import Params
from patchline.data import parts
from patchline.errors import UserError
from patchline.network import serialize
from patchline.network.importers.onnx import from_onnx
from patchline.network.resize import for_prepared
from patchline.network.scores import confusion
from patchline.quantize.export import export_onnx
from patchline.quantize.int8 import quantize_onnx
from patchline.quantize.verify import agreement, float_classes, run_onnx, run_reference
from patchline.supernet.checkpoint import run_key

QUANTIZED = Path(".patchline/quantized")
CODE = ("network", "quantize", "supernet")  # packages that decide the result
MODEL, NETWORK, METRICS = "model.onnx", "network.npz", "quantize.json"


def quantized(params: Params, subnet: Path) -> Path:
    """The folder with the results for `subnet`: made now, or when another board or an earlier run had the same one."""
    package = Path(patchline.__file__).parent
    code = [Path(parts.__file__), *(path for part in CODE for path in (package / part).rglob("*.py"))]
    versions = [library.__version__ for library in (np, onnx, onnxruntime)]
    settings = [params.project, params.seed, params.quantize.model_dump(), files.hash_file(subnet), versions]
    manifest = data.load_manifest()
    made = QUANTIZED / run_key(settings, [manifest.hashes, manifest.input.to_dict()], *code)
    if not (made / METRICS).exists():
        _quantize(params, subnet, made)
    return made


def _quantize(params: Params, subnet: Path, folder: Path) -> None:
    """Write model, network and, last of all, metrics to `folder`."""
    net = supernet.load_static(subnet)
    train, test = data.load_split("train"), data.load_split("test")
    calibration = parts.part(train, params.quantize.calibration_images, params.seed)
    model = quantize_onnx(export_onnx(net, params.project), calibration.images)
    files.write_bytes(folder / MODEL, model.SerializeToString(deterministic=True))
    network = for_prepared(from_onnx(model), data.load_manifest().input)
    serialize.save(network, folder / NETWORK)

    output = network.tensors[network.outputs[0]]
    reference = run_reference(network, test.images)
    in_onnx = run_onnx(model, test.images, output.scale, output.zero_point)
    counts = agreement(reference, in_onnx)
    found = (
        f"{counts.within_one} of {counts.values} output values within one step, "
        f"{counts.same_class + counts.excused} of {counts.images} classes the same or too close to tell"
    )
    if counts.broken:
        raise UserError(
            f"the reference and onnxruntime compute different networks ({found}). The model is in "
            f"{folder / MODEL}; this is a fault of Patchline, please report it"
        )
    print(f"reference against onnxruntime: {found}" + ("" if counts.holds else " (less than they should)"))
    in_float, in_int8, classes = float_classes(net, test.images), reference.argmax(1), reference.shape[1]
    metrics = {
        "accuracy_fp32": float((in_float == test.labels).mean()),
        "accuracy_int8": float((in_int8 == test.labels).mean()),
        "accuracy_onnxruntime": float((in_onnx.argmax(1) == test.labels).mean()),
        "agreement": {**asdict(counts), "holds": counts.holds},
        "confusion_fp32": confusion(in_float, test.labels, classes),
        "confusion_int8": confusion(in_int8, test.labels, classes),
    }
    files.write_json(folder / METRICS, metrics)
