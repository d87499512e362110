"""Training: it learns, it goes on after a kill with the same result, and it runs on two processes."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchline.config import TrainSupernetParams
from patchline.supernet import Supernet, checkpoint
from patchline.supernet.images import batch_indices, passes
from patchline.supernet.train import AUTO_STEPS, learning_rate, train_supernet
from tiny import TINY, split

PARAMS = TrainSupernetParams(epochs=2, batch_size=16, learning_rate=0.01)


def _train(folder: Path, **more) -> tuple[Supernet, object]:
    return train_supernet(PARAMS, 1, 2, split(96), split(32, seed=1), folder, space=TINY, **more)


def _same(a: Supernet, b: Supernet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_and_the_seed_decides(tmp_path) -> None:
    net, history = _train(tmp_path / "a")
    assert history.epochs[-1]["accuracy_largest"] > 0.9
    assert history.epochs[-1]["accuracy_smallest"] > 0.7
    assert [row["step"] for row in history.steps] == [12]
    again, _ = _train(tmp_path / "b")
    assert _same(net, again)


@pytest.mark.parametrize(("stop", "row"), [(4, 2), (6, 2), (9, 2), (8, 4)])
def test_an_interrupted_run_ends_with_the_same_result(tmp_path, monkeypatch, stop: int, row: int) -> None:
    """Six steps an epoch: in the last case a row goes over the end of the first."""
    monkeypatch.setattr("patchline.supernet.train.CHECKPOINT_SECONDS", 0.0 if row == 2 else 1e9)
    monkeypatch.setattr("patchline.supernet.train.ROWS_EVERY_STEPS", row)
    net, history = _train(tmp_path / "whole")

    def interrupt(step: int) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", after_step=interrupt)
    steps: list[int] = []
    resumed, resumed_history = _train(tmp_path / "cut", after_step=steps.append)
    assert steps[0] > (stop - 2 if row == 2 else 0), "it must not begin again"
    assert _same(net, resumed)
    assert (history.steps, history.epochs) == (resumed_history.steps, resumed_history.epochs)


def test_few_images_are_passed_over_more_often(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("patchline.supernet.train.AUTO_STEPS", 70)
    auto = PARAMS.model_copy(update={"epochs": "auto"})
    _, history = train_supernet(auto, 1, 2, split(32), split(32, seed=1), tmp_path, space=TINY)
    assert history.steps[-1]["step"] == 70  # two steps an epoch
    assert history.epochs[-1]["epoch"] == 35
    assert len(history.epochs) <= 20  # a pass over few images is no event


@given(st.integers(1, 100_000), st.integers(1, 512), st.integers(1, 3000))
def test_auto_takes_the_fewest_passes_that_make_the_steps(images: int, batch_size: int, steps: int) -> None:
    a_pass = len(batch_indices(images, batch_size, 1, 0))
    epochs = passes("auto", images, batch_size, steps)
    assert (epochs - 1) * a_pass < steps <= epochs * a_pass
    assert passes(7, images, batch_size, steps) == 7


def test_the_default_takes_three_passes_over_the_scenes() -> None:
    assert passes("auto", 24_000, 48, AUTO_STEPS) == 3


def test_a_killed_process_resumes(tmp_path) -> None:
    """kill -9 while training: the state on disk is whole, and the next run ends as if nothing had happened."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from tiny import TINY, split
        from patchline.config import TrainSupernetParams
        from patchline.supernet import train
        train.CHECKPOINT_SECONDS, train.ROWS_EVERY_STEPS = 0.0, 1
        def kill(step):
            if step == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        params = TrainSupernetParams(epochs=2, batch_size=16, learning_rate=0.01)
        train.train_supernet(params, 1, 2, split(96), split(32, seed=1), Path(sys.argv[1]), space=TINY, after_step=kill)
    """)
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path / "cut")], env=_environment(), timeout=60)
    assert result.returncode == -9
    state = checkpoint.load(tmp_path / "cut")
    assert state is not None and state["step"] == 5
    resumed, _ = _train(tmp_path / "cut")
    net, _ = _train(tmp_path / "whole")
    assert _same(net, resumed)


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["alone", "torchrun"])
def test_two_processes_share_the_work(tmp_path, launcher) -> None:
    """Same code path, both processes end with the same weights, only the first writes."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from pathlib import Path
        import torch
        from tiny import TINY, split
        from patchline.config import TrainSupernetParams
        from patchline.supernet.train import train_supernet
        from patchline.supernet.workers import joined_workers
        params = TrainSupernetParams(epochs=2, batch_size=16, learning_rate=0.01)
        folder = Path(sys.argv[1])
        with joined_workers(2) as workers:
            assert workers.count == 2
            net, history = train_supernet(
                params, 1, 2, split(96), split(32, seed=1), folder / "state", workers, space=TINY
            )
            torch.save(net.state_dict(), folder / f"{workers.rank}.pt")
            assert bool(history.epochs) == workers.leads
            workers.wait()
    """)
    )
    subprocess.run([sys.executable, *launcher, str(script), str(tmp_path)], env=_environment(), check=True, timeout=120)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    state = checkpoint.load(tmp_path / "state")
    assert state is not None and state["history"]["epochs"][-1]["accuracy_largest"] > 0.8


LONG = """
import os, sys, time
from pathlib import Path
from patchline.errors import run_main, UserError
from patchline.supernet.workers import joined_workers

