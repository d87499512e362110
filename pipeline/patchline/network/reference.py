"""Reference execution of an int8 network in numpy: the definition that the firmware has to match bit for bit.

Everything is exact integer arithmetic. Convolutions run as float matrix products, in float32 only where every partial
sum is provably below 2^24 and in float64 otherwise, so that no rounding can happen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic, filters, fixedpoint
from patchline.network.ir import (
    Add,
    Concat,
    Conv,
    Depthwise,
    GlobalPool,
    Int8Array,
    Lookup,
    Mul,
    Network,
    NetworkError,
    Op,
    Pad,
    Pool,
    Requant,
    Resize,
    Softmax,
    Tensor,
    Upsample,
)

CHUNK_BYTES = 4 << 20
"""Working memory aimed at per chunk of images in `run_batch`: small enough to stay near the caches."""

Images = NDArray[np.int8]  # [N, H, W, C]


def run(network: Network, image: Int8Array) -> dict[str, Int8Array]:
    """Every tensor of `network` for one int8 image [H, W, C], by name, each [H, W, C]."""
    return {name: value[0] for name, value in _execute(network, _checked(network, image[None]), keep=True).items()}


def run_batch(network: Network, images: Images) -> dict[str, Images]:
    """The outputs of `network` for int8 images [N, H, W, C], by name, each [N, h, w, c]."""
    images = _checked(network, images)
    chunk = chunk_size(network)
    parts = [_execute(network, images[i : i + chunk], keep=False) for i in range(0, len(images), chunk)]
    if not parts:
        return {name: np.zeros((0, *network.tensors[name].shape), np.int8) for name in network.outputs}
    return {name: np.concatenate([part[name] for part in parts]) for name in network.outputs}


def chunk_size(network: Network) -> int:
    """Images that `run_batch` takes at a time."""
    largest = max(tensor.bytes for tensor in network.tensors.values())
    return max(1, min(64, CHUNK_BYTES // (16 * largest)))


def _checked(network: Network, images: Images) -> Images:
    shape = network.tensors[network.input].shape
    if images.dtype != np.int8 or images.shape[1:] != shape:
        raise ValueError(f"{network.name} takes int8 images of shape {shape}, got {images.dtype} {images.shape[1:]}")
    return images


def _execute(network: Network, images: Images, keep: bool) -> dict[str, Images]:
    values = {network.input: images}
    last_use = {tensor: i for i, op in enumerate(network.ops) for tensor in (op.output, *op.inputs)}
    for i, op in enumerate(network.ops):
        tensors = network.tensors
        out = run_op(op, [values[t] for t in op.inputs], [tensors[t] for t in op.inputs], tensors[op.output])
        if out.shape[1:] != tensors[op.output].shape:
            raise NetworkError(f"{op.name}: computes shape {out.shape[1:]}, declared is {tensors[op.output].shape}")
        values[op.output] = out
        if not keep:
            for tensor in {*op.inputs, op.output}:
                if last_use[tensor] == i and tensor not in network.outputs:
                    del values[tensor]
    return values


def run_op(op: Op, values: list[Images], inputs: list[Tensor], output: Tensor) -> Images:
    """One operator on batches [N, H, W, C] of its inputs; `inputs` and `output` describe the tensors."""
    x, source, zero = values[0], inputs[0], output.zero_point
    match op:
        case Conv():
            return _conv(op, x, source, output)
        case Depthwise():
            return _depthwise(op, x, source, output)
        case Add():
            return _add(op, values, inputs, output)
        case Mul():
            product = (x.astype(np.int64) - source.zero_point) * (values[1].astype(np.int64) - inputs[1].zero_point)
            return arithmetic.requantise(product, op.requant, zero, op.clamp)
        case Pool():
            return _max_pool(op, x, output) if op.kind == "max" else _average_pool(op, x, source, output)
        case GlobalPool():
            return _global_pool(op, x, source, output)
        case Lookup():
            return _look_up(op.table, x)
        case Concat():
            tables = zip(values, op.tables, strict=True)
            return np.concatenate([v if table is None else _look_up(table, v) for v, table in tables], axis=3)
        case Upsample():
            return x.repeat(op.factor, axis=1).repeat(op.factor, axis=2)
        case Resize():
            return _resized(x, output)
        case Pad():
            return _padded(x, op.pad, (output.height, output.width), op.value)
        case Softmax():
            return fixedpoint.softmax(x, op.exp_table)
    raise NetworkError(f"{op.name}: the reference does not know the operator {type(op).__name__}")


def _padded(x: NDArray, pad: tuple[int, int], size: tuple[int, int], value: float) -> NDArray:
    """`x` [N, H, W, C] with `pad` rows and columns before it, filled up or cut to `size`."""
    n, height, width, channels = x.shape
    out = np.full((n, *size, channels), value, dtype=x.dtype)
    rows, cols = min(height, size[0] - pad[0]), min(width, size[1] - pad[1])
    out[:, pad[0] : pad[0] + rows, pad[1] : pad[1] + cols] = x[:, :rows, :cols]
    return out


def _reach(output: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns, padding included, over which the windows of all outputs extend."""
    return (output.height - 1) * stride[0] + kernel[0], (output.width - 1) * stride[1] + kernel[1]


