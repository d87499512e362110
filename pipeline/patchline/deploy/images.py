"""Inputs of `predict` as images: paths of pictures, nested lists, arrays or data frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.deploy.errors import DeploymentError
from patchline.network.contract import InputContract

FORMS = (
    "a column 'path' with picture files, a column 'image' with pixels [height][width][channels] from 0 to 255, "
    "or a uint8 array [N, H, W, C]"
)


def read_images(inputs: Any, contract: InputContract) -> NDArray[np.uint8]:
    """Images uint8 [N, H, W, C] that keep `contract`, from what a caller gave. DeploymentError says what it takes."""
    import pandas as pd

    shape = contract.shape

    if isinstance(inputs, np.ndarray):
        return _checked(inputs if inputs.ndim == 4 else inputs[None], shape)
    if isinstance(inputs, dict):
        inputs = pd.DataFrame({key: list(value) for key, value in inputs.items()})
    if isinstance(inputs, list):
        key = "path" if inputs and isinstance(inputs[0], str) else "image"
        inputs = pd.DataFrame({key: inputs})
    if not isinstance(inputs, pd.DataFrame) or inputs.empty or not {"path", "image"} & set(inputs.columns):
        raise DeploymentError(f"predict takes {FORMS}; got {_describe(inputs)}")
    if "path" in inputs.columns:
        return _checked(np.stack([_picture(Path(str(path)), shape) for path in inputs["path"]]), shape)
    try:
        return _checked(np.stack([np.asarray(image) for image in inputs["image"]]), shape)
    except ValueError:
        raise DeploymentError(f"the images in column 'image' have different shapes; the model takes {shape}") from None


def _picture(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture file as the network saw its training images: upright, centre square, resized."""
    from patchline.data.folder import read_photo

    height, width, channels = shape
    if height != width or channels != 3:
        raise DeploymentError(
            f"the model takes {shape}, not square RGB: give pixels in a column 'image' instead of paths"
        )
    found = read_photo(path, height)
    if found is None:
        raise DeploymentError(
            f"{path} does not exist" if not path.exists() else f"{path} is not a readable JPEG or PNG"
        )
    return found


def _checked(images: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    if images.ndim != 4 or images.shape[1:] != shape:
        raise DeploymentError(f"images have shape {images.shape[1:]}, the model takes {shape}")
    if not np.issubdtype(images.dtype, np.integer) or images.min() < 0 or images.max() > 255:
        raise DeploymentError("pixels must be whole numbers from 0 to 255")
    return images.astype(np.uint8)


def _describe(inputs: Any) -> str:
    columns = getattr(inputs, "columns", None)
    return type(inputs).__name__ if columns is None else f"columns {list(columns)}"
