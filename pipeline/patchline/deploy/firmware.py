"""From a logged model to a firmware that has passed its self-test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchline.deploy.config import DeployConfig
from patchline.deploy.errors import DeploymentError
from patchline.errors import UserError
from patchline.files import write_text
from patchline.hil import bench
from patchline.hil.cases import Case
from patchline.network import serialize
from patchline.network.ir import Network
from patchline.schedule.plan import load_plan
from patchline.targets import Target

ELF, PLAN, NETWORK = "firmware.elf", "plan.json", "network.npz"


@dataclass(frozen=True)
class Model:
    """A downloaded MLflow model.

    `target` is the board whose firmware it brings ("" for none).
    """

    folder: Path
    network: Network
    target: str
    classes: tuple[str, ...] = ()


def download(model_uri: str, folder: Path) -> Model:
    """Fetch `model_uri` into `folder`. DeploymentError when there is no such model, or one that cannot be compiled."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        path = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DeploymentError(
            f"model '{model_uri}' cannot be fetched from {mlflow.get_tracking_uri()}: {reason}"
        ) from None
    if not (path / "MLmodel").is_file():
        raise DeploymentError(f"'{model_uri}' is not an MLflow model (it has no MLmodel file)")
    metadata = _yaml(path / "MLmodel").get("metadata") or {}
    extra = path / "extra_files"
    return Model(
        folder=path,
        network=serialize.load(extra / NETWORK) if (extra / NETWORK).is_file() else _import(model_uri, path),
        target=str(metadata.get("target", "")) if (extra / ELF).is_file() and (extra / PLAN).is_file() else "",
        classes=tuple(str(name) for name in metadata.get("classes") or ()),
    )


def _yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return dict(YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {})


def _import(model_uri: str, path: Path) -> Network:
    """The network of an ONNX model that was not logged by Patchline."""
    from patchline.network.importers import load_network

    onnx_files = sorted(path.glob("*.onnx"))
    if not onnx_files:
        raise DeploymentError(f"'{model_uri}' holds no ONNX model: log one with `patchline track` or mlflow.onnx")
    try:
        return load_network(onnx_files[0])
    except UserError as error:
        raise DeploymentError(f"'{model_uri}' cannot be compiled: {error}") from None


def lay_down(model: Model, target: Target, config: DeployConfig, folder: Path) -> str:
    """Put firmware, plan and network into `folder`: those the model brings, or new ones. Returns "taken" or "built"."""
    folder.mkdir(parents=True, exist_ok=True)
    serialize.save(model.network, folder / NETWORK)
    if model.target == target.name and not config.rebuild:
        for name in (ELF, PLAN):
            shutil.copyfile(model.folder / "extra_files" / name, folder / name)
        return "taken"
    _build(model.network, target, config, folder)
    return "built"


def _build(network: Network, target: Target, config: DeployConfig, folder: Path) -> None:
    from patchline.build import compile_folder
    from patchline.codegen import generate
    from patchline.schedule import solve

    solution = solve(
        network,
        target,
        kind=config.schedule,  # type: ignore[arg-type]
        input_mode=config.input,  # type: ignore[arg-type]
        max_extra_macs=config.max_extra_macs,
        sram_budget=config.sram_budget,
    )
    plan = solution.plan
    if not plan.fits:
        raise DeploymentError(f"the network does not fit {target.name}: {solution.why_not('max_extra_macs')}")
    source = generate(network, plan, target, folder / "source")
    shutil.copyfile(compile_folder(source), folder / ELF)
    shutil.rmtree(source)
    write_text(folder / PLAN, plan.to_json())


def run(folder: Path, target: Target, images: np.ndarray, emulator: str) -> bench.Result:
    """Run int8 images [N, H, W, C] on the firmware in `folder`; every output is held against the reference.

    Raises RunError when the firmware faults, hangs, or computes anything else than the reference.
    """
    network, plan = serialize.load(folder / NETWORK), load_plan(folder / PLAN)
    case = Case(folder / ELF, target, network, plan, target.name)
    return bench.run(case, images, emulator=emulator, traced_images=1)


def self_test(folder: Path, target: Target, config: DeployConfig) -> bench.Result:
    """Random images (always the same) through the firmware: its outputs, sizes and stack are checked."""
    shape = serialize.load(folder / NETWORK)
    size = shape.tensors[shape.input].shape
    images = np.random.default_rng(0).integers(-128, 128, (config.self_test_images, *size)).astype(np.int8)
    return run(folder, target, images, config.emulator)
