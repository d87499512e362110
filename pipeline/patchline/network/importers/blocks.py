"""Names for the blocks of an imported network, under which memory and latency are reported."""

from __future__ import annotations

from dataclasses import replace

from patchline.network.ir import Conv, Depthwise, Network, Op


def labelled(network: Network) -> Network:
    """`network` with a block label on every operator.

    A block may start where exactly one tensor is alive (no residual is open), before: a depthwise with what expands it,
    or anything that does not belong to the depthwise-separable unit before it.
    """
    label, count, in_unit = "", 0, False
    ops: list[Op] = []
    for i, op in enumerate(network.ops):
        free = len(_alive(network, i)) <= 1
        if not ops or (free and _starts(network, i, in_unit)):
            label, in_unit = f"block{count}", False
            count += 1
        in_unit = in_unit or isinstance(op, Depthwise)
        ops.append(replace(op, block=label))
    return replace(network, ops=tuple(ops))


def _alive(network: Network, at: int) -> set[str]:
    """Tensors made before operator `at` (the input included) that it or a later one reads."""
    made = {network.input, *(op.output for op in network.ops[:at])}
    return {tensor for op in network.ops[at:] for tensor in op.inputs if tensor in made}


def _starts(network: Network, at: int, in_unit: bool) -> bool:
    op = network.ops[at]
    if isinstance(op, Depthwise):
        return in_unit or not (at and _expands(network.ops[at - 1], op))
    if isinstance(op, Conv):
        pointwise = op.weights.shape[1:3] == (1, 1)
        projects = in_unit and pointwise and isinstance(network.ops[at - 1], Depthwise)
        return not projects
    return not in_unit


def _expands(before: Op, depthwise: Depthwise) -> bool:
    if not isinstance(before, Conv) or before.weights.shape[1:3] != (1, 1):
        return False
    return before.output in depthwise.inputs and before.weights.shape[0] > before.weights.shape[3]
