"""A .tflite file as plain data. The flatbuffer is read once, completely, with every index checked."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from flatbuffers import number_types
from numpy.typing import NDArray

from patchline.errors import UserError
from patchline.network.importers.assembly import check_quantisation
from patchline.network.importers.problems import UnsupportedError

MAX_FILE_BYTES = 256 << 20
MAX_ITEMS = 5000
MAX_RANK = 8
NEW_CODE_SLOT = 10  # of `builtin_code`, the fourth field of a table OperatorCode, in its vtable


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


OP_NAMES = _names(tflite.BuiltinOperator)
TYPE_NAMES = _names(tflite.TensorType)
OPTION_NAMES = _names(tflite.BuiltinOptions)
DTYPES = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "INT8": "i1", "BOOL": "?"}

OPTIONS = {
    "Conv2DOptions": (
        "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor", "FusedActivationFunction",
    ),
    "DepthwiseConv2DOptions": (
        "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor", "FusedActivationFunction",
    ),
    "FullyConnectedOptions": ("FusedActivationFunction", "WeightsFormat", "KeepNumDims"),
    "AddOptions": ("FusedActivationFunction",),
    "SubOptions": ("FusedActivationFunction",),
    "MulOptions": ("FusedActivationFunction",),
    "Pool2DOptions": ("Padding", "StrideH", "StrideW", "FilterHeight", "FilterWidth", "FusedActivationFunction"),
    "ConcatenationOptions": ("Axis", "FusedActivationFunction"),
    "ReducerOptions": ("KeepDims",),
    "SoftmaxOptions": ("Beta",),
    "ResizeNearestNeighborOptions": ("AlignCorners", "HalfPixelCenters"),
    "LeakyReluOptions": ("Alpha",),
}  # fmt: skip
"""The fields of each operator's options that matter here."""


@dataclass(frozen=True, eq=False)
class FileTensor:
    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scales: NDArray[np.float64]  # empty: not quantised
    zeros: NDArray[np.int64]
    axis: int  # along which there are several scales
    data: bytes | None  # None: computed at run time

    @property
    def array(self) -> NDArray[Any]:
        """The constant values. Raises UnsupportedError if the tensor has none or they do not fit its shape."""
        if self.data is None:
            raise UnsupportedError(f"'{self.name}' is not a constant")
        if self.type not in DTYPES:
            raise UnsupportedError(f"'{self.name}' is stored as {self.type}", "use int8 weights and int32 biases")
        dtype = np.dtype(DTYPES[self.type])
        if len(self.data) != prod(self.shape) * dtype.itemsize:
            raise UnsupportedError(f"'{self.name}' has {len(self.data)} bytes, its shape {self.shape} needs others")
        return np.frombuffer(self.data, dtype).reshape(self.shape)

    @property
    def scale(self) -> float:
        return self._quantisation[0]

    @property
    def zero(self) -> int:
        return self._quantisation[1]

    @property
    def _quantisation(self) -> tuple[float, int]:
        """Scale and zero point of an activation or a constant quantised per tensor; uint8 is taken 128 lower."""
        if self.type not in ("INT8", "UINT8"):
            raise UnsupportedError(
                f"'{self.name}' is {self.type}, not int8", "convert with full integer quantisation (int8 activations)"
            )
        if self.scales.size != 1 or self.zeros.size != 1:
            raise UnsupportedError(f"'{self.name}' has no single scale and zero point", "quantise the whole model")
        scale, zero = float(self.scales[0]), int(self.zeros[0]) - (128 if self.type == "UINT8" else 0)
        check_quantisation(scale, zero)
        return scale, zero


@dataclass(frozen=True, eq=False)
class FileOp:
    name: str
    op: str
    inputs: tuple[FileTensor | None, ...]
    outputs: tuple[FileTensor, ...]
    options: dict[str, Any]

    def option(self, key: str, default: Any = 0) -> Any:
        return self.options.get(key, default)


@dataclass(frozen=True, eq=False)
class FileGraph:
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    ops: tuple[FileOp, ...]


