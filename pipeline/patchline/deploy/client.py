"""The client behind `mlflow deployments ... -t patchline:/<target>`.

A deployment is a folder with a firmware that passed its self-test on the emulated board. It lives in
.patchline/deployments/<target>/<name> of the project (or in $PATCHLINE_DEPLOYMENTS) and is replaced as a whole.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.deployments import BaseDeploymentClient

from patchline import targets
from patchline.deploy.config import ALLOWED, DeployConfig
from patchline.deploy.errors import DeploymentError, plain_errors
from patchline.errors import UserError
from patchline.files import read_json, write_json
from patchline.tracking import state, store

FLAVOR = "patchline"
RECORD = "deployment.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class PatchlineDeployments(BaseDeploymentClient):
    """Deployments of one board; `target_uri` is `patchline:/<target>`."""

    @plain_errors
    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        self.target = _target_of(target_uri)
        root = _project()
        self.folder = (
            Path(os.environ.get("PATCHLINE_DEPLOYMENTS") or root / ".patchline/deployments") / self.target.name
        )

    @plain_errors
    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Build (or take) the firmware of `model_uri`, run its self-test, keep it under `name`.

        Raises DeploymentError for a bad name, model or configuration, for a network that does not fit, and for a
        firmware that does not compute what the reference computes.
        """
        _refuse_endpoint(endpoint)
        _check_name(name)
        if (self.folder / name).exists():
            raise DeploymentError(
                f"deployment '{name}' exists on {self.target.name} already: update it with `mlflow deployments update`"
            )
        return self._deploy(name, model_uri, flavor, DeployConfig().updated(config))

    @plain_errors
    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploy another model or configuration under `name`; what is there stays until the new one has passed."""
        _refuse_endpoint(endpoint)
        record = self.get_deployment(name)
        known = DeployConfig(**record["config"])
        return self._deploy(name, model_uri or record["model_uri"], flavor, known.updated(config))

    @plain_errors
    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Remove `name`; one that does not exist is no error."""
        _refuse_endpoint(endpoint)
        _check_name(name)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    @plain_errors
    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        _refuse_endpoint(endpoint)
        return [read_json(path) for path in sorted(self.folder.glob(f"[!.]*/{RECORD}"))]

    @plain_errors
    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        _refuse_endpoint(endpoint)
        _check_name(name)
        path = self.folder / name / RECORD
        if not path.is_file():
            known = ", ".join(record["name"] for record in self.list_deployments()) or "none"
            raise DeploymentError(f"there is no deployment '{name}' on {self.target.name}; existing: {known}")
        return dict(read_json(path))

    @plain_errors
    def predict(self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None) -> Any:
        """Run images on the emulated device.

        `inputs` as `patchline.deploy.images.read_images` takes them. Returns a data frame: `class` (index), `label`,
        `scores` (dequantised outputs) per image, and `latency_ms_est`, the same estimate for each.
        """
        import pandas as pd

        from patchline.deploy import firmware, images
        from patchline.network import serialize

        _refuse_endpoint(endpoint)
        record = self.get_deployment(deployment_name or "")
        folder = self.folder / record["name"]
        network = serialize.load(folder / firmware.NETWORK)
        values = network.contract.values_of(images.read_images(inputs, network.contract))
        emulator = DeployConfig(**record["config"]).emulator
        result = firmware.run(folder, self.target, values, emulator)
        output = network.tensors[network.outputs[0]]
        scores = (result.outputs.astype(float) - output.zero_point) * output.scale
        best = result.outputs.argmax(axis=1)
        labels = record["classes"] or [str(i) for i in range(result.outputs.shape[1])]
        return pd.DataFrame(
            {
                "class": best,
                "label": [labels[i] for i in best],
                "scores": [[round(float(v), 6) for v in row] for row in scores],
                "latency_ms_est": round(result.latency_ms_est, 3),
            }
        )

    def _deploy(self, name: str, model_uri: str, flavor: str | None, config: DeployConfig) -> dict[str, Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=self.folder) as place:
            record = _prepare(self.target, Path(place) / "new", name, model_uri, flavor, config)
            if (self.folder / name).exists():
                (self.folder / name).rename(Path(place) / "old")
            (Path(place) / "new").rename(self.folder / name)
        return record


