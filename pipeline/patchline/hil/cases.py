"""What a benchmark runs: a firmware with the network and the plan it was made from, and images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline import targets
from patchline.data.parts import stratified
from patchline.errors import UserError
from patchline.network.ir import Network
from patchline.schedule.plan import Plan
from patchline.targets import Target


@dataclass(frozen=True)
class Case:
    """What to benchmark: the firmware and what it was made from."""

    elf: Path
    target: Target
    network: Network
    plan: Plan | None
    target_file: str | Path  # how workers load the target


def load_case(
    where: str | Path,
    target: str | Path | None = None,
    *,
    network: str | Path | None = None,
    plan: str | Path | None = None,
) -> Case:
    """The benchmark of an ELF, or of a folder that holds `firmware.elf`.

    Network and plan are looked for beside the ELF and in `models/<target>/` unless they are named. `target` None: the
    board that the plan names, a plan beside the ELF.
    """
    from patchline.network import serialize
    from patchline.schedule.plan import load_plan

    where = Path(where)
    elf = where / "firmware.elf" if where.is_dir() else where
    if not elf.is_file():
        raise UserError(f"{elf} does not exist: run the stage `generate`, or name a firmware")
    folders = [elf.parent, elf.parent.parent]
    plan = plan or _first(folders, "plan.json")
    if target is None:
        if plan is None:
            raise UserError(f"no plan.json beside {elf} says which board it is for: name the board with --target")
        target = load_plan(plan).target
        if target not in targets.names():
            raise UserError(f"{plan} is for the board {target}: name the board's file with --target")
    board = targets.find(target)
    folders.append(Path("models") / board.name)
    network = network or _first(folders, "network.npz")
    if network is None:
        raise UserError(f"no network.npz beside {elf} or in models/{board.name}/: name it with --network")
    plan = plan or _first(folders, "plan.json")
    found = load_plan(plan) if plan else None
    if found is not None and found.target != board.name:
        raise UserError(f"{elf} was made for {found.target} (its plan says so), not for {board.name}")
    return Case(elf, board, serialize.load(network), found, target)


def _first(folders: list[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def load_images(
    path: Path | None, network: Network, count: int | None
) -> tuple[NDArray[np.int8], NDArray[np.int64] | None, str]:
    """Input images, labels where there are some, and where they come from.

    `path` None: the prepared test images, or random ones (seeded) where there are none that fit the network's input.
    Labels that name a class the network does not have are another task's: they are left out, and the source says so.
    """
    if path is None:
        path = Path("data/prepared/test.npz")
        if not path.is_file():
            return _random_images(network, count), None, "a random generator"
        pixels, labels = _read_images(path, count)
        if pixels.shape[1:] != network.contract.shape or network.contract.pixels is None:
            return _random_images(network, count), None, f"a random generator ({path} does not fit the network)"
    else:
        pixels, labels = _read_images(path, count)
    images = network.contract.values_of(pixels, f"the images in {path}")
    if labels is not None and labels.size and not 0 <= labels.min() <= labels.max() < _outputs(network):
        return images, None, f"{path} (labels left out: they are not of this network's {_outputs(network)} classes)"
    return images, labels, str(path)


def _random_images(network: Network, count: int | None) -> NDArray[np.int8]:
    shape = network.tensors[network.input].shape
    return np.random.default_rng(0).integers(-128, 128, (count or 10, *shape), dtype=np.int8)


def _read_images(path: Path, count: int | None) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
            labels = arrays.get("labels")
        if images.ndim != 4 or images.dtype not in (np.uint8, np.int8):
            raise ValueError(f"`images` is {images.dtype} {list(images.shape)}")
        if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
            raise ValueError(f"`labels` is {labels.dtype} {list(labels.shape)} for {len(images)} images")
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"cannot read images from {path}: {error}; it must be an .npz with `images` [N, H, W, C], uint8 pixels or "
            "int8 values as the network reads them, and `labels` [N] of whole numbers, if any"
        ) from None
    if count is not None:
        chosen = stratified(np.zeros(len(images), np.int64) if labels is None else labels, count)
        images, labels = images[chosen], None if labels is None else labels[chosen]
    return images, labels


def _outputs(network: Network) -> int:
    """Output values of one inference."""
    return sum(int(np.prod(network.tensors[name].shape)) for name in network.outputs)