def read(path: Path) -> FileGraph:
    """The main graph of the model in `path`. Raises UserError for a file that is no TFLite model or is damaged."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(
                f"{path}: {size >> 20} MB is more than any microcontroller holds (limit {MAX_FILE_BYTES >> 20} MB)"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return parse(content, str(path))


def parse(content: bytes, title: str) -> FileGraph:
    """As `read`, for the bytes of a file called `title`."""
    if len(content) < 16 or content[4:8] != b"TFL3":
        raise UserError(f"{title} is not a TensorFlow Lite model: convert or download it again")
    try:
        return _graph(content)
    except Exception as error:  # reading a damaged flatbuffer runs into every kind of error
        raise UserError(
            f"{title} is damaged ({error or type(error).__name__}): convert or download it again"
        ) from error


def _checked(count: int, what: str) -> range:
    if not 0 <= count <= MAX_ITEMS:
        raise ValueError(f"{count} {what}")
    return range(count)


def _graph(content: bytes) -> FileGraph:
    model = tflite.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() < 1:
        raise ValueError("no graph")
    graph = model.Subgraphs(0)
    buffers = [_buffer(model.Buffers(i)) for i in _checked(model.BuffersLength(), "buffers")]
    tensors = [_tensor(i, graph.Tensors(i), buffers) for i in _checked(graph.TensorsLength(), "tensors")]
    codes = [model.OperatorCodes(i) for i in _checked(model.OperatorCodesLength(), "operator codes")]
    ops = [_op(i, graph.Operators(i), codes, tensors) for i in _checked(graph.OperatorsLength(), "operators")]
    return FileGraph(
        tuple(_at(tensors, graph.Inputs(i)) for i in _checked(graph.InputsLength(), "inputs")),
        tuple(_at(tensors, graph.Outputs(i)) for i in _checked(graph.OutputsLength(), "outputs")),
        tuple(ops),
    )


def _at(items: list[Any], index: int) -> Any:
    if not 0 <= index < len(items):
        raise ValueError(f"index {index} of {len(items)}")
    return items[index]


def _buffer(buffer: Any) -> bytes:
    if buffer.Offset() > 1 or not buffer.DataLength():
        return b""
    return np.asarray(buffer.DataAsNumpy(), np.uint8).tobytes()


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", errors="replace")


def _tensor(index: int, tensor: Any, buffers: list[bytes]) -> FileTensor:
    rank = tensor.ShapeLength()
    if rank > MAX_RANK:
        raise ValueError(f"a tensor of {rank} dimensions")
    shape = tuple(int(tensor.Shape(i)) for i in range(rank))
    if any(n < 0 for n in shape):
        raise ValueError(f"a tensor of shape {shape}")
    q = tensor.Quantization()
    scales = _vector(q, "Scale", np.float64)
    zeros = _vector(q, "ZeroPoint", np.int64)
    if scales.size and not zeros.size:
        zeros = np.zeros(scales.shape, np.int64)
    data = _at(buffers, tensor.Buffer())
    kind = TYPE_NAMES.get(tensor.Type(), f"type {tensor.Type()}")
    axis = int(q.QuantizedDimension()) if q is not None else 0
    return FileTensor(index, _text(tensor.Name()) or f"tensor{index}", kind, shape, scales, zeros, axis, data or None)


def _vector(table: Any, field: str, dtype: type) -> NDArray[Any]:
    if table is None or not getattr(table, f"{field}Length")():
        return np.zeros(0, dtype)
    return np.array(getattr(table, f"{field}AsNumpy")(), dtype).reshape(-1)


def _op(index: int, op: Any, codes: list[Any], tensors: list[FileTensor]) -> FileOp:
    code = _at(codes, op.OpcodeIndex())
    number = _operator_number(code)
    name = OP_NAMES.get(number, f"operator {number}")
    if name == "CUSTOM":
        name = f"CUSTOM {_text(code.CustomCode())}"
    inputs = [int(op.Inputs(i)) for i in _checked(op.InputsLength(), "inputs")]
    outputs = tuple(_at(tensors, int(op.Outputs(i))) for i in _checked(op.OutputsLength(), "outputs"))
    title = outputs[0].name if outputs else f"operator {index}"
    return FileOp(
        title, name, tuple(None if i == -1 else _at(tensors, i) for i in inputs), outputs, _options(op)
    )  # fmt: skip


def _operator_number(code: Any) -> int:
    """TFLite's own rule: the larger of the old 8-bit field (127 for codes that do not fit) and of the new one.

    Old files have only the old field, some new ones only the new. The bindings' BuiltinCode() answers with the old
    field for codes below 127, so the new one is read here.
    """
    offset = code._tab.Offset(NEW_CODE_SLOT)
    new = code._tab.Get(number_types.Int32Flags, code._tab.Pos + offset) if offset else 0
    return max(int(new), int(code.DeprecatedBuiltinCode()))


def _options(op: Any) -> dict[str, Any]:
    kind = OPTION_NAMES.get(op.BuiltinOptionsType(), "")
    table = op.BuiltinOptions()
    if kind not in OPTIONS or table is None:
        return {}
    options = getattr(tflite, kind)()
    options.Init(table.Bytes, table.Pos)
    return {field: getattr(options, field)() for field in OPTIONS[kind]}