@plain_errors
def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Try a deployment and keep nothing: build (or take) the firmware, run its self-test, print what it measured.

    MLflow does not hand the target to this function: the board is the model's own, or config's `board`.
    """
    given = dict(config or {})
    board = given.pop("board", "")
    _check_name(name)
    _project()
    with tempfile.TemporaryDirectory(prefix="patchline-") as place:
        target = _target_of(f"patchline:/{board}") if board else None
        record = _prepare(target, Path(place) / "new", name, model_uri, flavor, DeployConfig().updated(given))
    for key in ("target", "firmware", "self_test", "sram_peak_bytes", "flash_bytes", "instructions", "latency_ms_est"):
        print(f"{key}: {record[key]}")


def target_help() -> str:
    """What `mlflow deployments help -t patchline` prints."""
    options = "\n".join(f"  -C {key}=...   {allowed}" for key, allowed in ALLOWED.items())
    return f"""Deploys models onto emulated microcontroller boards.

Target: patchline:/<board>; boards: {", ".join(targets.names())}

  mlflow deployments create  -t patchline:/stm32f746 --name door-cam -m models:/patchline-scenes-stm32f746@champion
  mlflow deployments predict -t patchline:/stm32f746 --name door-cam -I images.json

A model that `patchline track` logged brings its firmware, which is taken when the board is the same. Otherwise the
schedule is solved for the board and the firmware is built (needs gcc-arm-none-eabi). In both cases it runs on the
emulator before the deployment is kept, and every output must equal the reference.

run-local does the same and keeps nothing; MLflow does not tell it the target, so the board is the model's own, or
the one of -C board=<board>.

Config (with create, update and run-local):
{options}

Input of predict: JSON with a column "path" (JPEG or PNG files) or "image" (pixels [height][width][channels], 0..255),
for instance {{"path": ["a.jpg", "b.jpg"]}}.
"""


def _prepare(
    target: targets.Target | None, folder: Path, name: str, model_uri: str, flavor: str | None, config: DeployConfig
) -> dict[str, Any]:
    """A complete deployment in `folder`; returns its record. Without `target` the board is the model's own."""
    from patchline.deploy import firmware

    if flavor not in (None, FLAVOR, "onnx"):
        raise DeploymentError(f"flavor '{flavor}' cannot be deployed to a board; leave it out, or say onnx")
    with tempfile.TemporaryDirectory(prefix="patchline-") as place:
        model = firmware.download(model_uri, Path(place))
        if target is None:
            if not model.target:
                raise DeploymentError(f"'{model_uri}' brings no firmware: name a board with -C board=<board>")
            target = targets.load(model.target)
        origin = firmware.lay_down(model, target, config, folder)
    result = firmware.self_test(folder, target, config)
    record = {
        "name": name,
        "flavor": FLAVOR,
        "target": target.name,
        "model_uri": model_uri,
        "firmware": origin,
        "config": config.to_dict(),
        "classes": list(model.classes),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "self_test": f"passed: {result.images} images, bit-exact on {result.checked_by}",
        "sram_peak_bytes": result.sizes.sram,
        "flash_bytes": result.sizes.flash,
        "stack_bytes": result.stack_bytes,
        "instructions": result.instructions,
        "latency_ms_est": round(result.latency_ms_est, 3),
    }
    write_json(folder / RECORD, record)
    return record


def _target_of(target_uri: str) -> targets.Target:
    scheme, _, name = target_uri.partition(":")
    name = name.strip("/")
    if scheme != "patchline" or not name:
        raise DeploymentError(f"target '{target_uri}' must be patchline:/<board>; boards: {', '.join(targets.names())}")
    try:
        return targets.load(name)
    except UserError as error:
        raise DeploymentError(str(error)) from None


def _project() -> Path:
    """The project around the current folder, whose store then counts as MLflow's; else the current folder."""
    try:
        found = store.store_of(state.work_root())
    except UserError:
        return Path.cwd()
    if found.exists:
        store.select(found)
    return found.root


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise DeploymentError(f"deployment name '{name}' must be letters, digits, '.', '_' and '-', at most 63")


def _refuse_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise DeploymentError("a board has no endpoints: name the deployment instead")
