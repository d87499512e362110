"""The `Plan`: what the schedule solver decides and everything downstream obeys, as a JSON file a person can read.

Time is counted in operators: a buffer with lifetime (3, 5) is in use while operators 3, 4 and 5 run. Inside a segment
that is walked tile by tile, inputs and outputs are in use throughout.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SegmentKind = Literal["layer", "stream", "patch"]
InputMode = Literal["pushed", "pulled", "resident"]
BufferKind = Literal["tensor", "ring", "row", "input", "accumulator", "scratch"]

PLAN_VERSION = 2


@dataclass(frozen=True)
class TileRange:
    """The part of one tensor that each tile of a segment computes (for a tensor from outside: reads).

    `rows[i]` is [lo, hi) for tile row i, `cols[j]` is [lo, hi) for strip j; an empty range (0, 0) means nothing.
    """

    tensor: str
    rows: tuple[tuple[int, int], ...]
    cols: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Segment:
    """A run of operators [first_op, end_op) executed tile by tile (tiles in row-major order).

    Within a tile the `steps` follow each other; within a step rows are pushed: the ready operator with the highest
    index fires first. `layer` has one tile and a step per operator (a depthwise and what follows it may share one),
    `stream` has one step and 1..n column strips, `patch` has p x p tiles with a step per operator as MCUNetV2.

    `rows_at_once` holds, per operator, how many rows one kernel call computes. A call ends at a multiple of it, so that
    its rows lie one behind the other in every ring (see `batching`).
    """

    kind: SegmentKind
    first_op: int
    end_op: int
    steps: tuple[tuple[int, int], ...]  # [first_op, end_op) of each step
    tile_rows: int
    tile_cols: int
    ranges: tuple[TileRange, ...]  # of every tensor that the segment reads or writes
    rows_at_once: tuple[int, ...]  # one entry per operator

    @property
    def batches(self) -> dict[int, int]:
        """Operators that compute several rows at once: index -> rows."""
        return {self.first_op + i: rows for i, rows in enumerate(self.rows_at_once) if rows > 1}


@dataclass(frozen=True)
class Buffer:
    """One placed piece of the arena.

    A tensor's row y lies in slot y % rows; its column x of a tile at (x - lo) with lo the tile's first column of that
    tensor (always 0 for a `tensor` buffer, which holds the whole map). `bytes` = rows * cols * channels for
    activations.
    """

    name: str  # tensor name, or operator name for accumulator and scratch
    kind: BufferKind
    bytes: int
    offset: int
    first_op: int
    last_op: int
    rows: int = 0
    cols: int = 0
    channels: int = 0


@dataclass(frozen=True)
class Overlap:
    """Permission for an output to lie over an input that dies while it is written.

    Safe while output.offset + distance <= input.offset: no row is overwritten before its last reader has fired.
    `saved` bytes need not be held twice.
    """

    output: str
    input: str
    distance: int
    saved: int


@dataclass(frozen=True)
class Sram:
    """Parts of `sram_peak_bytes`."""

    activations: int  # = activation_peak_bytes, at the moment of the arena's peak
    scratch_and_padding: int  # kernel scratch live at the peak, alignment and placement losses
    static: int  # .data + .bss of the runtime beside the arena
    stack: int  # reserved stack

    @property
    def arena(self) -> int:
        return self.activations + self.scratch_and_padding

    @property
    def total(self) -> int:
        return self.arena + self.static + self.stack


@dataclass(frozen=True)
class Flash:
    """Estimate of flash use before linking; the linked sizes stand in the build's size.json."""

    weights: int
    tables: int
    code: int

    @property
    def total(self) -> int:
        return self.weights + self.tables + self.code


@dataclass(frozen=True)
class Plan:
    network: str
    target: str
    input_mode: InputMode
    input_passes: float  # input bytes read / size of the input
    input_bytes_read: int
    segments: tuple[Segment, ...]
    buffers: tuple[Buffer, ...]
    overlaps: tuple[Overlap, ...]
    arena_bytes: int
    arena_lower_bound_bytes: int  # maximum of live bytes over time
    activation_peak_bytes: int
    sram: Sram
    flash: Flash
    macs: int
    extra_macs: int
    op_peak_bytes: tuple[int, ...]  # live bytes while each operator runs, this plan
    op_peak_layer_bytes: tuple[int, ...]  # the same, layer by layer
    layer_peak_bytes: int  # activation peak of the layer-by-layer plan
    sram_layer_by_layer_bytes: int  # sram_peak_bytes of the layer-by-layer plan
    fits: bool
    reason: str  # why it does not fit, else ""
    version: int = PLAN_VERSION

    @property
    def sram_peak_bytes(self) -> int:
        return self.sram.total

    @property
    def extra_macs_ratio(self) -> float:
        return self.extra_macs / self.macs if self.macs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data; derived totals are included for readers and ignored by `plan_from_dict`."""
        data = asdict(self)
        data["sram_peak_bytes"] = self.sram_peak_bytes
        data["extra_macs_ratio"] = self.extra_macs_ratio
        data["sram"]["total"] = self.sram.total
        data["flash"]["total"] = self.flash.total
        return data

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1) + "\n"


def plan_from_dict(data: dict[str, Any]) -> Plan:
    """The inverse of `Plan.to_dict`. Raises ValueError for another version of the format."""
    if data.get("version") != PLAN_VERSION:
        raise ValueError(
            f"plan has version {data.get('version')}, this Patchline reads {PLAN_VERSION}: run the search again"
        )
    fields = {k: v for k, v in data.items() if k not in ("sram_peak_bytes", "extra_macs_ratio")}
    fields["segments"] = tuple(
        Segment(
            s["kind"], s["first_op"], s["end_op"], _pairs(s["steps"]), s["tile_rows"], s["tile_cols"],
            tuple(TileRange(r["tensor"], _pairs(r["rows"]), _pairs(r["cols"])) for r in s["ranges"]),
            tuple(s["rows_at_once"]),
        )
        for s in data["segments"]
    )  # fmt: skip
    fields["buffers"] = tuple(Buffer(**b) for b in data["buffers"])
    fields["overlaps"] = tuple(Overlap(**o) for o in data["overlaps"])
    fields["sram"] = Sram(**{k: v for k, v in data["sram"].items() if k != "total"})
    fields["flash"] = Flash(**{k: v for k, v in data["flash"].items() if k != "total"})
    for key in ("op_peak_bytes", "op_peak_layer_bytes"):
        fields[key] = tuple(data[key])
    return Plan(**fields)


def load_plan(path: str | Path) -> Plan:
    return plan_from_dict(json.loads(Path(path).read_text()))


def _pairs(values: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in values)
