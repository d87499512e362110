"""Small model files, written operator by operator, and their own reference runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

ONLY_VERSION_1 = ("HARD_SWISH", "QUANTIZE", "RELU_N1_TO_1", "EXPAND_DIMS", "RESHAPE", "SQUEEZE")


class TfliteModel:
    """Writes a TFLite flatbuffer; every method returns the index of the tensor it made."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[dict[str, Any]] = []
        self.ops: list[tuple[str, list[int], list[int], str, dict[str, Any]]] = []

    def tensor(self, shape, scale=0.05, zero=0, *, type="INT8", data=None, axis=0, name=None) -> int:
        self.tensors.append(
            {
                "shape": list(shape), "type": type, "data": data, "axis": axis, "name": name or f"t{len(self.tensors)}",
                "scale": [] if scale is None else np.atleast_1d(scale), "zero": np.atleast_1d(zero),
            }
        )  # fmt: skip
        return len(self.tensors) - 1

    def constant(self, array, scale=None, zero=0, axis=0) -> int:
        array = np.asarray(array)
        kind = {np.dtype(np.int8): "INT8", np.dtype(np.int32): "INT32", np.dtype(np.float32): "FLOAT32"}[array.dtype]
        zeros = np.zeros(np.size(scale), int) if np.size(scale) > 1 else zero
        return self.tensor(array.shape, scale, zeros, type=kind, data=array, axis=axis)

    def op(self, code: str, inputs: list[int], output: int, options: str = "", **fields: Any) -> int:
        self.ops.append((code, inputs, [output], options, fields))
        return output

    def shape(self, tensor: int) -> list[int]:
        return self.tensors[tensor]["shape"]

    def scale(self, tensor: int) -> float:
        return float(self.tensors[tensor]["scale"][0])

    def conv(self, x: int, channels: int, kernel=(3, 3), stride=(1, 1), padding=0, act=0, per_channel=True) -> int:
        _, height, width, depth = self.shape(x)
        out = [self._out(n, k, s, padding) for n, k, s in zip((height, width), kernel, stride, strict=True)]
        weights = self.rng.integers(-127, 128, (channels, *kernel, depth)).astype(np.int8)
        scales = self.rng.uniform(0.002, 0.01, channels if per_channel else 1).astype(np.float32)
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        inputs = [x, self.constant(weights, scales), self.constant(bias, self.scale(x) * scales)]
        y = self.tensor([1, *out, channels], 0.02 * (kernel[0] * kernel[1] * depth) ** 0.5, -4)
        return self.op(
            "CONV_2D", inputs, y, "Conv2DOptions", Padding=padding, StrideH=stride[0], StrideW=stride[1],
            FusedActivationFunction=act, DilationHFactor=1, DilationWFactor=1,
        )  # fmt: skip

    def depthwise(self, x: int, kernel=(3, 3), stride=(1, 1), padding=0, act=0, multiplier=1) -> int:
        _, height, width, depth = self.shape(x)
        out = [self._out(n, k, s, padding) for n, k, s in zip((height, width), kernel, stride, strict=True)]
        channels = depth * multiplier
        weights = self.rng.integers(-127, 128, (1, *kernel, channels)).astype(np.int8)
        scales = self.rng.uniform(0.002, 0.01, channels).astype(np.float32)
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        inputs = [x, self.constant(weights, scales, axis=3), self.constant(bias, self.scale(x) * scales)]
        y = self.tensor([1, *out, channels], 0.06, 7)
        return self.op(
            "DEPTHWISE_CONV_2D", inputs, y, "DepthwiseConv2DOptions", Padding=padding, StrideH=stride[0],
            StrideW=stride[1], FusedActivationFunction=act, DepthMultiplier=multiplier, DilationHFactor=1,
            DilationWFactor=1,
        )  # fmt: skip

    def dense(self, x: int, channels: int, keep: bool = False, per_channel: bool = False) -> int:
        shape = self.shape(x)
        depth = shape[-1] if keep else int(np.prod(shape))
        weights = self.rng.integers(-127, 128, (channels, depth)).astype(np.int8)
        scale = self.rng.uniform(0.002, 0.01, channels if per_channel else 1).astype(np.float32)
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        inputs = [x, self.constant(weights, scale), self.constant(bias, self.scale(x) * scale)]
        y = self.tensor([*shape[:-1], channels] if keep else [1, channels], 0.03 * depth**0.5, 11)
        return self.op("FULLY_CONNECTED", inputs, y, "FullyConnectedOptions", KeepNumDims=keep)

    def pool(self, x: int, code: str, kernel=(2, 2), stride=(2, 2), padding=1, act=0) -> int:
        _, height, width, depth = self.shape(x)
        out = [self._out(n, k, s, padding) for n, k, s in zip((height, width), kernel, stride, strict=True)]
        return self.op(
            code, [x], self.like(x, [1, *out, depth]), "Pool2DOptions", Padding=padding, StrideH=stride[0],
            StrideW=stride[1], FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=act,
        )  # fmt: skip

    def like(self, x: int, shape=None, scale=None, zero=None) -> int:
        """A tensor with the quantisation of `x` unless told otherwise."""
        t = self.tensors[x]
        return self.tensor(
            shape or t["shape"], t["scale"] if scale is None else scale, t["zero"] if zero is None else zero
        )

    def finish(self, inputs: list[int], outputs: list[int], old_codes: bool = True) -> bytes:
        """The file. Without `old_codes` the operators' numbers stand only in the new field, as some tools do it."""
        import flatbuffers
        import tflite

        b = flatbuffers.Builder(1024)

        def vector(start, offsets) -> int:
            start(b, len(offsets))
            for offset in reversed(offsets):
                b.PrependUOffsetTRelative(offset)
            return b.EndVector()

        def table(name: str, **fields: Any) -> int:
            getattr(tflite, f"{name}Start")(b)
            for field, value in fields.items():
                getattr(tflite, f"{name}Add{field}")(b, value)
            return getattr(tflite, f"{name}End")(b)

        buffers, tensors = [table("Buffer")], []
        for t in self.tensors:
            data, at = t["data"], 0
            if data is not None:
                content = b.CreateNumpyVector(np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8))
                buffers.append(table("Buffer", Data=content))
                at = len(buffers) - 1
            fields: dict[str, Any] = {}
            if len(t["scale"]):
                scale = b.CreateNumpyVector(np.asarray(t["scale"], np.float32))
                zero = b.CreateNumpyVector(np.asarray(t["zero"], np.int64))
                fields["Quantization"] = table(
                    "QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=t["axis"]
                )
            name, shape = b.CreateString(t["name"]), b.CreateNumpyVector(np.asarray(t["shape"], np.int32))
            kind = getattr(tflite.TensorType, t["type"])
            tensors.append(table("Tensor", Shape=shape, Type=kind, Buffer=at, Name=name, **fields))
        codes = sorted({op[0] for op in self.ops})
        versions = {"FULLY_CONNECTED": 4, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}
        operator_codes = []
        for code in codes:
            number = getattr(tflite.BuiltinOperator, code)
            old = {"DeprecatedBuiltinCode": min(number, 127)} if old_codes else {}
            version = versions.get(code, 2 if code not in ONLY_VERSION_1 else 1)
            operator_codes.append(table("OperatorCode", **old, BuiltinCode=number, Version=version))
        operators = []
        for code, ins, outs, options, fields in self.ops:
            extra: dict[str, Any] = {}
            if options:
                extra["BuiltinOptions"] = table(options, **fields)
                extra["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
            ins_at, outs_at = (b.CreateNumpyVector(np.asarray(v, np.int32)) for v in (ins, outs))
            operators.append(table("Operator", OpcodeIndex=codes.index(code), Inputs=ins_at, Outputs=outs_at, **extra))
        graph = {
            "Tensors": vector(tflite.SubGraphStartTensorsVector, tensors),
            "Inputs": b.CreateNumpyVector(np.asarray(inputs, np.int32)),
            "Outputs": b.CreateNumpyVector(np.asarray(outputs, np.int32)),
            "Operators": vector(tflite.SubGraphStartOperatorsVector, operators),
        }
        sub_graphs = vector(tflite.ModelStartSubgraphsVector, [table("SubGraph", **graph)])
        code_vector = vector(tflite.ModelStartOperatorCodesVector, operator_codes)
        buffer_vector = vector(tflite.ModelStartBuffersVector, buffers)
        model = table(
            "Model", Version=3, OperatorCodes=code_vector, Subgraphs=sub_graphs, Buffers=buffer_vector
        )  # fmt: skip
        b.Finish(model, file_identifier=b"TFL3")
        return bytes(b.Output())

    @staticmethod
    def _out(size: int, kernel: int, stride: int, padding: int) -> int:
        return -(-size // stride) if padding == 0 else (size - kernel) // stride + 1


class OnnxModel:
    """Writes a float ONNX graph node by node and quantises it; every method returns the name of a value."""

    def __init__(self, shape, opset: int = 17, seed: int = 0) -> None:
        import onnx

        self.helper, self.rng, self.opset, self.shape = onnx.helper, np.random.default_rng(seed), opset, list(shape)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, array) -> str:
        import onnx

        name = f"c{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [name], name=f"n_{name}", **attributes))
        return name

    def conv(self, x: str, cin: int, cout: int, kernel=(3, 3), group: int = 1, **attributes: Any) -> str:
        size = (cout, cin // group, *kernel)
        weights = self.rng.normal(0, (2 / np.prod(size[1:])) ** 0.5, size).astype(np.float32)
        bias = self.rng.normal(0, 0.1, cout).astype(np.float32)
        return self.op("Conv", x, self.constant(weights), self.constant(bias), group=group, **attributes)

    def dense(self, x: str, cin: int, cout: int) -> str:
        weights = self.rng.normal(0, (1 / cin) ** 0.5, (cin, cout)).astype(np.float32)
        return self.op("Gemm", x, self.constant(weights), self.constant(np.linspace(-0.3, 0.4, cout, dtype=np.float32)))

    def float_model(self, *outputs: str):
        import onnx

        kind = onnx.TensorProto.FLOAT
        values = [self.helper.make_tensor_value_info(name, kind, None) for name in outputs]
        source = self.helper.make_tensor_value_info("x", kind, self.shape)
        graph = self.helper.make_graph(self.nodes, "small", [source], values, self.initializers)
        opsets = [self.helper.make_opsetid("", self.opset)]
        return onnx.shape_inference.infer_shapes(self.helper.make_model(graph, opset_imports=opsets, ir_version=9))

    def quantised(self, folder, *outputs: str, activations: str = "QInt8", weights: str = "QInt8", **options: Any):
        import onnx
        from onnxruntime import quantization

        class Reader(quantization.CalibrationDataReader):
            samples = iter(self.rng.random((6, *self.shape), dtype=np.float32))

            def get_next(self):
                sample = next(self.samples, None)
                return None if sample is None else {"x": sample}

        onnx.save(self.float_model(*outputs), folder / "float.onnx")
        quantization.quantize_static(
            folder / "float.onnx", folder / "int8.onnx", Reader(), quant_format=quantization.QuantFormat.QDQ,
            per_channel=options.pop("per_channel", True), activation_type=quantization.QuantType[activations],
            weight_type=quantization.QuantType[weights], op_types_to_quantize=options.pop("only", None),
            extra_options=options,
        )  # fmt: skip
        return onnx.load(folder / "int8.onnx")


@pytest.fixture
def onnx_model() -> type[OnnxModel]:
    return OnnxModel


@pytest.fixture
def tflite_model() -> type[TfliteModel]:
    return TfliteModel


@pytest.fixture
def run_tflite():
    """Runs a model with TFLite's reference kernels: int8 images [N, H, W, C] -> a list of outputs [N, ...]."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    import tflite_on_device

    return tflite_on_device.reference_kernels
