"""int8 ONNX in QDQ form (QuantizeLinear / DequantizeLinear around float operators), as onnxruntime writes it.

`from_onnx` walks the nodes once. Every value is a constant, a quantised tensor, its dequantised form or the result of
an operator that still waits for its QuantizeLinear (`onnx_values`); only then an operator of the network is appended.
All arithmetic follows rule `single`. Images become HWC with int8 values; uint8 tensors are stored 128 lower.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from patchline.errors import UserError
from patchline.network import validate
from patchline.network.importers import (
    blocks,
    onnx_arithmetic,
    onnx_convolutions,
    onnx_pools,
    onnx_quantize,
    onnx_shapes,
    simplify,
)
from patchline.network.importers.assembly import Assembly, cleaned, output_of
from patchline.network.importers.onnx_values import Const, Inputs, Node, Pending, Quant, Real, Value
from patchline.network.importers.problems import CALIBRATED, QUANTISE, OrderError, Problem, UnsupportedError, refuse
from patchline.network.importers.views import View, image_of, layout_of
from patchline.network.ir import Network, NetworkError

MAX_FILE_BYTES = 256 << 20
MAX_NODES = 5000
OPERATORS = {
    **onnx_quantize.OPERATORS,
    **onnx_convolutions.OPERATORS,
    **onnx_arithmetic.OPERATORS,
    **onnx_pools.OPERATORS,
    **onnx_shapes.OPERATORS,
}


def from_onnx(model: str | Path | onnx.ModelProto, name: str | None = None, calibrated: bool = False) -> Network:
    """The network of a quantised ONNX model, given as a file or as a loaded model.

    `calibrated`: Patchline has quantised it, so that nobody is asked to do that again. Raises UserError for a file that
    cannot be read, and one that lists every node that cannot be converted.
    """
    if isinstance(model, onnx.ModelProto):
        title, proto = name or model.graph.name or "network", model
    else:
        title, proto = name or Path(model).stem, read(Path(model))
    if is_float(proto):
        raise UserError(
            f"{title}: the model is not quantised (it has no QuantizeLinear). Quantise it to int8 in QDQ form, or give "
            "Patchline a folder of typical images to do it: patchline compile MODEL --calibrate FOLDER"
        )
    return _Importer(title, proto, calibrated).run()


def read(path: Path) -> onnx.ModelProto:
    """The model in `path`, without any data that lies in other files."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(
                f"{path}: {size >> 20} MB is more than any microcontroller holds (limit {MAX_FILE_BYTES >> 20} MB)"
            )
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UserError:
        raise
    except Exception as error:  # protobuf raises its own family of errors on damaged files
        raise UserError(f"{path} is not an ONNX model or is damaged: export it again") from error
    if not model.graph.node:
        raise UserError(f"{path} is not an ONNX model or holds no nodes: export it again")
    return model


def is_float(model: onnx.ModelProto) -> bool:
    """Whether the model has no quantisation at all."""
    ops = {node.op_type for node in model.graph.node}
    return "QuantizeLinear" not in ops and not any(op.startswith("QLinear") for op in ops)


