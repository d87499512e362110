"""The plan as the executor's tables: plain records that the template prints."""

from __future__ import annotations

from dataclasses import dataclass, field

from patchline.errors import UserError
from patchline.network.ir import GlobalPool, Network
from patchline.schedule.plan import Buffer, Plan, Segment, TileRange

NO_SOURCE = 0xFFFF
LIMIT = 0xFFFF

Pairs = tuple[tuple[int, int], ...]


@dataclass
class RangePool:
    """All range arrays of a model laid end to end; equal ones, or parts of one, are stored once."""

    values: list[tuple[int, int]] = field(default_factory=list)

    def add(self, pairs: Pairs) -> int:
        """Index of the first entry of `pairs` in `values`."""
        n = len(pairs)
        for i in range(len(self.values) - n + 1):
            if tuple(self.values[i : i + n]) == pairs:
                return i
        self.values.extend(pairs)
        return len(self.values) - n


@dataclass(frozen=True)
class TensorRow:
    name: str
    rows: int  # index into the ranges, like `columns`
    columns: int
    offset: int
    slots: int
    pitch: int
    height: int
    width: int
    channels: int
    whole: bool


@dataclass(frozen=True)
class OpRow:
    """`inputs` is the index of its first input in `Tables.inputs`, `scratch` an offset in the arena."""

    inputs: int
    input_count: int
    scratch: int
    scratch_bytes: int
    scan: int
    kernel_h: int
    pad_h: int
    pad_w: int
    stride_h: int
    stride_w: int
    up: int
    batch: int
    pooled: tuple[int, int] | None  # ranges (rows, columns) that a global pool reads


@dataclass(frozen=True)
class SegmentRow:
    steps: int  # index of the first
    step_count: int
    tile_rows: int
    tile_columns: int
    source_step: int
    source_scan: int
    source: tuple[int, int] | None  # ranges (rows, columns) of the input


@dataclass(frozen=True)
class Tables:
    tensors: tuple[TensorRow, ...]
    ops: tuple[OpRow, ...]
    inputs: tuple[int, ...]
    steps: Pairs
    segments: tuple[SegmentRow, ...]
    ranges: Pairs
    outputs: tuple[int, ...]
    max_rows: int


def build(network: Network, plan: Plan) -> Tables:
    """The executor's tables for `plan`. Raises UserError where a size is beyond the tables' 16 bits."""
    _check_sizes(network, plan)
    pool = RangePool()
    index = {network.input: 0} | {op.output: i + 1 for i, op in enumerate(network.ops)}
    segment_of = {i: s for s in plan.segments for i in range(s.first_op, s.end_op)}
    ranges = {id(s): {r.tensor: r for r in s.ranges} for s in plan.segments}
    inputs: list[int] = []
    ops = []
    for i, op in enumerate(network.ops):
        segment = segment_of[i]
        step = next(s for s in segment.steps if s[0] <= i < s[1])
        scratch = _working_memory(plan, op.name)
        pooled = None
        if isinstance(op, GlobalPool):
            read = ranges[id(segment)][op.inputs[0]]
            pooled = (pool.add(read.rows), pool.add(read.cols))
        ops.append(
            OpRow(
                len(inputs), len(op.inputs), scratch.offset if scratch else 0,
                scratch.bytes if scratch and scratch.kind == "scratch" else 0,
                _scan(network, op.output, step, i), op.rows.kernel, op.rows.pad, op.cols.pad, op.rows.stride,
                op.cols.stride, op.rows.up, segment.batches.get(i, 1), pooled,
            )
        )  # fmt: skip
        inputs.extend(index[name] for name in op.inputs)
    tensors = [_tensor_row(network, plan, network.input, None, pool)]
    for i, op in enumerate(network.ops):
        tensors.append(_tensor_row(network, plan, op.output, ranges[id(segment_of[i])].get(op.output), pool))
    steps: list[tuple[int, int]] = []
    segments = []
    for segment in plan.segments:
        segments.append(_segment_row(network, plan, segment, ranges[id(segment)], len(steps), pool))
        steps.extend(segment.steps)
    max_rows = max(op.rows.kernel * len(op.inputs) for op in network.ops)
    return Tables(
        tuple(tensors), tuple(ops), tuple(inputs), tuple(steps), tuple(segments), tuple(pool.values),
        tuple(index[name] for name in network.outputs), max_rows,
    )  # fmt: skip


def _scan(network: Network, tensor: str, step: tuple[int, int], otherwise: int) -> int:
    """The highest operator of the step that reads `tensor`: nothing above can have become ready."""
    return max((c for c in network.consumers(tensor) if step[0] <= c < step[1]), default=otherwise)


def _tensor_row(network: Network, plan: Plan, name: str, tile: TileRange | None, pool: RangePool) -> TensorRow:
    tensor = network.tensors[name]
    found = [b for b in plan.buffers if b.name == name and b.kind not in ("accumulator", "scratch")]
    if len(found) != 1:
        raise UserError(f"the plan has {len(found)} buffers for tensor '{name}', the executor needs one: plan again")
    buffer = found[0]
    whole = buffer.kind == "tensor" or (buffer.kind == "input" and plan.input_mode == "resident")
    return TensorRow(
        name, pool.add(tile.rows) if tile else 0, pool.add(tile.cols) if tile else 0, buffer.offset, buffer.rows,
        buffer.cols, tensor.height, tensor.width, tensor.channels, whole,
    )  # fmt: skip


def _working_memory(plan: Plan, op_name: str) -> Buffer | None:
    return next((b for b in plan.buffers if b.name == op_name and b.kind in ("accumulator", "scratch")), None)


def _segment_row(
    network: Network, plan: Plan, segment: Segment, ranges: dict[str, TileRange], first_step: int, pool: RangePool
) -> SegmentRow:
    readers = network.consumers(network.input)
    # the first step that reads the input fetches it; later readers find it in its buffer
    fetching = [i for i, step in enumerate(segment.steps) if readers and step[0] <= readers[0] < step[1]]
    source_step, scan, source = NO_SOURCE, 0, None
    if network.input in ranges and plan.input_mode != "resident":
        tile = ranges[network.input]
        source = (pool.add(tile.rows), pool.add(tile.cols))
        if fetching:
            source_step = fetching[0]
            scan = _scan(network, network.input, segment.steps[source_step], segment.steps[source_step][0])
    return SegmentRow(
        first_step, len(segment.steps), segment.tile_rows, segment.tile_cols, source_step, scan, source
    )  # fmt: skip


def _check_sizes(network: Network, plan: Plan) -> None:
    if any(max(segment.tile_rows, segment.tile_cols) > 255 for segment in plan.segments):
        raise UserError("the plan has a segment of more than 255 rows or columns of tiles: plan again")
    for tensor in network.tensors.values():
        if max(tensor.shape) > LIMIT or tensor.width * tensor.channels > LIMIT:
            raise UserError(
                f"tensor '{tensor.name}' of shape {tensor.shape}: the firmware holds up to {LIMIT} bytes a row"
            )
    for op in network.ops:
        windows = (op.rows, op.cols)
        if max(w.stride for w in windows) > 255 or max(w.up for w in windows) > 255 or len(op.inputs) > 255:
            raise UserError(f"operator '{op.name}' has a stride, an enlargement or a number of inputs above 255")
