"""What `-C key=value` may say, typed; MLflow hands over text."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from patchline.config import parse_bytes
from patchline.deploy.errors import DeploymentError
from patchline.plugins import emulator_choices

SCHEDULES = ("auto", "layer", "patch", "stream")
INPUTS = ("pulled", "pushed", "resident")
ALLOWED = {
    "emulator": "one of " + ", ".join(emulator_choices()),
    "rebuild": "true or false",
    "schedule": "one of " + ", ".join(SCHEDULES),
    "input": "one of " + ", ".join(INPUTS),
    "sram_budget": "bytes, or text such as 48KB",
    "max_extra_macs": "a share from 0 to 1",
    "self_test_images": "a whole number from 1 to 1000",
}


@dataclass(frozen=True)
class DeployConfig:
    """How a deployment is run and, where a firmware has to be built (schedule to max_extra_macs), how it is built."""

    emulator: str = "auto"
    rebuild: bool = False  # build the firmware also where the model brings one for this board
    schedule: str = "auto"
    input: str = "pulled"
    sram_budget: int | None = None
    max_extra_macs: float = 0.10
    self_test_images: int = 2

    def updated(self, given: Mapping[str, Any] | None) -> DeployConfig:
        """This configuration with the entries of `given`. DeploymentError names a wrong key or value."""
        return replace(self, **{key: _value(key, value) for key, value in (given or {}).items()})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _value(key: str, value: Any) -> Any:
    names = [field.name for field in fields(DeployConfig)]
    if key not in names:
        close = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise DeploymentError(f"config: unknown key '{key}'; {hint}allowed: {', '.join(names)}")
    try:
        return _parse(key, value)
    except (ValueError, TypeError):
        raise DeploymentError(f"config: {key} = {value!r} is not allowed; allowed: {ALLOWED[key]}") from None


def _parse(key: str, value: Any) -> Any:
    choices = {"emulator": emulator_choices(), "schedule": SCHEDULES, "input": INPUTS}.get(key)
    if choices is not None:
        return _one_of(str(value), choices)
    if key == "rebuild":
        return _one_of(str(value).lower(), ("true", "false")) == "true"
    if key == "sram_budget":
        return None if value is None else _between(parse_bytes(int(value) if str(value).isdigit() else value), 1, 2**40)
    if key == "max_extra_macs":
        return _between(float(value), 0, 1)
    return _between(int(value), 1, 1000)


def _one_of(value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(value)
    return value


def _between(value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        raise ValueError(value)
    return value