def _taps(
    x: NDArray, output: Tensor, kernel: tuple[int, int], stride: tuple[int, int]
) -> Iterator[tuple[int, int, NDArray]]:
    """For every window position (i, j) the view of padded `x` that it sees, each [N, out height, out width, C]."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i, i + (output.height - 1) * stride[0] + 1, stride[0])
            cols = slice(j, j + (output.width - 1) * stride[1] + 1, stride[1])
            yield i, j, x[:, rows, cols]


def _float_type(weights: Int8Array, axes: tuple[int, ...]) -> type[np.float32] | type[np.float64]:
    """float32 where no sum of |w| * 255 over `axes` reaches 2^24 (all partial sums are then exact), else float64."""
    largest = np.abs(weights.astype(np.int64)).sum(axis=axes).max(initial=0)
    return np.float32 if largest * 255 < 2**24 else np.float64


def _centred(x: Images, source: Tensor, dtype: type) -> NDArray:
    centred: NDArray = x.astype(dtype)
    centred -= source.zero_point
    return centred


def _conv(op: Conv, x: Images, source: Tensor, output: Tensor) -> Images:
    channels, kh, kw, cin = op.weights.shape
    dtype = _float_type(op.weights, (1, 2, 3))
    size = _reach(output, (kh, kw), op.stride)
    padded = _padded(_centred(x, source, dtype), op.pad, size, 0)
    if (kh, kw) == (1, 1):
        patches = padded[:, :: op.stride[0], :: op.stride[1]]
    else:
        patches = np.empty((len(x), output.height, output.width, kh * kw * cin), dtype)
        for i, j, tap in _taps(padded, output, (kh, kw), op.stride):
            start = (i * kw + j) * cin
            patches[..., start : start + cin] = tap
    flat = np.ascontiguousarray(patches).reshape(-1, kh * kw * cin)
    with np.errstate(invalid="ignore"):  # BLAS may raise the flag on lanes of a vector that it does not use
        acc = (flat @ op.weights.reshape(channels, -1).T.astype(dtype)).astype(np.int64)
    acc += op.bias
    out = arithmetic.requantise(acc, op.requant, output.zero_point, op.clamp)
    return out.reshape(len(x), *output.shape)


def _depthwise(op: Depthwise, x: Images, source: Tensor, output: Tensor) -> Images:
    kh, kw, _ = op.weights.shape
    dtype = _float_type(op.weights, (0, 1))
    padded = _padded(_centred(x, source, dtype), op.pad, _reach(output, (kh, kw), op.stride), 0)
    weights = op.weights.astype(dtype)
    acc = np.zeros((len(x), *output.shape), dtype)
    for i, j, tap in _taps(padded, output, (kh, kw), op.stride):
        acc += tap * weights[i, j]
    total = acc.astype(np.int64)
    total += op.bias
    return arithmetic.requantise(total, op.requant, output.zero_point, op.clamp)


def _add(op: Add, values: list[Images], inputs: list[Tensor], output: Tensor) -> Images:
    if op.rule == "single":
        acc = values[0].astype(np.int32) * np.int32(op.multipliers[0])
        acc += values[1].astype(np.int32) * np.int32(op.multipliers[1])
        acc += np.int32(op.offset)
        return np.clip(acc >> np.int32(op.shifts[0]), *op.clamp).astype(np.int8)
    parts = [
        arithmetic.tflite_multiply((v.astype(np.int64) - t.zero_point) << arithmetic.TFLITE_ADD_SHIFT, m, s)
        for v, t, m, s in zip(values, inputs, op.multipliers, op.shifts, strict=False)
    ]
    scaled = arithmetic.tflite_multiply(parts[0] + parts[1], op.multipliers[2], op.shifts[2])
    return np.clip(scaled + output.zero_point, *op.clamp).astype(np.int8)


def _max_pool(op: Pool, x: Images, output: Tensor) -> Images:
    padded = _padded(x, op.pad, _reach(output, op.kernel, op.stride), -128)
    out = np.full((len(x), *output.shape), -128, np.int8)
    for _, _, tap in _taps(padded, output, op.kernel, op.stride):
        np.maximum(out, tap, out=out)
    return np.clip(out, *op.clamp)


def _average_pool(op: Pool, x: Images, source: Tensor, output: Tensor) -> Images:
    size = _reach(output, op.kernel, op.stride)
    inside = _padded(np.ones((1, source.height, source.width, 1), np.int64), op.pad, size, 0)
    centre = 0 if op.requant is None else source.zero_point
    padded = _padded(x.astype(np.int64) - centre, op.pad, size, 0)
    acc = np.zeros((len(x), *output.shape), np.int64)
    count = np.zeros((1, output.height, output.width, 1), np.int64)
    for (_, _, tap), (_, _, cells) in zip(
        _taps(padded, output, op.kernel, op.stride), _taps(inside, output, op.kernel, op.stride), strict=True
    ):
        acc += tap
        count += cells
    if op.requant is None:
        return np.clip(arithmetic.rounded_division(acc, count), *op.clamp).astype(np.int8)
    by_count = Requant(op.requant.multipliers[count - 1], op.requant.shifts[count - 1], op.requant.rule)
    return arithmetic.requantise(acc, by_count, output.zero_point, op.clamp)


def _global_pool(op: GlobalPool, x: Images, source: Tensor, output: Tensor) -> Images:
    cells = source.height * source.width
    acc = x.sum(axis=(1, 2), keepdims=True, dtype=np.int64)
    if op.requant is None:
        return np.clip(arithmetic.rounded_division(acc, cells), *op.clamp).astype(np.int8)
    return arithmetic.requantise(acc - cells * source.zero_point, op.requant, output.zero_point, op.clamp)


def _resized(x: Images, output: Tensor) -> Images:
    rows, cols = filters.matrix(x.shape[1], output.height), filters.matrix(x.shape[2], output.width)
    sums = np.einsum("yh,nhwc,xw->nyxc", rows, x.astype(np.float32), cols, optimize=["einsum_path", (0, 1), (0, 1)])
    return ((sums.astype(np.int64) + (1 << 15)) >> 16).astype(np.int8)  # sums are whole and below 2^24


def _look_up(table: Int8Array, x: Images) -> Images:
    # an int8 index read as uint8 runs 0..127, then -128..-1: rotate the table instead of widening x
    return np.roll(table, 128)[x.view(np.uint8)]
