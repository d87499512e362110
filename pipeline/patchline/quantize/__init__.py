"""A trained network -> ONNX -> int8 by onnxruntime -> the network that firmware is made of."""

from patchline.quantize.export import export_onnx
from patchline.quantize.int8 import quantize_onnx
from patchline.quantize.verify import Agreement, agreement, float_classes, run_onnx, run_reference

__all__ = ["Agreement", "agreement", "export_onnx", "float_classes", "quantize_onnx", "run_onnx", "run_reference"]
