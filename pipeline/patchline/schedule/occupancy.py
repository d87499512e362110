"""What a schedule holds in memory while each operator runs: buffers, overlaps between them, live bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from patchline.network.ir import Network
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import live_bytes, schedule_buffers, segment_buffers
from patchline.schedule.overlap import aligned_saving, segment_overlaps
from patchline.schedule.plan import Buffer, InputMode, Overlap, Segment

OverlapMode = Literal["rows", "elementwise"] | None
"""Where outputs may lie over dying inputs: in streams row by row and elementwise everywhere; elementwise; nowhere."""


@dataclass(frozen=True)
class Occupancy:
    """Buffers without offsets yet; per operator the bytes of activations, and of all that has to be placed."""

    buffers: tuple[Buffer, ...]
    overlaps: tuple[Overlap, ...]
    activations: tuple[int, ...]
    placed: tuple[int, ...]  # with kernel scratch, sizes aligned


class Occupancies:
    """Occupancy of schedules of one network; what a segment takes is worked out once."""

    def __init__(self, graph: Graph, mode: InputMode, overlap: OverlapMode) -> None:
        self.graph, self.mode, self.overlap = graph, mode, overlap
        self._buffers: dict[Segment, list[Buffer]] = {}
        self._overlaps: dict[Segment, list[Overlap]] = {}

    def of(self, segments: Sequence[Segment]) -> Occupancy:
        """What the schedule `segments` of the whole network takes."""
        buffers = schedule_buffers(self.graph, segments, self.mode, self._buffers_of)
        overlaps = [overlap for segment in segments for overlap in self._overlaps_of(segment)]
        activations, placed = (_live(self.graph.network, buffers, overlaps, scratch) for scratch in (False, True))
        return Occupancy(tuple(buffers), tuple(overlaps), activations, placed)

    def peak(self, segment: Segment) -> int:
        """Bytes that must be placed while `segment` runs, in whatever schedule it is part of."""
        graph, first = self.graph, segment.first_op
        alive = [(name, graph.network.tensors[name].bytes) for name in graph.live_at(first)]
        lying = [Buffer(name, "tensor", size, 0, first, first) for name, size in alive]
        buffers = schedule_buffers(graph, [segment], self.mode, lambda s: [*lying, *self._buffers_of(s)])
        placed = _live(graph.network, buffers, self._overlaps_of(segment), scratch=True)
        return max(placed[first : segment.end_op])

    def _buffers_of(self, segment: Segment) -> list[Buffer]:
        if segment not in self._buffers:
            self._buffers[segment] = segment_buffers(self.graph, segment, self.mode)
        return self._buffers[segment]

    def _overlaps_of(self, segment: Segment) -> list[Overlap]:
        if not self.overlap:
            return []
        if segment not in self._overlaps:
            # only streams read row by row what they overwrite; a layer segment stays as the literature counts it
            elementwise = self.overlap == "elementwise" or segment.kind == "layer"
            self._overlaps[segment] = segment_overlaps(self.graph, segment, self.mode, elementwise_only=elementwise)
        return self._overlaps[segment]


def _live(network: Network, buffers: Sequence[Buffer], overlaps: Sequence[Overlap], scratch: bool) -> tuple[int, ...]:
    live = live_bytes(buffers, len(network.ops), scratch)
    by_name = {b.name: b for b in buffers if b.kind == "tensor"}
    for o in overlaps:
        a, b = by_name[o.output], by_name[o.input]
        saved = aligned_saving(o, network) if scratch else o.saved
        for i in range(max(a.first_op, b.first_op), min(a.last_op, b.last_op) + 1):
            live[i] -= saved
    return tuple(live)
