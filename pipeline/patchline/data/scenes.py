"""Source `scenes`: colour scenes composed from real Fashion-MNIST garments; the label is "a bag is in view".

One to three garments of a third to two thirds of the picture, tinted with a minimum contrast, lie on a calm textured
background under mild sensor noise. Half of the scenes hold a bag. Splits use disjoint garments. Resampling multiplies
whole numbers below 2^24, which float32 holds exactly, so that every machine makes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.config import DataParams
from patchline.data.fashion_mnist import BAG, CLASSES, LICENCE, SIDE, Garments, read_garments
from patchline.data.prepared import SPLITS, Prepared, Split
from patchline.progress import track

BATCH = 64  # scenes; the working set of a batch stays in the cache
MAX_GARMENTS = 3
LAYOUTS = 16  # layouts tried per scene; the one with the least overlap is kept
TINTS = 12  # colours tried per garment; the first with enough contrast is kept
MIN_CONTRAST = 64.0  # luminance steps of 255 between a garment and its background
WEIGHT_ONE = 64  # resampling weights are whole multiples of 1/64
VAL_GARMENTS = 5_000  # garments of the training file that are kept for the validation split
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class _Pool:
    """Garments of one split, with what placing and tinting need to know about each.

    `box` is the tight box [N, 4] as x0, y0, x1, y1 in 28ths; `shade` the mean brightness factor [N] of the cloth.
    """

    garments: Garments
    box: IntArray
    shade: FloatArray
    bags: IntArray
    others: IntArray


@dataclass(frozen=True)
class _Layout:
    """Garments of a batch of B scenes: arrays [B, 3]; `box` [B, 3, 4] in pixels, right and lower edges exclusive."""

    index: IntArray
    present: NDArray[np.bool_]
    size: IntArray
    x: IntArray
    y: IntArray
    flip: NDArray[np.bool_]
    box: IntArray


def prepare(params: DataParams, seed: int) -> Prepared:
    """Compose all scenes from the Fashion-MNIST files in `params.folder`."""
    splits, boxes = {}, {}
    for position, (name, garments) in enumerate(_garments_per_split(Path(params.folder)).items()):
        count = getattr(params.counts, name)
        splits[name], boxes[name] = compose(garments, count, params.resolution, (seed, position), name)
    return Prepared(
        name="scenes",
        classes=("no bag", "bag"),
        splits=splits,
        licence=LICENCE,
        description="A composed data set: scenes made by program from real Fashion-MNIST garments. "
        "The label is whether a bag is in view.",
        composed=True,
        boxes=boxes,
        box_classes=CLASSES,
    )


def compose(
    garments: Garments, count: int, resolution: int, seed: tuple[int, ...], name: str = "scenes"
) -> tuple[Split, NDArray[np.int32]]:
    """`count` scenes of `resolution` x `resolution` from `garments`, and the boxes int32 [M, 6] (BOX_COLUMNS)."""
    pool = _pool(garments)
    labels = np.random.default_rng([*seed, 0]).permutation(np.arange(count, dtype=np.int64) % 2)
    images = np.empty((count, resolution, resolution, 3), dtype=np.uint8)
    boxes = []
    for batch, start in enumerate(track(range(0, count, BATCH), f"compose {name}")):
        rng = np.random.default_rng([*seed, 1, batch])
        part = slice(start, min(start + BATCH, count))
        layout = _lay_out(pool, labels[part], resolution, rng)
        images[part] = _paint(pool, layout, resolution, rng)
        scene, slot = np.nonzero(layout.present)
        classes = garments.labels[layout.index[scene, slot]]
        boxes.append(np.column_stack([scene + start, classes, layout.box[scene, slot]]))
    return Split(images, labels), np.concatenate(boxes).astype(np.int32)


def _garments_per_split(folder: Path) -> dict[str, Garments]:
    """Disjoint garments per split; a garment whose picture occurs in an earlier split is left out of a later one."""
    train, test = read_garments(folder, "train"), read_garments(folder, "t10k")
    cut = len(train.labels) - VAL_GARMENTS
    parts = (train.take(np.arange(cut)), train.take(np.arange(cut, len(train.labels))), test)
    seen: set[bytes] = set()
    result = {}
    for name, part in zip(SPLITS, parts, strict=True):
        keys = [image.tobytes() for image in part.images]
        result[name] = part.take(np.flatnonzero([key not in seen for key in keys]))
        seen.update(keys)
    return result


def _pool(garments: Garments) -> _Pool:
    cloth = np.asarray(garments.images >= 16)
    columns, rows = np.asarray(cloth.any(axis=1)), np.asarray(cloth.any(axis=2))
    box = np.column_stack(
        [columns.argmax(1), rows.argmax(1), SIDE - columns[:, ::-1].argmax(1), SIDE - rows[:, ::-1].argmax(1)]
    )
    mean = (garments.images * cloth).sum(axis=(1, 2)) / np.maximum(cloth.sum(axis=(1, 2)), 1)
    bags = garments.labels == BAG
    return _Pool(
        garments, box, _shade(mean.astype(np.float32)), np.flatnonzero(bags), np.flatnonzero(np.logical_not(bags))
    )


def _shade(value: FloatArray) -> FloatArray:
    """Brightness factor of cloth whose grey value is `value` (0..255): dark cloth keeps a rest of its tint."""
    return (np.float32(0.35) + value * np.float32(0.65 / 255)).astype(np.float32)


def _lay_out(pool: _Pool, labels: IntArray, resolution: int, rng: np.random.Generator) -> _Layout:
    scenes = len(labels)
    shape = (scenes, MAX_GARMENTS)
    index = rng.choice(pool.others, size=shape)
    index[:, 0] = np.where(labels == 1, rng.choice(pool.bags, size=scenes), index[:, 0])
    present = np.arange(MAX_GARMENTS) < rng.integers(1, MAX_GARMENTS + 1, size=(scenes, 1))

    size = rng.integers(resolution // 3, 2 * resolution // 3 + 1, size=(scenes, LAYOUTS, MAX_GARMENTS))
    x = rng.integers(0, resolution - size + 1)
    y = rng.integers(0, resolution - size + 1)
    best = _overlap(size, x, y, present).argmin(axis=1)
    size, x, y = (values[np.arange(scenes), best] for values in (size, x, y))

    # The bag must not always lie under the others.
    order = rng.permuted(np.tile(np.arange(MAX_GARMENTS), (scenes, 1)), axis=1)
    index, present, size, x, y = (np.take_along_axis(v, order, axis=1) for v in (index, present, size, x, y))
    flip = rng.random(shape) < 0.5
    return _Layout(index, present, size, x, y, flip, _boxes(pool.box[index], size, x, y, flip))


def _overlap(size: IntArray, x: IntArray, y: IntArray, present: NDArray[np.bool_]) -> IntArray:
    """Pixels that garments of a scene share, for every tried layout: [B, LAYOUTS]."""
    total = np.zeros(size.shape[:2], dtype=np.int64)
    for a in range(MAX_GARMENTS):
        for b in range(a + 1, MAX_GARMENTS):
            sides = [
                np.minimum(at[..., a] + size[..., a], at[..., b] + size[..., b]) - np.maximum(at[..., a], at[..., b])
                for at in (x, y)
            ]
            both = present[:, a] & present[:, b]
            total += np.maximum(sides[0], 0) * np.maximum(sides[1], 0) * both[:, None]
    return total


def _boxes(tight: IntArray, size: IntArray, x: IntArray, y: IntArray, flip: NDArray[np.bool_]) -> IntArray:
    left = np.where(flip, SIDE - tight[..., 2], tight[..., 0])
    right = np.where(flip, SIDE - tight[..., 0], tight[..., 2])
    return np.stack(
        [
            x + left * size // SIDE,
            y + tight[..., 1] * size // SIDE,
            x - (-right * size // SIDE),
            y - (-tight[..., 3] * size // SIDE),
        ],
        axis=-1,
    )


def _paint(pool: _Pool, layout: _Layout, resolution: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The pictures [B, resolution, resolution, 3]; worked out plane by plane, which numpy does several times faster."""
    base = rng.uniform(40, 215, size=(len(layout.index), 3)).astype(np.float32)
    picture = _texture(len(base), resolution, rng)
    picture += base[:, :, None, None]
    tints = _tints(base, pool.shade[layout.index], rng)
    for slot in range(MAX_GARMENTS):
        grey = _place(pool, layout, slot, resolution)
        opacity = np.minimum(grey * np.float32(6 / 255), 1) * layout.present[:, slot, None, None]
        cloth = _shade(grey)[:, None] * tints[:, slot, :, None, None]
        cloth -= picture
        cloth *= opacity[:, None]
        picture += cloth
    _add_noise(picture, rng)
    np.rint(picture, out=picture)
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8).transpose(0, 2, 3, 1)


