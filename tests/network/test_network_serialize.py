from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from patchline.errors import UserError
from patchline.network import fixedpoint, reference, serialize, validate
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Concat, Network, NetworkError, Pad, Requant, Softmax, Tensor


def every_operator() -> Network:
    b = NetworkBuilder(17, 15, 3, seed=3)
    x = b.conv("input", 8, 3, 2)
    x = b.mbconv(x, 8, 5, 1, 2)
    x = b.mul(x, b.lookup(b.conv(b.global_pool(x), 8, relu=False)))
    y = b.pool(b.depthwise(x, 7), "average", 3, 1, 1)
    z = b.upsample(b.pool(y, "max", 3, 2, 1))
    small = b.finish(y, z)
    t = small.tensors[y]
    extra = {
        "pad": Tensor("pad", t.height + 2, t.width + 1, t.channels, t.scale, t.zero_point),
        "cat": Tensor("cat", t.height, t.width, 2 * t.channels, t.scale, t.zero_point),
        "soft": Tensor("soft", t.height, t.width, t.channels, 1 / 256, -128),
    }
    table = np.arange(-128, 128).astype(np.int8)[::-1].copy()
    ops = (
        Pad("pad", (y,), "pad", (2, 0), -3),
        Concat("cat", (y, y), "cat", (None, table)),
        Softmax("soft", (y,), "soft", fixedpoint.softmax_exp_table(t.scale)),
    )
    return Network(
        "every", "input", (*small.outputs, "pad", "cat", "soft"), {**small.tensors, **extra}, (*small.ops, *ops)
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, Requant):
        return isinstance(b, Requant) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_round_trip_keeps_every_field_and_every_output(tmp_path: Path) -> None:
    network = every_operator()
    serialize.save(network, tmp_path / "n.npz")
    loaded = serialize.load(tmp_path / "n.npz")
    assert (loaded.name, loaded.input, loaded.outputs) == (network.name, network.input, network.outputs)
    assert loaded.tensors == network.tensors
    for a, b in zip(network.ops, loaded.ops, strict=True):
        assert type(a) is type(b)
        assert all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)), a.name
    image = np.random.default_rng(0).integers(-128, 128, (17, 15, 3)).astype(np.int8)
    for name, value in reference.run(network, image).items():
        assert np.array_equal(value, reference.run(loaded, image)[name])


def test_the_same_network_gives_the_same_bytes() -> None:
    assert serialize.to_bytes(every_operator()) == serialize.to_bytes(every_operator())


def test_damaged_and_foreign_files_are_user_errors(tmp_path: Path) -> None:
    content = serialize.to_bytes(every_operator())
    path = tmp_path / "n.npz"
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    cases = [b"", b"nonsense", content[:100], content[: len(content) // 2], (tmp_path / "other.npz").read_bytes()]
    for _ in range(30):
        broken = bytearray(content)
        for at in rng.integers(0, len(content), 3):
            broken[at] ^= 0x55
        cases.append(bytes(broken))
    refused = 0
    for case in cases:
        path.write_bytes(case)
        try:
            serialize.load(path)
        except UserError:
            refused += 1
    assert refused >= 30  # a flipped bit in a name or a date may go unnoticed, but nothing crashes
    with pytest.raises(UserError, match="cannot read"):
        serialize.load(tmp_path / "absent.npz")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", network=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="not a Patchline network"):
        serialize.load(tmp_path / "n.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"bias": np.zeros(3, np.int32)},
        {"stride": (0, 1)},
        {"pad": (9, 9)},
        {"weights": np.zeros((8, 3, 3, 4), np.int8)},
        {"requant": Requant(np.ones(8, np.int32), np.full(8, 40, np.int32))},
    ],
)
def test_inconsistent_operators_are_named(change: dict) -> None:
    network = every_operator()
    ops = (replace(network.ops[0], **change), *network.ops[1:])
    with pytest.raises(NetworkError, match="conv0"):
        validate.check(replace(network, ops=ops))
