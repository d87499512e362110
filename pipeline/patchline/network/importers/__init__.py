"""Networks from model files: int8 ONNX (QDQ), int8 TFLite, Patchline's own .npz."""

from __future__ import annotations

from pathlib import Path

from patchline.errors import UserError
from patchline.network.ir import Network

SUFFIXES = (".onnx", ".tflite", ".npz", ".json")


def load_network(spec: str | Path) -> Network:
    """The network in the file `spec`: .onnx (int8, QDQ), .tflite (int8), .npz (Patchline) or .json (MCUNet, OFA).

    Raises UserError for what cannot be read or converted, with all nodes that are in the way in one message.
    """
    path = Path(spec)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: unknown kind of model; known are files ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the path of a model ({', '.join(SUFFIXES)})")
    # each reader brings a heavy library of its own: imported only when it is needed
    if suffix == ".onnx":
        from patchline.network.importers.onnx import from_onnx

        return from_onnx(path)
    if suffix == ".tflite":
        from patchline.network.importers.tflite import from_tflite

        return from_tflite(path)
    if suffix == ".npz":
        from patchline.network.serialize import load

        return load(path)
    from patchline.network.zoo import from_json

    return from_json(path)
