"""A finished pipeline in miniature, made by hand: the files that the stages leave, for two boards."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from patchline.files import hash_file, write_json, write_text
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule.plan import Buffer, Flash, Plan, Segment, Sram
from patchline.tracking import runs

TARGETS = ("stm32f412", "stm32f746")
STREAMED = 6  # operators of the first segment


def small_network() -> Network:
    b = NetworkBuilder(64, 64, 3, seed=0, name="small")
    b.block("stem")
    x = b.conv("input", 8, 3, 2)
    for i, (channels, stride, expand) in enumerate([(8, 1, 1), (16, 2, 3), (16, 1, 3), (24, 2, 3), (24, 1, 3)]):
        b.block(f"block{i + 1}")
        x = b.mbconv(x, channels, 3, stride, expand)
    b.block("head")
    b.conv(b.global_pool(x), 2, 1)
    return b.finish()


def small_plan(network: Network, target: str) -> Plan:
    """A plan with plausible lifetimes: the first operators stream in line buffers, the rest runs layer by layer."""
    sizes = [network.tensors[op.output].bytes for op in network.ops]
    inputs = [sum(network.tensors[t].bytes for t in op.inputs) for op in network.ops]
    layer = [a + b for a, b in zip(sizes, inputs, strict=True)]
    buffers, offset = [Buffer("input", "input", 3 * 192, 0, 0, STREAMED, 3, 64, 3)], 576
    for i, op in enumerate(network.ops[:STREAMED]):
        t = network.tensors[op.output]
        last = i == STREAMED - 1
        size = t.bytes if last else 3 * t.width * t.channels
        buffers.append(Buffer(t.name, "tensor" if last else "ring", size, offset, 0, STREAMED, 3, t.width, t.channels))
        offset += size
    for i, op in enumerate(network.ops[STREAMED:], start=STREAMED):
        place = 0 if (i - STREAMED) % 2 == 0 else 16384
        buffers.append(Buffer(op.output, "tensor", sizes[i], place, i, min(i + 1, len(sizes) - 1)))
    now = [sum(b.bytes for b in buffers if b.first_op <= i <= b.last_op) for i in range(len(sizes))]
    arena = max(b.offset + b.bytes for b in buffers)
    steps = tuple(pairwise(range(STREAMED, len(sizes) + 1)))
    return Plan(
        network=network.name, target=target, input_mode="pulled", input_passes=1.0, input_bytes_read=12288,
        segments=(
            Segment("stream", 0, STREAMED, ((0, STREAMED),), 1, 1, (), (1,) * STREAMED),
            Segment("layer", STREAMED, len(sizes), steps, 1, 1, (), (1,) * (len(sizes) - STREAMED)),
        ),
        buffers=tuple(buffers), arena_bytes=arena, arena_lower_bound_bytes=max(now), activation_peak_bytes=max(now),
        sram=Sram(max(now), arena - max(now), 1024, 2048), flash=Flash(20000, 2000, 9000), macs=network.macs,
        extra_macs=network.macs // 50, op_peak_bytes=tuple(now), op_peak_layer_bytes=tuple(layer),
        layer_peak_bytes=max(layer), sram_layer_by_layer_bytes=max(layer) + 3072, fits=True, reason="", overlaps=(),
    )  # fmt: skip


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_target(root: Path, target: str, accuracy: float, bit_exact: float, sram_extra: int) -> None:
    from patchline.network import serialize

    network = small_network()
    plan = small_plan(network, target)
    models, metrics, build = root / "models" / target, root / "metrics" / target, root / "build" / target
    models.mkdir(parents=True, exist_ok=True)
    serialize.save(network, models / "network.npz")
    write_text(models / "plan.json", plan.to_json())
    rows = [
        {
            "trial": i,
            "accuracy": 0.8 + i / 100,
            "sram_peak_bytes": 16000 + 3000 * i,
            "executed_macs": 10**6,
            "winner": int(i == 4),
        }
        for i in range(8)
    ]
    write_csv(models / "pareto.csv", rows)
    write_json(metrics / "search.json", {"trials": 40})
    write_json(
        metrics / "quantize.json",
        {
            "accuracy_fp32": accuracy + 0.004,
            "accuracy_int8": accuracy,
            "confusion_fp32": [[95, 5], [4, 96]],
            "confusion_int8": [[94, 6], [4, 96]],
        },
    )
    write_json(
        metrics / "generate.json",
        {
            "sram_peak_bytes": plan.sram_peak_bytes + sram_extra,
            "activation_peak_bytes": plan.activation_peak_bytes,
            "sram_layer_by_layer_bytes": plan.sram_layer_by_layer_bytes,
            "flash_bytes": plan.flash.total,
            "macs": plan.macs,
            "extra_macs_ratio": plan.extra_macs_ratio,
        },
    )
    write_json(
        metrics / "benchmark.json",
        {
            "accuracy_device": accuracy,
            "accuracy_constant": 0.5,
            "images": 200,
            "bit_exact_outputs": bit_exact,
            "instructions": 5_000_000,
            "cycles_est": 6_000_000,
            "latency_ms_est": 60.0,
            "stack_bytes": 900,
            "emulator": "unicorn",
            "confusion_device": [[94, 6], [4, 96]],
        },
    )
    per_op = [
        {"op": op.name, "block": op.block, "instructions": 1000 * (i + 1), "cycles_est": 1300 * (i + 1)}
        for i, op in enumerate(network.ops)
    ]
    write_csv(root / "plots" / target / "per_op.csv", per_op)
    build.mkdir(parents=True, exist_ok=True)
    (build / "firmware.elf").write_bytes(b"\x7fELF miniature")
    (build / "model.c").write_text("int answer = 42;\n")
    write_onnx(models / "model.onnx")


def write_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 1, 1])
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["image"], ["logits"])], "small", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def write_lock(root: Path) -> None:
    """dvc.lock over the files as they are, as DVC would write it."""
    params = YAML(typ="safe").load((root / "params.yaml").read_text())
    stages: dict[str, Any] = {
        "prepare": {
            "cmd": "python stages/prepare.py",
            "deps": [{"path": "data/raw", "hash": "md5", "md5": "0123456789abcdef.dir", "size": 9, "nfiles": 2}],
            "outs": [
                {"path": "data/prepared", "md5": "fedcba9876543210fedcba9876543210.dir"},
                {"path": "metrics/prepare.json", "md5": hash_file(root / "metrics/prepare.json", "md5")},
            ],
        }
    }
    for target in params["targets"]:
        budget = params["search"]["sram_budget"]
        stages[f"search@{target}"] = {"cmd": "search", "params": {"params.yaml": {"search.sram_budget": budget}}}
        for stage in ("search", "quantize", "generate", "benchmark"):
            path = f"metrics/{target}/{stage}.json"
            entry = stages.setdefault(f"{stage}@{target}", {"cmd": stage})
            entry["outs"] = [{"path": path, "hash": "md5", "md5": hash_file(root / path, "md5")}]
    with (root / "dvc.lock").open("w") as stream:
        YAML(typ="safe").dump({"schema": "2.0", "stages": stages}, stream)


def write_results(
    root: Path, targets: tuple[str, ...], accuracy: float, bit_exact: float, sram_extra: int, test_hash: str
) -> None:
    """What the stages leave, without params.yaml and dvc.lock."""
    manifest = {
        "name": "scenes", "classes": ["no bag", "bag"], "counts": {"train": 800, "val": 100, "test": 200},
        "hashes": {"train": "a", "val": "b", "test": test_hash}, "composed": True, "licence": "MIT", "resolution": 32,
        "description": "scenes composed from garments",
    }  # fmt: skip
    write_json(root / "data/prepared/manifest.json", manifest)
    write_json(root / "metrics/prepare.json", {"images_train": 800, "classes": 2})
    curve = [{"step": i * 10, "loss": 1.5 / (1 + i), "accuracy": 0.5} for i in range(20)]
    write_csv(root / "plots/train_supernet.csv", curve)
    for target in targets:
        write_target(root, target, accuracy, bit_exact, sram_extra)


def write_project(
    root: Path,
    *,
    targets: tuple[str, ...] = TARGETS,
    accuracy: float = 0.91,
    bit_exact: float = 1.0,
    sram_extra: int = 0,
    budget: str = "32KB",
    test_hash: str = "t0",
    images: int | None = None,
) -> Path:
    """Lay down (or change) a finished pipeline below `root`."""
    write_text(
        root / "params.yaml",
        f"project: scenes\ntargets: [{', '.join(targets)}]\nsearch: {{sram_budget: {budget}, max_macs: 8M}}\n"
        f"benchmark: {{images: {'null' if images is None else images}}}\n",
    )
    write_text(root / "dvc.yaml", "stages: {}\n")
    write_results(root, targets, accuracy, bit_exact, sram_extra, test_hash)
    write_lock(root)
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A finished pipeline in a git repository."""
    write_project(tmp_path)
    for args in (("init", "-q"), ("add", "params.yaml"), ("commit", "-q", "-m", "start")):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *identity, *args], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
def change() -> Callable[..., Path]:
    """`write_project`, to change the results of a project."""
    return write_project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with accuracy 0.91 that is tracked once; to be copied, not changed."""
    root = write_project(tmp_path_factory.mktemp("tracked"))
    runs.track(root)
    return root


@pytest.fixture
def tracked(template: Path, tmp_path: Path) -> Path:
    """A project of its own with a copy of the template's store."""
    shutil.copytree(template, tmp_path / "p")
    return tmp_path / "p"
