"""A `Network` as one .npz file: a JSON header (`network`) and the arrays it refers to by key. Nothing is unpickled."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from patchline import files
from patchline.errors import UserError
from patchline.network import ir, validate
from patchline.network.contract import InputContract

VERSION = 1
OPS: dict[str, type[ir.Op]] = {
    cls.__name__: cls
    for cls in (
        ir.Conv, ir.Depthwise, ir.Add, ir.Mul, ir.Pool, ir.GlobalPool, ir.Lookup, ir.Concat, ir.Upsample,
        ir.Resize, ir.Pad, ir.Softmax,
    )
}  # fmt: skip


def save(network: ir.Network, path: str | Path) -> None:
    """Write `network` to `path` in one step. The bytes depend on the network alone (no times, no paths)."""
    files.write_bytes(path, to_bytes(network))


def load(path: str | Path) -> ir.Network:
    """The network in `path`. Raises UserError when the file is missing, damaged or of another version."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the network {path}: {error.strerror}") from error
    try:
        return from_bytes(content)
    except Exception as error:  # numpy's parser of a damaged header may raise nearly anything
        raise UserError(f"{path} is not a Patchline network or is damaged ({error}): make it again") from error


def to_bytes(network: ir.Network) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    header = {
        "version": VERSION,
        "name": network.name,
        "input": network.input,
        "outputs": list(network.outputs),
        "contract": network.contract.to_dict(),
        "tensors": [[t.name, *t.shape, t.scale, t.zero_point] for t in network.tensors.values()],
        "ops": [_op_header(op, f"{i}", arrays) for i, op in enumerate(network.ops)],
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, "network", np.frombuffer(json.dumps(header).encode(), dtype=np.uint8))
        for key, array in arrays.items():
            _write(archive, key, array)
    return stream.getvalue()


def from_bytes(content: bytes) -> ir.Network:
    """The inverse of `to_bytes`. Content that is anything else raises whatever the reader stumbles over."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        header = json.loads(arrays["network"].tobytes())
        if header["version"] != VERSION:
            raise ValueError(f"format version {header['version']}, this Patchline reads {VERSION}")
        network = ir.Network(
            str(header["name"]),
            header["input"],
            tuple(header["outputs"]),
            {t[0]: ir.Tensor(*t) for t in header["tensors"]},
            tuple(_op(values, arrays) for values in header["ops"]),
            # files of older versions have none: it is guessed from the tensor, as it was when they were written
            InputContract.from_dict(header["contract"]) if "contract" in header else None,
        )
    validate.check(network)
    return network


def _write(archive: zipfile.ZipFile, key: str, array: np.ndarray) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    # a fixed date: numpy.savez would store the time of day and change the file's hash
    archive.writestr(zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0)), stream.getvalue(), zipfile.ZIP_DEFLATED)


def _op_header(op: ir.Op, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    values = {f.name: _value(getattr(op, f.name), f"{key}.{f.name}", arrays) for f in fields(op)}
    return {"op": type(op).__name__, **values}


def _value(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON form of a field; arrays are put aside under `key`."""
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
    if isinstance(value, ir.Requant):
        return {
            "rule": value.rule,
            "multipliers": _value(value.multipliers, f"{key}.multipliers", arrays),
            "shifts": _value(value.shifts, f"{key}.shifts", arrays),
        }
    if isinstance(value, tuple):
        return [_value(item, f"{key}.{i}", arrays) for i, item in enumerate(value)]
    return int(value) if isinstance(value, (int, np.integer)) else value


def _op(values: dict[str, Any], arrays: Any) -> ir.Op:
    cls = OPS[values["op"]]
    known = {f.name for f in fields(cls)}
    return cls(**{name: _field(value, arrays) for name, value in values.items() if name in known})


def _field(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return tuple(_field(item, arrays) for item in value)
    if isinstance(value, dict) and "array" in value:
        return np.ascontiguousarray(arrays[value["array"]])
    if isinstance(value, dict):
        return ir.Requant(_field(value["multipliers"], arrays), _field(value["shifts"], arrays), value["rule"])
    return value
