"""Puts the change of size in front of a network, so that the device makes of its picture what the network takes."""

from __future__ import annotations

from dataclasses import replace

from patchline.errors import UserError
from patchline.network import filters
from patchline.network.contract import InputContract, declared
from patchline.network.ir import Network, NetworkError, Resize

BLOCK = "resize"


def for_prepared(network: Network, contract: InputContract) -> Network:
    """`network`, which was trained on pictures that keep `contract`, for a device that is given such pictures.

    Raises UserError where they are not what it takes, at whatever size.
    """
    source = network.tensors[network.input]
    own = replace(contract, height=source.height, width=source.width)
    try:
        return taking(replace(network, declared=own), contract.height, contract.width)
    except NetworkError as error:
        raise UserError(f"{network.name}: the prepared data are {contract.sentence()}, but {error}") from error


def with_pixels(network: Network, pixels: tuple[float, float] | None) -> Network:
    """`network` whose input's pixels 0 and 255 stand for `pixels`; None: it is no picture. Raises UserError."""
    source = network.tensors[network.input]
    try:
        said = declared(source.shape, source.scale, source.zero_point, pixels)
    except ValueError as error:
        raise UserError(f"{network.name}: {error}; pictures have one or three channels") from error
    return replace(network, declared=said)


def taking(network: Network, height: int, width: int) -> Network:
    """`network` for pictures of `height` x `width`: itself where that is its input's size, else behind a `Resize`.

    Raises UserError where both directions do not change alike, or the input is no picture.
    """
    small = network.tensors[network.input]
    if (height, width) == small.shape[:2]:
        return network
    ratio = filters.ratio(height, small.height)
    if ratio != filters.ratio(width, small.width):
        raise UserError(
            f"{network.name} takes {small.height} x {small.width}, {height} x {width} has other proportions"
        )
    if network.contract.pixels is None:
        raise UserError(f"the input of {network.name} is no picture: it cannot be given in another size")
    frame = replace(small, name=f"{small.name}_{height}x{width}", height=height, width=width)
    op = Resize(BLOCK, (frame.name,), small.name, *ratio, block=BLOCK)
    return replace(
        network,
        input=frame.name,
        tensors={frame.name: frame, **network.tensors},
        ops=(op, *network.ops),
        declared=replace(network.contract, height=height, width=width),
    )
