"""Quantises a float ONNX model with a folder of typical images, so that `from_onnx` can read it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from patchline.data.pixels import eight_bit
from patchline.errors import UserError
from patchline.network.contract import USUAL, quantisation_of
from patchline.network.importers.onnx import from_onnx, is_float, read
from patchline.network.importers.static_qdq import Quantisation, Sample, quantise_static
from patchline.network.ir import Network
from patchline.network.resize import with_pixels

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
MAX_SAMPLES = 256
MAX_INPUT_VALUES = 1 << 24


def calibrated(model: Path, folder: Path, pixels: tuple[float, float] = USUAL[0]) -> Network:
    """The network of the float ONNX `model`, quantised with the images or arrays in `folder`. Raises UserError, as
    `quantise_with_folder` and `from_onnx` do; it does not ask for a quantisation that was done here. Where images were
    given, its input is a picture whose `pixels` mean what they meant here."""
    network = from_onnx(quantise_with_folder(model, folder, pixels), model.stem, calibrated=True)
    picture = not _ready(_files(folder)) and network.tensors[network.input].channels in (1, 3)
    return with_pixels(network, pixels) if picture else network


def quantise_with_folder(model: Path, folder: Path, pixels: tuple[float, float] = USUAL[0]) -> onnx.ModelProto:
    """The int8 QDQ form of the float ONNX `model`: weights per channel, activations asymmetric, ranges by minimum and
    maximum over `folder`.

    The folder holds images (any size; cut and scaled to the model's input; `pixels` are the values that 0 and 255
    stand for; sub-folders included), or .npy files with ready inputs of the model. With images the input's quantisation
    is fixed to theirs. Raises UserError for a
    model that is quantised already, an input that is no image, or a folder without usable files.
    """
    proto = read(model)
    if not is_float(proto):
        raise UserError(f"{model} is quantised already: leave --calibrate out")
    _check_constants(proto, model)
    name, shape = _input_shape(proto, model)
    files = _files(folder)
    arrays = _ready(files)
    samples = _arrays(files, shape) if arrays else _images(files, shape, pixels, model)
    return _quantised(proto, name, samples, None if arrays else quantisation_of(pixels), model)


def _input_shape(proto: onnx.ModelProto, model: Path) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the model's one float input; a free batch size becomes 1."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in constants]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise UserError(f"{model}: --calibrate needs a model with exactly one float32 input")
    sizes = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    shape = (1, *sizes[1:])
    if len(sizes) < 2 or min(shape) < 1 or sizes[0] > 1 or np.prod(shape, dtype=float) > MAX_INPUT_VALUES:
        raise UserError(f"{model}: its input has shape {sizes}; export it with a fixed shape and batch 1")
    inputs[0].type.tensor_type.shape.dim[0].dim_value = 1
    return inputs[0].name, shape


def _check_constants(proto: onnx.ModelProto, model: Path) -> None:
    """Raise UserError for weights that are no numbers: onnxruntime would only say "scale issue"."""
    for tensor in proto.graph.initializer:
        floats = tensor.data_type == onnx.TensorProto.FLOAT and tensor.data_location != onnx.TensorProto.EXTERNAL
        if floats and not np.all(np.isfinite(onnx.numpy_helper.to_array(tensor))):
            raise UserError(f"{model}: '{tensor.name}' holds values that are not finite: train or export it again")


def _files(folder: Path) -> list[Path]:
    """Up to MAX_SAMPLES files of one kind, spread evenly over the folder in order of their names."""
    if not folder.is_dir():
        raise UserError(f"--calibrate {folder}: there is no such folder; give one with typical images")
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [p for p in found if p.suffix.lower() == ".npy"] or [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise UserError(f"--calibrate {folder}: it holds no images ({', '.join(IMAGE_SUFFIXES)}) and no .npy files")
    count = min(len(files), MAX_SAMPLES)
    return [files[i * len(files) // count] for i in range(count)]


def _ready(files: list[Path]) -> bool:
    """Whether these are inputs of a model as they are, and not images."""
    return files[0].suffix.lower() == ".npy"


def _arrays(files: list[Path], shape: tuple[int, ...]) -> Iterator[Sample]:
    for path in files:
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): save it with numpy.save") from error
        if array.size != np.prod(shape):
            raise UserError(f"{path} has shape {array.shape}, the model's input {shape}")
        if not np.all(np.isfinite(array)):
            raise UserError(f"{path} holds values that are not finite: replace or remove it")
        yield array.astype(np.float32).reshape(shape)


def _images(files: list[Path], shape: tuple[int, ...], pixels: tuple[float, float], model: Path) -> Iterator[Sample]:
    from PIL import Image, ImageOps

    if len(shape) != 4 or not {shape[1], shape[3]} & {1, 3}:
        raise UserError(f"{model}: its input {list(shape)} is no image: give .npy files with inputs to --calibrate")
    first = shape[1] in (1, 3)  # channels first
    channels, height, width = shape[1:] if first else (shape[3], shape[1], shape[2])
    for path in files:
        try:
            with Image.open(path) as image:
                picture = eight_bit(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
                fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BOX)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} is not a readable image ({error}): replace or remove it") from error
        low, high = np.float32(pixels[0]), np.float32(pixels[1])
        array = low + np.asarray(fitted, np.float32).reshape(height, width, channels) * ((high - low) / np.float32(255))
        yield (array.transpose(2, 0, 1) if first else array)[None]


def _quantised(
    proto: onnx.ModelProto, name: str, samples: Iterator[Sample], fixed: Quantisation | None, model: Path
) -> onnx.ModelProto:
    try:
        return quantise_static(proto, name, samples, fixed)
    except UserError:
        raise
    except Exception as error:  # onnxruntime reports a model that it cannot run in many ways
        raise UserError(
            f"{model}: onnxruntime cannot quantise this model: {_said(error)}; check that it runs in onnxruntime and "
            "that every value in it stays finite for these inputs, or export it again with opset 17"
        ) from error


def _said(error: Exception) -> str:
    """The first line of an error's message, or, as some have none, what it is; and where it came from."""
    message = str(error).strip().splitlines() or [type(error).__name__]
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{message[0]} ({Path(last.filename).name}, {last.name})"