class _Importer:
    """State of one import: the values by name, the network so far and the problems."""

    def __init__(self, name: str, model: onnx.ModelProto, calibrated: bool) -> None:
        self.model = model
        self.hints = CALIBRATED if calibrated else {}
        self.assembly = Assembly(name)
        self.values: dict[str, Value] = {}
        self.problems: list[Problem] = []
        self.op_of: dict[str, str] = {}
        self.shapes = _shapes(model.graph)
        self.opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)

    def run(self) -> Network:
        graph = self.model.graph
        if len(graph.node) > MAX_NODES:
            raise UserError(f"{self.assembly.name}: {len(graph.node)} nodes, the limit is {MAX_NODES}")
        self._constants()
        nodes = [self._node(i, proto) for i, proto in enumerate(graph.node)]
        self.op_of = {node.name: node.op for node in nodes}
        nodes, sound = self._sorted(nodes)
        self._input(nodes)
        for node in nodes if sound else []:
            self._convert(node)
        outputs = self._outputs() if sound else []
        if self.problems:
            raise refuse(self.assembly.name, self.problems)
        try:
            network = simplify.simplify(self.assembly.finish(tuple(dict.fromkeys(outputs))))
            wanted = zip(outputs, self.model.graph.output, strict=True)
            network = simplify.with_output_names(network, {t: cleaned(info.name) for t, info in wanted})
            validate.check(network)
        except NetworkError as error:
            raise UserError(f"{self.assembly.name}: the model is inconsistent: {error}") from error
        if not network.ops:
            raise UserError(f"{self.assembly.name}: nothing lies between the model's input and output")
        return blocks.labelled(network)

    def _problem(self, node: str, op: str, why: str, hint: str = "") -> None:
        self.problems.append(Problem(node or "(unnamed)", op, why, self.hints.get(hint, hint)))

    def _constants(self) -> None:
        for proto in self.model.graph.initializer:
            if proto.data_location == onnx.TensorProto.EXTERNAL:
                self._problem(
                    proto.name, "initializer", "its data lies in another file", "save it inside the .onnx file"
                )
                continue
            try:
                self.values[proto.name] = Const(numpy_helper.to_array(proto))
            except Exception as error:  # damaged tensors fail in many ways
                self._problem(proto.name, "initializer", f"its data is damaged ({error})", "export the model again")
        if self.model.graph.sparse_initializer:
            self._problem("graph", "sparse_initializer", "sparse weights are not supported", "store them dense")

    def _node(self, index: int, proto: onnx.NodeProto) -> Node:
        name = proto.name or (proto.output[0] if proto.output else f"node {index}")
        attributes: dict[str, Any] = {}
        try:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        except Exception as error:  # damaged attributes fail in many ways
            self._problem(name, proto.op_type, f"its attributes are damaged ({error})", "export the model again")
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        return Node(name, op, tuple(proto.input), tuple(proto.output), attributes)

    def _sorted(self, nodes: list[Node]) -> tuple[list[Node], bool]:
        """The nodes in an order of execution, and whether the graph is sound. Problems: a cycle, a value produced twice
        or never."""
        before = len(self.problems)
        graph_inputs = [i.name for i in self.model.graph.input]
        produced = Counter([*(o for node in nodes for o in node.outputs if o), *dict.fromkeys(graph_inputs)])
        for twice in (name for name, count in produced.items() if count > 1):
            self._problem(twice, "value", "is produced more than once", "export the model again")
        known = {*self.values, *graph_inputs, *(p.node for p in self.problems if p.op == "initializer"), ""}
        for node in nodes:
            for missing in (i for i in node.inputs if i not in known and i not in produced):
                self._problem(
                    node.name, node.op, f"reads '{missing}', which nothing produces", "export the model again"
                )
                known.add(missing)
        waiting = {i: {x for x in node.inputs if x not in known} for i, node in enumerate(nodes)}
        readers: dict[str, list[int]] = {}
        for i, missing_inputs in waiting.items():
            for x in missing_inputs:
                readers.setdefault(x, []).append(i)
        ready = [i for i, missing_inputs in waiting.items() if not missing_inputs]
        order: list[Node] = []
        while ready:
            i = ready.pop(0)
            order.append(nodes[i])
            for output in nodes[i].outputs:
                for reader in readers.get(output, []):
                    waiting[reader].discard(output)
                    if not waiting[reader]:
                        ready.append(reader)
                readers.pop(output, None)
        if len(order) < len(nodes) and len(self.problems) == before:
            stuck = [nodes[i].name for i, missing_inputs in waiting.items() if missing_inputs]
            self._problem(stuck[0], "graph", f"it lies on or behind a cycle of {len(stuck)} nodes", "export it again")
        return order, len(self.problems) == before

    # --- input and outputs -----------------------------------------------------------------------------------------

    def _input(self, nodes: list[Node]) -> None:
        inputs = [i for i in self.model.graph.input if i.name not in self.values]
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs) or "none"
            self._problem("graph", "input", f"it has {len(inputs)} inputs ({names}), exactly one is supported")
            return
        try:
            self.values[inputs[0].name] = self._input_value(inputs[0], nodes)
        except UnsupportedError as error:
            self._problem(inputs[0].name, "input", error.why, error.hint)

    def _input_value(self, info: onnx.ValueInfoProto, nodes: list[Node]) -> Value:
        tensor_type = info.type.tensor_type
        types = {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
        if tensor_type.elem_type not in types:
            kind = onnx.helper.tensor_dtype_to_string(tensor_type.elem_type) if tensor_type.elem_type else "no tensor"
            raise UnsupportedError(f"its type is {kind}", "export with a float32, int8 or uint8 image as input")
        if not tensor_type.HasField("shape"):
            raise UnsupportedError("it has no shape", "export the model with a fixed input shape")
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor_type.shape.dim]
        if sizes and sizes[0] == 0:
            sizes[0] = 1  # a free batch size: the device runs one image at a time
        if not 2 <= len(sizes) <= 4 or any(n < 1 for n in sizes) or sizes[0] != 1:
            shown = [d.dim_param or d.dim_value for d in tensor_type.shape.dim]
            raise UnsupportedError(
                f"its shape is {shown}; one image of fixed size, [1, C, H, W] or [1, C], is supported",
                "export the model with a fixed input shape and batch 1",
            )
        layout = {2: "NC", 3: "NCW", 4: self._input_layout(info.name, nodes)}[len(sizes)]
        view = image_of(tuple(sizes), layout)
        if tensor_type.elem_type != onnx.TensorProto.FLOAT:
            return Quant(view, tensor_type.elem_type == onnx.TensorProto.UINT8)

        def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
            return self.assembly.add_input(info.name, view.hwc, scale, zero_point)

        return Pending(info.name, view, emit, is_input=True)

    def _input_layout(self, name: str, nodes: list[Node]) -> str:
        """NHWC where the input is transposed before anything is computed (models converted from TensorFlow)."""
        for node in nodes:
            if name in node.inputs:
                if node.op == "Transpose":
                    return "NHWC" if node.ints("perm", []) == [0, 3, 1, 2] else "NCHW"
                if node.op in ("QuantizeLinear", "DequantizeLinear", "Identity") and node.outputs:
                    name = node.outputs[0]
        return "NCHW"

    def _outputs(self) -> list[str]:
        names: list[str] = []
        for info in self.model.graph.output:
            value = self.values.get(info.name)
            if self.problems and (value is None or (isinstance(value, Pending) and value.guessed)):
                continue  # made by a node that is on the list already
            try:
                if isinstance(value, Pending) and value.natural:
                    names.append(output_of(value.quantised(*value.natural)))
                elif isinstance(value, (Quant, Real)) and value.view.tensor:
                    names.append(output_of(value.view))
                else:
                    raise UnsupportedError("it is not quantised", QUANTISE)
            except UnsupportedError as error:
                if not (isinstance(error, OrderError) and self._is_guess(value)):
                    self._problem(info.name, "output", error.why, error.hint)
        if not names and not self.problems:
            self._problem("graph", "output", "the model has no outputs")
        return names

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _convert(self, node: Node) -> None:
        convert = OPERATORS.get(node.op)
        if convert is None:
            self._problem(node.name, node.op, "this operator is not supported", _hint(node.op))
            self._guess(node)
            return
        inputs = [self.values.get(x) if x else None for x in node.inputs]
        unknown = any(x and x not in self.values for x in node.inputs)
        unquantised = node.op != "QuantizeLinear" and any(isinstance(v, Pending) and v.guessed for v in inputs)
        if unknown or unquantised:
            self._guess(node)  # fed by a node that is on the list already: nothing more can be said of it
            return
        try:
            value = convert(self.assembly, node, inputs, self.opset)
        except UnsupportedError as error:
            if not (isinstance(error, OrderError) and any(self._is_guess(v) for v in inputs)):
                named = error.node or node.name
                self._problem(named, self.op_of.get(named, node.op), error.why, error.hint)
            self._guess(node, inputs)
            return
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError) as error:
            self._problem(node.name, node.op, f"its inputs or attributes do not fit together ({error})")
            self._guess(node, inputs)
            return
        if node.outputs:
            self.values[node.outputs[0]] = value

    def _is_guess(self, value: Value | None) -> bool:
        return isinstance(value, (Quant, Real, Pending)) and value.view.tensor in self.assembly.guessed

    def _guess(self, node: Node, inputs: Inputs | None = None) -> None:
        """Put something in the place of the results of a refused node, where the file says their shape, so that the
        nodes behind it can be checked."""
        if node.op == "QuantizeLinear" and inputs and isinstance(inputs[0], (Pending, Real)):
            self._guess_quantised(node, inputs)
            return
        for output in node.outputs:
            shape = self.shapes.get(output, ())
            layout = layout_of(shape, channels_last=False)
            if output and layout and node.op not in ("QuantizeLinear", "DequantizeLinear"):
                self.values[output] = self._pending_guess(node.name, image_of(shape, layout))

    def _pending_guess(self, name: str, view: View) -> Pending:
        def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
            return self.assembly.guess(name, view.hwc, scale, zero_point)

        return Pending(name, view, emit, guessed=True)

    def _guess_quantised(self, node: Node, inputs: Inputs) -> None:
        """The QuantizeLinear of an operator that could not be built says scale and zero point all the same."""
        value = inputs[0]
        if isinstance(value, (Pending, Real)):
            guess = self._pending_guess(node.name, value.view)
            with suppress(UnsupportedError, ValueError, TypeError, IndexError):
                self.values[node.outputs[0]] = OPERATORS[node.op](self.assembly, node, [guess, *inputs[1:]], self.opset)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """The shapes of values that the file tells; a free batch size is taken as 1."""
    found = {}
    for info in (*graph.value_info, *graph.output):
        sizes = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        found[info.name] = (sizes[0] or 1, *sizes[1:]) if sizes else ()
    return found


def _hint(op: str) -> str:
    if op.startswith("QLinear") or op in ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"):
        return "quantise in QDQ format (quantize_static with QuantFormat.QDQ), not QOperator or dynamic"
    if op in ("NonMaxSuppression", "TopK", "ArgMax", "Gather", "Split", "Slice", "GatherND"):
        return "end the model before it and do this step in the application, or replace it"
    return "replace it in the model by supported operators (docs/bring-your-own-model.md lists them)"