def _texture(scenes: int, resolution: int, rng: np.random.Generator) -> FloatArray:
    """Soft blotches of two sizes around zero: [B, 3, resolution, resolution]."""
    result = np.zeros((scenes, 3, resolution, resolution), dtype=np.float32)
    for cells, strength in ((4, 20.0), (12, 9.0)):
        grid = rng.integers(-128, 128, size=(scenes, 3, cells, cells))
        grid[:, 1:] = (3 * grid[:, :1] + grid[:, 1:]) // 4  # mostly light and dark, a little colour
        up = _stretch(cells, resolution)
        scale = rng.uniform(0.3, 1.0, size=(scenes, 1, 1, 1)) * strength / (128 * WEIGHT_ONE**2)
        result += (up @ grid.astype(np.float32) @ up.T) * scale.astype(np.float32)
    return result


def _tints(background: FloatArray, shade: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A colour [B, 3, 3] per garment whose luminance, once shaded, keeps away from the background's."""
    tried = rng.uniform(20, 255, size=(*shade.shape, TINTS, 3)).astype(np.float32)
    difference = np.abs(
        (tried * LUMINANCE).sum(-1) * shade[..., None] - (background * LUMINANCE).sum(-1)[:, None, None]
    )
    enough = difference >= MIN_CONTRAST
    pick = np.where(enough.any(-1), enough.argmax(-1), difference.argmax(-1))
    return np.take_along_axis(tried, pick[..., None, None], axis=2)[:, :, 0]


def _place(pool: _Pool, layout: _Layout, slot: int, resolution: int) -> FloatArray:
    """Grey values (0..255) of the garments in `slot`, at their places: [B, resolution, resolution]."""
    garment = pool.garments.images[layout.index[:, slot]].astype(np.float32)
    garment = np.where(layout.flip[:, slot, None, None], garment[:, :, ::-1], garment)
    size = layout.size[:, slot]
    rows = _resampler(layout.y[:, slot], size, resolution)
    columns = _resampler(layout.x[:, slot], size, resolution)
    return np.minimum((rows @ garment @ columns.transpose(0, 2, 1)) * np.float32(1 / WEIGHT_ONE**2), 255)


def _resampler(start: IntArray, size: IntArray, resolution: int) -> FloatArray:
    """Matrices [B, resolution, SIDE] that stretch a garment's side over pixels start..start+size, zero elsewhere."""
    pixel = np.arange(resolution) - start[:, None]
    row = np.where((pixel >= 0) & (pixel < size[:, None]), pixel, resolution)
    return _all_stretches(resolution)[size[:, None], row]


@lru_cache(maxsize=1)
def _all_stretches(resolution: int) -> FloatArray:
    """For every size up to `resolution` the rows of its stretch, zero rows behind: [size, resolution + 1, SIDE]."""
    table = np.zeros((resolution + 1, resolution + 1, SIDE), dtype=np.float32)
    for size in range(1, resolution + 1):
        table[size, :size] = _stretch(SIDE, size)
    return table


def _stretch(source: int, size: int) -> FloatArray:
    """Matrix [size, source] that resamples linearly, widened when shrinking; whole weights, about WEIGHT_ONE a row."""
    step = source / size
    centre = np.clip((np.arange(size) + 0.5) * step - 0.5, 0, source - 1)
    weight = np.maximum(1 - np.abs(centre[:, None] - np.arange(source)) / max(step, 1.0), 0)
    return np.rint(weight / weight.sum(axis=1, keepdims=True) * WEIGHT_ONE).astype(np.float32)


def _add_noise(picture: FloatArray, rng: np.random.Generator) -> None:
    """Add noise of a triangular distribution, standard deviation 1 to 4 steps per scene, to `picture` in place."""
    first = rng.integers(0, 256, size=picture.shape, dtype=np.uint8)
    second = rng.integers(0, 256, size=picture.shape, dtype=np.uint8)
    noise = np.subtract(first, second, dtype=np.float32)
    deviation = rng.uniform(1.0, 4.0, size=(len(picture), 1, 1, 1)) / (255 / np.sqrt(6))
    noise *= deviation.astype(np.float32)
    picture += noise
