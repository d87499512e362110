"""Training of the supernet: the sandwich rule with in-place distillation (BigNAS, arXiv 2003.11142)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchline.config import TrainSupernetParams
from patchline.data.parts import part
from patchline.data.prepared import Manifest, Split
from patchline.errors import UserError
from patchline.progress import track
from patchline.supernet import checkpoint
from patchline.supernet.architecture import Architecture
from patchline.supernet.evaluate import accuracy, recalibrate
from patchline.supernet.extract import extract
from patchline.supernet.images import batch_indices, mirrored, passes, to_input
from patchline.supernet.model import Supernet
from patchline.supernet.space import SPACES, Space
from patchline.supernet.workers import Workers

WARM_UP_STEPS = 100
TEACHER_SHARE = 0.5  # of a smaller network's loss; the rest are the labels, for the teacher itself has just begun
ROWS_EVERY_STEPS = 25
CHECKPOINT_SECONDS = 60.0
RECALIBRATION_IMAGES = 1024
AUTO_STEPS = 1500  # of `epochs: auto`
MAX_JUDGED = 20  # epochs after which the networks are judged: where data are few, passes are short and many
NOT_TRAINING = ("__init__.py", "store.py")  # files of this package that cannot change what training makes


@dataclass
class History:
    """What training reports: a row of averages every few steps and one per epoch that is judged."""

    steps: list[dict[str, float]] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def train_supernet(
    params: TrainSupernetParams,
    seed: int,
    classes: int,
    train: Split,
    val: Split,
    checkpoints: Path,
    workers: Workers | None = None,
    space: Space | None = None,
    after_step: Callable[[int], None] | None = None,
) -> tuple[Supernet, History]:
    """Train the supernet of `params.space` (or of a given `space`) from `seed`.

    Goes on from the state in the folder `checkpoints` when there is one: the result is that of an uninterrupted run.
    Everything random depends on (seed, step) only. Raises FloatingPointError when the loss is no longer finite.
    """
    workers = workers or Workers()
    torch.manual_seed(seed)
    net = Supernet(space or SPACES[params.space], classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = list(net.parameters())
    optimiser = _optimiser(parameters, params)
    steps_per_epoch = len(batch_indices(len(train.images), params.batch_size, seed, 0))
    epochs = passes(params.epochs, len(train.images), params.batch_size, AUTO_STEPS)
    total, judged_every = steps_per_epoch * epochs, math.ceil(epochs / MAX_JUDGED)
    history, first = History(), 0
    if (state := checkpoint.load(checkpoints)) is not None:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        history, first = History(**state["history"]), state["step"]

    def save(step: int) -> None:
        if workers.leads:
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoint.save(checkpoints, {**state, "step": step, "history": asdict(history)})

    sums: list[dict[str, float]] = []
    clock = saved = time.monotonic()
    steps = range(first, total)
    for step in track(steps, "training the supernet", len(steps)) if workers.leads and steps else steps:
        epoch, position = divmod(step, steps_per_epoch)
        order = batch_indices(len(train.images), params.batch_size, seed, epoch)[position]
        rng = np.random.default_rng([seed, 1, step])
        resolution = int(rng.choice(net.space.resolutions))
        x = mirrored(to_input(train.images[order], resolution), rng)[workers.rank :: workers.count]
        y = torch.from_numpy(train.labels[order])[workers.rank :: workers.count]
        others = [net.space.sample(rng, classes, resolution) for _ in range(params.random_subnets)]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(params.learning_rate, step, total)
        optimiser.zero_grad(set_to_none=True)
        row = sandwich(net, x, y, others)
        if not all(math.isfinite(value) for value in row.values()):
            raise UserError(
                f"training the supernet diverged at step {step} (the loss is not a finite number): "
                f"lower train_supernet.learning_rate, which is {params.learning_rate:g}"
            )
        workers.average_gradients(parameters)
        optimiser.step()
        sums.append(row)
        if (step + 1) % ROWS_EVERY_STEPS == 0 or step + 1 == total:
            history.steps.append({"step": step + 1, **_average(sums)})
            sums.clear()
        now = time.monotonic()
        history.seconds, clock = history.seconds + now - clock, now
        if (step + 1) % steps_per_epoch == 0:
            if workers.leads and ((epoch + 1) % judged_every == 0 or step + 1 == total):
                history.epochs.append({"epoch": epoch + 1, **judge(net, train, val)})
            workers.wait()
        # never amid the steps of a row: what they add up to is not in a checkpoint
        if not sums and ((step + 1) % steps_per_epoch == 0 or now - saved > CHECKPOINT_SECONDS):
            save(step + 1)
            saved = now
        if after_step:
            after_step(step + 1)
    return net, history


def checkpoint_folder(root: Path, params: TrainSupernetParams, seed: int, manifest: Manifest) -> Path:
    """Where a run with these parameters, this data and this code keeps its state."""
    code = [path for path in Path(__file__).parent.glob("*.py") if path.name not in NOT_TRAINING]
    data = {name: manifest.hashes[name] for name in ("train", "val")}
    return root / checkpoint.run_key([params.model_dump(), seed], data, *code)


def sandwich(net: Supernet, x: Tensor, y: Tensor, others: list[Architecture]) -> dict[str, float]:
    """Add the gradients of one step: the largest network learns the labels, smaller ones learn its answers as well.

    Largest and smallest are taken at the resolution of `x`. Returns the losses and accuracies of the batch: `loss`
    and `accuracy` are those of the largest.
    """
    resolution = x.shape[2]
    logits = net(x, net.space.largest(net.classes, resolution))
    loss = F.cross_entropy(logits, y)
    loss.backward()
    teacher = logits.detach()
    row = {"loss": loss.item(), "accuracy": _share_right(teacher, y)}
    answers = teacher.softmax(1)
    smallest = net.space.smallest(net.classes, resolution)
    for name, arch in (("smallest", smallest), *(("random", arch) for arch in others)):
        logits = net(x, arch)
        loss = TEACHER_SHARE * F.cross_entropy(logits, answers) + (1 - TEACHER_SHARE) * F.cross_entropy(logits, y)
        loss.backward()
        row[f"loss_{name}"] = loss.item()
        row[f"accuracy_{name}"] = _share_right(logits.detach(), y)
    return row


def learning_rate(peak: float, step: int, total: int) -> float:
    """Linear warm-up, then a cosine down to zero."""
    warm_up = min(WARM_UP_STEPS, max(1, total // 5))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def judge(net: Supernet, train: Split, val: Split) -> dict[str, float]:
    """Validation accuracy of the largest and the smallest network, after recalibration."""
    result = {}
    images = part(train, RECALIBRATION_IMAGES).images
    for name, arch in (("largest", net.space.largest(net.classes)), ("smallest", net.space.smallest(net.classes))):
        static = extract(net, arch)
        recalibrate(static, images)
        result[f"accuracy_{name}"] = accuracy(static, val.images, val.labels)
    return result


def _optimiser(parameters: list[nn.Parameter], params: TrainSupernetParams) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},  # normalisation and bias
    ]
    return torch.optim.AdamW(groups, lr=params.learning_rate)


def _share_right(logits: Tensor, y: Tensor) -> float:
    return float((logits.argmax(1) == y).float().mean())


def _average(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
