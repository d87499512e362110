"""Networks by description: MobileNetV2 built in, and MIT's MCUNet / once-for-all JSON. Weights are seeded random
numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from patchline.errors import UserError
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network

# expansion, channels, blocks, stride of the first (Sandler et al., MobileNetV2, CVPR 2018, table 2)
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor` that is not more than 10 % below `value` (the rule of the MobileNet papers)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def mobilenet_v2(width: float = 1.0, resolution: int = 224, classes: int = 1000, seed: int | None = 0) -> Network:
    """MobileNetV2 with a width multiplier at `resolution` x `resolution` RGB input."""
    b = NetworkBuilder(resolution, resolution, 3, seed, f"mobilenet_v2-w{width:g}-r{resolution}")
    b.block("stem")
    x = b.conv("input", make_divisible(32 * width), 3, 2)
    index = 0
    for expand, channels, blocks, stride in MOBILENET_V2:
        for i in range(blocks):
            index += 1
            b.block(f"block{index}")
            x = b.mbconv(x, make_divisible(channels * width), 3, stride if i == 0 else 1, expand)
    b.block("head")
    x = b.conv(x, make_divisible(1280 * max(width, 1.0)), 1)
    return _classifier(b, x, classes)


def from_json(path: str | Path, seed: int | None = 0) -> Network:
    """A network description in the JSON of MIT's MCUNet and once-for-all repositories.

    Raises UserError when the file is not such a description or uses a layer that is not supported.
    """
    try:
        data = json.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as JSON ({error}); give a network description of MCUNet / OFA"
        ) from error
    try:
        return _build_json(data, seed, Path(path).stem)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(
            f"{path}: not an MCUNet / OFA network description ({type(error).__name__}: {error}); "
            "it needs first_conv, blocks, classifier and resolution"
        ) from error


def _build_json(data: dict[str, Any], seed: int | None, name: str) -> Network:
    resolution = int(data["resolution"])
    if not 8 <= resolution <= 1024:
        raise ValueError(f"resolution {resolution} is not between 8 and 1024")
    stem = data["first_conv"]
    b = NetworkBuilder(resolution, resolution, _channels(stem["in_channels"]), seed, name)
    b.block("stem")
    x = b.conv("input", _channels(stem["out_channels"]), int(stem["kernel_size"]), int(stem["stride"]))
    for index, entry in enumerate(data["blocks"], start=1):
        b.block(f"block{index}")
        conv = entry["mobile_inverted_conv"]
        if conv is None or conv["name"] == "ZeroLayer":
            continue  # a skipped block of the search space: identity
        if conv.get("use_se"):
            raise ValueError(
                f"block {index} uses squeeze-and-excitation, which the JSON format leaves undefined for int8"
            )
        x = _mbconv(b, x, conv, entry.get("shortcut") is not None)
    if data.get("feature_mix_layer"):
        b.block("head")
        x = b.conv(x, _channels(data["feature_mix_layer"]["out_channels"]), 1)
    return _classifier(b, x, int(data["classifier"]["out_features"]))


def _mbconv(b: NetworkBuilder, x: str, conv: dict[str, Any], shortcut: bool) -> str:
    source = b.tensor(x)
    mid = conv["mid_channels"] or round(source.channels * conv["expand_ratio"])
    y = x if conv["expand_ratio"] == 1 and mid == source.channels else b.conv(x, _channels(mid))
    y = b.depthwise(y, int(conv["kernel_size"]), int(conv["stride"]))
    y = b.conv(y, _channels(conv["out_channels"]), relu=False)
    return b.add(x, y) if shortcut else y


def _channels(value: int | list[int]) -> int:
    number = int(value[0] if isinstance(value, list) else value)
    if not 1 <= number <= 65536:
        raise ValueError(f"{number} channels")
    return number


def _classifier(b: NetworkBuilder, x: str, classes: int) -> Network:
    b.block("classifier")
    return b.finish(b.conv(b.global_pool(x), classes, relu=False))


BUILT_IN = ("mobilenet_v2",)


def resolve(spec: str, width: float = 1.0, resolution: int = 224) -> Network:
    """The network a user names: a built-in, an MCUNet / OFA description (.json), or a model file (.onnx, .tflite,
    .npz).

    `width` and `resolution` are for built-ins. Raises UserError for anything else.
    """
    if spec in BUILT_IN:
        return mobilenet_v2(width, resolution)
    suffix = Path(spec).suffix.lower()
    if suffix == ".json":
        return from_json(spec)
    if suffix in (".onnx", ".tflite", ".npz"):
        from patchline.network.importers import load_network  # the importers bring onnx and flatbuffers

        return load_network(spec)
    raise UserError(
        f"network '{spec}' is not known; give one of {', '.join(BUILT_IN)}, an MCUNet / OFA description (.json), "
        "or an int8 model (.onnx, .tflite)"
    )
