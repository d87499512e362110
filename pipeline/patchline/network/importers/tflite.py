"""int8 TensorFlow Lite models. The arithmetic of TFLite's reference kernels is kept exactly (rule `tflite`)."""

from __future__ import annotations

from pathlib import Path

from patchline.errors import UserError
from patchline.network import validate
from patchline.network.importers import (
    blocks,
    simplify,
    tflite_arithmetic,
    tflite_convolutions,
    tflite_file,
    tflite_shapes,
)
from patchline.network.importers.assembly import output_of
from patchline.network.importers.problems import OrderError, Problem, UnsupportedError, refuse
from patchline.network.importers.tflite_file import FileGraph, FileOp, FileTensor
from patchline.network.importers.tflite_state import State, Value
from patchline.network.importers.views import image_of, layout_of
from patchline.network.ir import Network, NetworkError

OPERATORS = {**tflite_convolutions.OPERATORS, **tflite_arithmetic.OPERATORS, **tflite_shapes.OPERATORS}


def from_tflite(model: str | Path | bytes, name: str | None = None) -> Network:
    """The network of an int8 TFLite model, given as a file or as its content.

    Raises UserError for a file that cannot be read, and one that lists every operator that cannot be converted.
    """
    if isinstance(model, bytes):
        title = name or "network"
        graph = tflite_file.parse(model, title)
    else:
        title = name or Path(model).stem
        graph = tflite_file.read(Path(model))
    return _Importer(title, graph).run()


class _Importer:
    def __init__(self, name: str, graph: FileGraph) -> None:
        self.name = name
        self.graph = graph
        self.state = State(name)
        self.problems: list[Problem] = []

    def run(self) -> Network:
        if not any(t is not None and t.type == "INT8" for op in self.graph.ops for t in (*op.inputs, *op.outputs)):
            types = sorted({t.type for op in self.graph.ops for t in op.outputs})
            raise UserError(
                f"{self.name}: the model is not quantised to int8 (its tensors are {', '.join(types) or 'none'}): "
                "convert it with full integer quantisation and a representative data set"
            )
        self._input()
        for op in self.graph.ops:
            self._convert(op)
        outputs = [self._output(tensor) for tensor in self.graph.outputs]
        if self.problems:
            raise refuse(self.name, self.problems)
        if not outputs:
            raise UserError(f"{self.name}: the model has no outputs")
        try:
            network = simplify.simplify(self.state.assembly.finish(tuple(dict.fromkeys(outputs))))
            validate.check(network)
        except NetworkError as error:
            raise UserError(f"{self.name}: the model is inconsistent: {error}") from error
        if not network.ops:
            raise UserError(f"{self.name}: nothing lies between the model's input and output")
        return blocks.labelled(network)

    def _input(self) -> None:
        if len(self.graph.inputs) != 1:
            why = f"it has {len(self.graph.inputs)} inputs, exactly one is supported"
            self.problems.append(Problem("graph", "input", why))
            self.state.unknown.update(tensor.index for tensor in self.graph.inputs)
            return
        tensor = self.graph.inputs[0]
        try:
            self.state.values[tensor.index] = self._input_value(tensor)
        except UnsupportedError as error:
            self.problems.append(Problem(tensor.name, "input", error.why, error.hint))
            self.state.unknown.add(tensor.index)

    def _input_value(self, tensor: FileTensor) -> Value:
        layout = layout_of(tensor.shape, channels_last=True)
        if not layout:
            raise UnsupportedError(
                f"its shape is {list(tensor.shape)}; one image [1, H, W, C] or one vector [1, C] is supported",
                "convert the model with a fixed input shape and batch 1",
            )
        view = image_of(tensor.shape, layout)
        if tensor.type == "FLOAT32":
            return Value(view, "FLOAT32")  # gets its tensor from the QUANTIZE that follows
        self.state.assembly.add_input(tensor.name, view.hwc, tensor.scale, tensor.zero)
        return Value(view.named(self.state.assembly.input), tensor.type)

    def _convert(self, op: FileOp) -> None:
        if op.outputs and all(t.type in ("INT32", "INT64") for t in op.outputs):
            return  # computes a shape; shapes are taken from the file
        convert = OPERATORS.get(op.op)
        if convert is None:
            self._refuse(op, "this operator is not supported", _hint(op.op))
            return
        if any(t is not None and t.index in self.state.unknown for t in op.inputs):
            self._guess(op)  # nothing more can be said of it
            return
        try:
            if len(op.outputs) != 1:
                raise UnsupportedError(f"it has {len(op.outputs)} outputs, one is supported")
            value = convert(self.state, op)
            if value.view.shape != op.outputs[0].shape:
                raise UnsupportedError(
                    f"it computes shape {list(value.view.shape)}, the file says {list(op.outputs[0].shape)}"
                )
            if value.view.tensor and op.outputs[0].type in ("INT8", "UINT8"):
                self._check_scale(value, op.outputs[0])
            if op.outputs[0].index in self.state.values:
                raise UnsupportedError("its output is produced twice", "convert the model again")
            self.state.values[op.outputs[0].index] = value
        except UnsupportedError as error:
            if isinstance(error, OrderError) and self._reads_a_guess(op):
                self._guess(op)
            else:
                self._refuse(op, error.why, error.hint)
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError) as error:
            self._refuse(op, f"its inputs or options do not fit together ({error})")

    def _reads_a_guess(self, op: FileOp) -> bool:
        read = [self.state.values[t.index] for t in op.inputs if t is not None and t.index in self.state.values]
        return any(value.view.tensor in self.state.assembly.guessed for value in read)

    def _refuse(self, op: FileOp, why: str, hint: str = "") -> None:
        self.problems.append(Problem(op.name, op.op, why, hint))
        self._guess(op)

    def _guess(self, op: FileOp) -> None:
        """Put tensors of the file's shape and scale in the place of the outputs; unknown are those that have none."""
        for tensor in op.outputs:
            if tensor.index in self.state.values:
                continue
            layout = layout_of(tensor.shape, channels_last=True)
            try:
                if not layout:
                    raise UnsupportedError(f"{list(tensor.shape)} is no image")
                view = image_of(tensor.shape, layout)
                name = self.state.assembly.guess(tensor.name, view.hwc, tensor.scale, tensor.zero)
                self.state.values[tensor.index] = Value(view.named(name), tensor.type)
            except (UnsupportedError, ValueError):
                self.state.unknown.add(tensor.index)

    def _check_scale(self, value: Value, tensor: FileTensor) -> None:
        """A reshape must not change what the numbers mean."""
        found = self.state.assembly.tensors[value.view.tensor]
        if (found.scale, found.zero_point) != (tensor.scale, tensor.zero):
            raise UnsupportedError("its output has another scale than its input", "convert the model again")

    def _output(self, tensor: FileTensor) -> str:
        value = self.state.values.get(tensor.index)
        if tensor.index in self.state.unknown:
            return ""
        try:
            if value is None or not value.view.tensor:
                raise UnsupportedError("nothing int8 produces it", "quantise the whole model")
            return output_of(value.view)
        except UnsupportedError as error:
            if isinstance(error, OrderError) and value and value.view.tensor in self.state.assembly.guessed:
                return ""
            self.problems.append(Problem(tensor.name, "output", error.why, error.hint))
            return ""


def _hint(op: str) -> str:
    if op.startswith("CUSTOM") or op in ("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TOPK_V2", "ARG_MAX"):
        return "end the model before it and do this step in the application"
    return "replace it in the model by supported operators (docs/bring-your-own-model.md lists them)"
