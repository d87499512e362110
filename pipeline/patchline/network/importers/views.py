"""How a tensor of a model file lies in an HWC tensor of the network.

Model files reshape, flatten and transpose freely; on the device such a node must cost nothing. So an imported tensor is
a `View`: an int8 tensor of the network plus, for each dimension of the file's shape, the axes of (H, W, C) it covers.
Nodes that only rename dimensions change the view; nodes that compute look at it to find out which axis they work on.
Axes of size 1 do not appear at all, so they come and go freely.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from patchline.network.importers.problems import OrderError, UnsupportedError


@dataclass(frozen=True)
class Axis:
    """`size` steps along `letter` (H, W or C), `step` apart; a whole axis has step 1."""

    letter: str
    size: int
    step: int = 1


Dim = tuple[Axis, ...]


@dataclass(frozen=True)
class View:
    """`tensor` of the network (empty while it is not yet produced), its HWC shape and the dimensions of the file."""

    tensor: str
    hwc: tuple[int, int, int]
    dims: tuple[Dim, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as the model file sees it."""
        return tuple(prod(axis.size for axis in dim) for dim in self.dims)

    def named(self, tensor: str) -> View:
        return replace(self, tensor=tensor)

    def letters(self, dim: int) -> str:
        """Letters of the axes that dimension `dim` runs over."""
        return "".join(axis.letter for axis in self.dims[dim])

    def whole(self, letter: str) -> Dim:
        """The complete axis `letter` as a dimension (empty if its size is 1)."""
        size = self.hwc["HWC".index(letter)]
        return (Axis(letter, size),) if size > 1 else ()

    @property
    def in_order(self) -> bool:
        """Whether the file's row-major order is the order of the bytes in memory."""
        return merged([axis for dim in self.dims for axis in dim]) == merged(
            [axis for letter in "HWC" for axis in self.whole(letter)]
        )


def merged(axes: list[Axis]) -> list[Axis]:
    """Neighbouring parts of the same axis joined where together they are contiguous."""
    result: list[Axis] = []
    for axis in axes:
        last = result[-1] if result else None
        if last and last.letter == axis.letter and last.step == axis.step * axis.size:
            result[-1] = Axis(axis.letter, last.size * axis.size, axis.step)
        else:
            result.append(axis)
    return result


def transpose(view: View, order: list[int]) -> View:
    if sorted(order) != list(range(len(view.dims))):
        raise UnsupportedError(f"permutation {order} does not fit {len(view.dims)} dimensions")
    return replace(view, dims=tuple(view.dims[i] for i in order))


def reshape(view: View, shape: list[int]) -> View:
    """`view` with the dimensions `shape` (one may be -1), by regrouping and splitting axes."""
    total = prod(view.shape)
    if shape.count(-1) > 1 or any(n < -1 or n == 0 for n in shape):
        raise UnsupportedError(f"shape {shape} is not valid")
    if -1 in shape:
        known = prod(n for n in shape if n != -1)
        if total % known:
            raise UnsupportedError(f"shape {shape} does not fit {total} values")
        shape = [total // known if n == -1 else n for n in shape]
    if prod(shape) != total:
        raise UnsupportedError(f"shape {shape} does not fit {total} values")
    rest = [axis for dim in view.dims for axis in dim]
    return replace(view, dims=tuple(tuple(merged(_take(rest, size))) for size in shape))


def _take(rest: list[Axis], size: int) -> list[Axis]:
    """Remove axes worth `size` values from the front of `rest`."""
    taken: list[Axis] = []
    while size > 1:
        axis = rest.pop(0)
        if size % axis.size == 0:
            taken.append(axis)
            size //= axis.size
        elif axis.size % size == 0:
            inner = axis.size // size
            taken.append(Axis(axis.letter, size, axis.step * inner))
            rest.insert(0, Axis(axis.letter, inner, axis.step))
            size = 1
        else:
            raise OrderError("it cuts across rows, columns and channels", "reshape only whole dimensions")
    return taken


@dataclass(frozen=True)
class Spatial:
    """The two spatial dimensions and the channel dimension of a view; `swapped`: the first of the two runs along W."""

    first: int
    second: int
    channel: int
    swapped: bool

    def pair(self, values: tuple[int, int]) -> tuple[int, int]:
        """(first, second) as (vertical, horizontal), and back."""
        return (values[1], values[0]) if self.swapped else values


def spatial(view: View, layout: str) -> Spatial:
    """Read `view` as an image in `layout` ("NHWC", "NCHW"). Raises UnsupportedError for a view that is none."""
    if len(view.dims) != len(layout):
        raise UnsupportedError(f"works on {len(view.dims)} dimensions, {len(layout)} ({layout}) are supported")
    batch, first, second, channel = (layout.index(letter) for letter in "NHWC")
    if not view.dims[batch] and view.dims[channel] == view.whole("C"):
        for swapped, letters in ((False, "HW"), (True, "WH")):
            if view.dims[first] == view.whole(letters[0]) and view.dims[second] == view.whole(letters[1]):
                return Spatial(first, second, channel, swapped)
    raise OrderError(
        f"reads a tensor of shape {list(view.shape)} whose data lies in another order in memory",
        "a reshape or transpose before it would have to move data; remove it or move it to the model's border",
    )


def image(hwc: tuple[int, int, int], layout: str, swapped: bool = False) -> View:
    """The view of a tensor still to be produced, in `layout`; `swapped` as in `Spatial`."""
    view = View("", hwc, ())
    letters = layout.translate(str.maketrans("HW", "WH")) if swapped else layout
    return replace(view, dims=tuple(() if letter == "N" else view.whole(letter) for letter in letters))


LAYOUTS = {False: {2: "NC", 3: "NCW", 4: "NCHW"}, True: {2: "NC", 3: "NHC", 4: "NHWC"}}
"""By whether the channels come last, and the number of dimensions."""


def layout_of(shape: tuple[int, ...], channels_last: bool) -> str:
    """The layout in which a tensor of this shape is one image or one vector ("" if it is none)."""
    layout = LAYOUTS[channels_last].get(len(shape), "")
    return layout if layout and shape[0] == 1 and min(shape) >= 1 else ""


def image_of(shape: tuple[int, ...], layout: str) -> View:
    """The view of a tensor still to be produced that has this shape in the file."""
    height, width, channels = (shape[layout.index(x)] if x in layout else 1 for x in "HWC")
    return image((height, width, channels), layout)


def unequal(a: View, b: View, what: str, hint: str) -> UnsupportedError:
    """The error of an operator that needs `a` and `b` alike."""
    kind = OrderError if a.shape == b.shape else UnsupportedError
    return kind(f"it {what} tensors of shapes {list(a.shape)} and {list(b.shape)}", hint)
