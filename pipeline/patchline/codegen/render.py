"""Fills the Jinja2 templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from numpy.typing import NDArray

import patchline
from patchline import cores
from patchline.codegen.operators import Array, lower
from patchline.codegen.tables import Tables
from patchline.network.contract import FITS
from patchline.network.ir import Int8Array, Network
from patchline.schedule.plan import Plan
from patchline.targets import Target

if TYPE_CHECKING:
    from patchline.codegen.generate import Golden

UART_DRIVERS = {"stm32f4": "uart_stm32f4", "stm32f7": "uart_stm32f7", "cmsdk": "uart_cmsdk"}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("patchline.codegen"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters["comment"] = _comment
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(version=patchline.__version__, **values)


def model_c(network: Network, tables: Tables, prefix: str, golden: Sequence[Golden]) -> str:
    """<prefix>.c: weights in kernel order and the tables of the plan."""
    arrays: list[dict[str, Any]] = []
    ops = []
    for i, op in enumerate(network.ops):
        lowered = lower(network, op)
        names = {id(array): f"op{i}_{'abcdefgh'[k] if k < 8 else k}" for k, array in enumerate(lowered.arrays)}
        arrays += [_array(names[id(array)], array) for array in lowered.arrays]
        fields = dict(lowered.fields)
        if pooled := tables.ops[i].pooled:
            fields |= {"rows": f"ranges + {pooled[0]}", "columns": f"ranges + {pooled[1]}"}
        parts = []
        for key, value in fields.items():
            if isinstance(value, list):
                items = [_braces({k: v for k, v in item.items() if k != "struct"}, names) for item in value]
                parts.append({"struct": value[0]["struct"], "name": f"op{i}_{key}", "lines": items})
                fields[key] = f"op{i}_{key}"
        ops.append(
            {
                "kernel": lowered.kernel, "struct": lowered.struct, "fields": _braces(fields, names), "parts": parts,
                "comment": _comment(op.name),
            }
        )  # fmt: skip
    contract = network.contract
    outputs = [
        {
            "tensor": index,
            "name": name,
            "zero": network.tensors[name].zero_point,
            **_decimal(network.tensors[name].scale),
        }
        for name, index in zip(network.outputs, tables.outputs, strict=True)
    ]
    vectors = [
        {"input": _numbers(image.reshape(-1), 8), "output": _numbers(_joined(expected), 8)}
        for image, expected in golden
    ]
    return _render(
        "model.c.j2", name=_comment(network.name), prefix=prefix, upper=prefix.upper(), arrays=arrays, ops=ops,
        tables=tables, outputs=outputs, golden=vectors,
        input_table=_numbers(contract.table, 4) if contract.pixels and not contract.shifts_only else "",
        ranges=_pairs(tables.ranges), steps=_pairs(tables.steps),
    )  # fmt: skip


def model_files(
    network: Network, plan: Plan, tables: Tables, prefix: str, golden: Sequence[Golden], target: Target | None
) -> dict[str, str]:
    """What goes with the model's source, by path in the firmware folder: its public header, the names under which the
    benchmark firmware knows it, Make variables, a program that calls it, and what a user must know."""
    values = {
        "name": _comment(network.name), "c_name": re.sub(r"[^A-Za-z0-9_.-]", "_", network.name), "prefix": prefix,
        "upper": prefix.upper(), "tables": tables, "input": network.tensors[network.input],
        "contract": network.contract, "fit": FITS[network.contract.fit],
        "output_bytes": sum(network.tensors[name].bytes for name in network.outputs),
        "outputs": [network.tensors[name] for name in network.outputs], "mode": plan.input_mode,
        "resident": plan.input_mode == "resident", "arena_bytes": plan.arena_bytes, "golden": golden, "target": target,
    }  # fmt: skip
    return {
        f"generated/{prefix}.h": _render("model.h.j2", **values),
        "generated/model_config.h": _render("model_config.h.j2", **values),
        "generated/model.mk": _render("model.mk.j2", **values),
        "example/main.c": _render("example.c.j2", **values),
        "README.md": _render("README.md.j2", **values),
    }


def board_config(target: Target) -> str:
    """board_config.h: clock and UART of the board."""
    return _render("board_config.h.j2", target=target, defines=cores.load(target.core).defines)


def linker_script(plan: Plan, target: Target) -> str:
    """board.ld: memories and section sizes; linking fails where something does not fit its reserve."""
    return _render(
        "board.ld.j2", target=target, stack_bytes=plan.sram.stack, static_bytes=plan.sram.static,
        arena_bytes=plan.arena_bytes, op_count=plan.segments[-1].end_op,
    )  # fmt: skip


def board_make(target: Target) -> str:
    """board.mk: compiler flags and the UART driver."""
    flags = cores.load(target.core).cpu_flags(target.fpu)
    return f"CPU_FLAGS := {flags}\nUART := {UART_DRIVERS[target.uart.kind]}\n"


def _decimal(scale: float) -> dict[str, int]:
    """`scale` as a whole number of 10^-decimals, 255 times which fits 32 bits: the firmware has no floats."""
    decimals = next((d for d in (6, 3) if 255 * scale * 10**d < 2**32), 0)
    return {"scale": min(round(scale * 10**decimals), (2**32 - 1) // 255), "decimals": decimals}


def _array(name: str, array: Array) -> dict[str, Any]:
    values = array.values
    text = _pairs((int(a), int(b)) for a, b in values) if array.ctype == "pl_scale" else _numbers(values, 4)
    return {"name": name, "ctype": array.ctype, "length": len(values), "text": text}


def _braces(fields: dict[str, Any], names: dict[int, str]) -> str:
    """A designated initialiser."""
    parts = [f".{key} = {_value(value, names)}" for key, value in fields.items()]
    return "{" + ", ".join(parts) + "}"


def _value(value: Any, names: dict[int, str]) -> str:
    if isinstance(value, Array):
        return names[id(value)]
    if isinstance(value, dict):
        return _braces(value, names)
    return value if isinstance(value, str) else str(int(value))


def _joined(outputs: Iterable[Int8Array]) -> Int8Array:
    return np.concatenate([output.reshape(-1) for output in outputs])


def _numbers(values: NDArray[Any], indent: int, per_line: int = 32) -> str:
    texts = [_int32(int(v)) for v in values]
    lines = (", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line))
    return ",\n".join(" " * indent + line for line in lines)


def _pairs(pairs: Iterable[tuple[int, int]], per_line: int = 6) -> str:
    texts = [f"{{{_int32(a)}, {_int32(b)}}}" for a, b in pairs]
    return ",\n".join("    " + ", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line))


def _int32(value: int) -> str:
    return "INT32_MIN" if value == -(2**31) else str(value)


def _comment(text: str) -> str:
    """`text` made harmless inside a C comment."""
    return re.sub(r"[^\w .:/+-]", "_", text, flags=re.ASCII).replace("*/", "_").replace("/*", "_").replace("//", "/")
