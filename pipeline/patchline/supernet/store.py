"""Files of trained networks: plain tensors and JSON text, loadable with `weights_only=True`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from patchline.errors import UserError
from patchline.files import replacing
from patchline.supernet.architecture import Architecture
from patchline.supernet.extract import StaticNet
from patchline.supernet.model import Supernet
from patchline.supernet.space import SPACES


def save_supernet(path: str | Path, net: Supernet) -> None:
    """Write the supernet of a named space; equal weights give equal bytes."""
    _save(path, net, {"space": net.space.name, "classes": net.classes})


def load_supernet(path: str | Path) -> Supernet:
    """The supernet in `path`. Raises UserError when the file is missing or of another space than it says."""
    state, config = _load(path, "train_supernet")
    net = Supernet(SPACES[config["space"]], config["classes"])
    _fill(net, state, path, "train_supernet")
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save_static(path: str | Path, net: StaticNet) -> None:
    """Write a sub-network with its architecture."""
    _save(path, net, {"architecture": net.arch.to_dict()})


def load_static(path: str | Path) -> StaticNet:
    """The sub-network in `path`, in evaluation mode. Raises UserError when the file is missing."""
    state, config = _load(path, "search")
    net = StaticNet(Architecture.from_dict(config["architecture"]))
    _fill(net, state, path, "search")
    return net.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _save(path: str | Path, net: nn.Module, config: dict[str, Any]) -> None:
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    # through a stream: given a path, torch would write the temporary file's name into the archive
    with replacing(path) as temporary, temporary.open("wb") as stream:
        torch.save({"state_dict": state, "config": json.dumps(config, sort_keys=True)}, stream)


def _load(path: str | Path, stage: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if not Path(path).is_file():
        raise UserError(f"{path} is missing: run `dvc repro {stage}`")
    content = torch.load(path, weights_only=True)
    return content["state_dict"], json.loads(content["config"])


def _fill(net: nn.Module, state: dict[str, Any], path: str | Path, stage: str) -> None:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} was made by another version of the search space: run `dvc repro {stage}`") from error
