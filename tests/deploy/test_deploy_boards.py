"""Deployments for real: firmware from a logged model, on the emulated board, through MLflow's interface."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchline import targets
from patchline.deploy import firmware
from patchline.deploy.config import DeployConfig
from patchline.deploy.errors import DeploymentError
from patchline.network import reference, serialize
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.network.resize import taking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc"),
]

BOARD = "patchline:/stm32f412"


def tiny(seed: int) -> Network:
    b = NetworkBuilder(16, 16, 3, seed=seed, name="tiny")
    x = b.conv("input", 8, 3, 2)
    x = b.mbconv(x, 8, 3, 1, 2)
    b.conv(b.global_pool(x), 3, 1)
    return taking(b.finish(), 32, 32)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two models in a store: one with its firmware, one whose firmware is of another network."""
    import mlflow
    import onnx
    from onnx import TensorProto, helper

    root = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{root}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    made = root / "firmware"
    network = tiny(0)
    firmware.lay_down(firmware.Model(root, network, ""), targets.load("stm32f412"), DeployConfig(), made)
    wrong = root / "wrong"
    shutil.copytree(made, wrong)
    serialize.save(tiny(1), wrong / firmware.NETWORK)
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 1, 1])
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["image"], ["logits"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    experiment = mlflow.create_experiment("e", artifact_location=(root / "artifacts").as_uri())
    found = {"uri": uri}
    with mlflow.start_run(experiment_id=experiment):
        for name, folder in (("good", made), ("wrong", wrong)):
            info = mlflow.onnx.log_model(
                model,
                name=name,
                pip_requirements=["onnx"],
                save_as_external_data=False,
                extra_files=[(folder / file).as_uri() for file in (firmware.ELF, firmware.PLAN, firmware.NETWORK)],
                metadata={"target": "stm32f412", "classes": ["cat", "dog", "bird"], "resolution": 32},
                registered_model_name=f"m-{name}",
            )
            found[name] = info.model_uri
    mlflow.set_tracking_uri(None)  # it outlives this module, and other tests name their store by the environment
    return found


@pytest.fixture
def home(tmp_path: Path, logged: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged["uri"])
    return tmp_path


def test_a_deployment_lives_from_create_to_delete(home: Path) -> None:
    from mlflow.deployments import get_deploy_client

    client = get_deploy_client(BOARD)
    record = client.create_deployment("door-cam", "models:/m-good/1", config={"emulator": "unicorn"})
    assert (record["firmware"], record["self_test"]) == ("taken", "passed: 2 images, bit-exact on unicorn")
    assert record["sram_peak_bytes"] > 0
    assert [d["name"] for d in client.list_deployments()] == ["door-cam"]
    assert client.get_deployment("door-cam") == record
    with pytest.raises(DeploymentError, match="exists on stm32f412 already"):
        client.create_deployment("door-cam", "models:/m-good/1")

    images = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    result = client.predict("door-cam", images)
    network = tiny(0)
    outputs = reference.run_batch(network, network.contract.values_of(images))[network.outputs[0]].reshape(3, -1)
    assert result["class"].tolist() == outputs.argmax(axis=1).tolist()
    assert set(result["label"]) <= {"cat", "dog", "bird"}
    assert (result["latency_ms_est"] > 0).all()

    updated = client.update_deployment("door-cam", config={"rebuild": "true", "schedule": "layer"})
    assert updated["firmware"] == "built"
    assert updated["config"]["emulator"] == "unicorn"  # what was said before stays
    client.delete_deployment("door-cam")
    assert client.list_deployments() == []
    assert [p.name for p in (home / ".patchline/deployments/stm32f412").iterdir()] == []


def test_a_firmware_that_computes_something_else_is_not_kept(home: Path) -> None:
    from mlflow.deployments import get_deploy_client

    client = get_deploy_client(BOARD)
    with pytest.raises(DeploymentError, match="computes other values than the reference"):
        client.create_deployment("door-cam", "models:/m-wrong/1", config={"emulator": "unicorn"})
    assert client.list_deployments() == []


def test_a_local_run_keeps_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow.deployments import run_local

    run_local(BOARD, "try", "models:/m-good/1", config={"emulator": "unicorn"})
    said = capsys.readouterr().out
    assert "target: stm32f412" in said  # the model's own board
    assert "self_test: passed" in said
    assert not list(home.iterdir())


def mlflow_command(*args: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("mlflow")
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(
        [program, "deployments", *args], capture_output=True, text=True, timeout=300, check=False, env=env
    )


@pytest.mark.timeout(600)  # every command imports MLflow, and the emulators' processes do so again
def test_the_command_line(home: Path) -> None:
    target = ("-t", "patchline:/stm32f746")
    made = mlflow_command("create", *target, "--name", "cam", "-m", "models:/m-good/1", "-C", "emulator=unicorn")
    assert "patchline deployment cam is created" in made.stdout, made.stderr
    (home / "in.json").write_text(json.dumps({"image": [np.zeros((32, 32, 3), int).tolist()]}))
    predicted = mlflow_command("predict", *target, "--name", "cam", "-I", "in.json")
    assert "latency_ms_est" in json.loads(predicted.stdout.splitlines()[-1]), predicted.stderr
    bad = mlflow_command("create", *target, "--name", "cam", "-m", "models:/nothing/1")
    assert bad.returncode == 1
    assert "Traceback" not in bad.stderr
    assert "exists on stm32f746 already" in bad.stderr.strip().splitlines()[-1]