def main():
    with joined_workers(2) as workers:
        Path(sys.argv[1], f"{workers.rank}.pid").write_text(str(os.getpid()))
        if sys.argv[2] == "fail" and not workers.leads:
            sys.exit("the disk is full")
        if sys.argv[2] == "fail":
            workers.wait()
        time.sleep(60)

run_main(main)
"""


def _ids(folder: Path) -> list[int]:
    """Process numbers of both workers, once they are there."""
    deadline = time.monotonic() + 60
    files = [folder / "0.pid", folder / "1.pid"]
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return [int(file.read_text()) for file in files]


def test_no_process_outlives_one_that_was_killed(tmp_path) -> None:
    (tmp_path / "run.py").write_text(LONG)
    leader = subprocess.Popen([sys.executable, tmp_path / "run.py", tmp_path, "wait"], env=_environment())
    first, second = _ids(tmp_path)
    assert first == leader.pid
    leader.kill()
    leader.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{second}").exists():
        assert time.monotonic() < deadline, "the second process goes on alone"
        time.sleep(0.1)


def test_a_process_that_fails_is_one_clear_message(tmp_path) -> None:
    (tmp_path / "run.py").write_text(LONG)
    command = [sys.executable, tmp_path / "run.py", tmp_path, "fail"]
    result = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "another process of the training failed" in result.stderr and "the disk is full" in result.stderr


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [learning_rate(0.1, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.001) and max(rates) == pytest.approx(0.1)
    assert rates[-1] < 1e-6


def test_the_key_of_a_run_follows_settings_data_and_code(tmp_path) -> None:
    code = tmp_path / "model.py"
    code.write_text("a = 1\n")
    key = checkpoint.run_key({"epochs": 1}, {"train": "x"}, code)
    assert key == checkpoint.run_key({"epochs": 1}, {"train": "x"}, code)
    assert key != checkpoint.run_key({"epochs": 2}, {"train": "x"}, code)
    assert key != checkpoint.run_key({"epochs": 1}, {"train": "y"}, code)
    code.write_text("a = 2\n")
    assert key != checkpoint.run_key({"epochs": 1}, {"train": "x"}, code)


def test_old_checkpoints_go(tmp_path) -> None:
    for number in range(6):
        checkpoint.save(tmp_path / f"run{number}", {"step": number})
        os.utime(tmp_path / f"run{number}", (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run3", "run4", "run5"]


def _environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "pipeline")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
