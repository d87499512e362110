"""params.yaml as typed, frozen models. A wrong key, type or range is one UserError before any work starts."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from patchline.errors import UserError
from patchline.files import read_yaml
from patchline.plugins import AUTO, emulator_choices, is_emulator

_BYTES = {"": 1, "B": 1, "KB": 1024, "KIB": 1024, "MB": 1024**2, "MIB": 1024**2}
_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def _with_unit(value: Any, units: dict[str, int]) -> Any:
    """`value` as a whole number when it is text such as "30KB"; anything else is left to pydantic to judge."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value, re.IGNORECASE)
    if match is None or match[2].upper() not in units:
        return value
    number = float(match[1]) * units[match[2].upper()]
    return int(number) if number == int(number) else value


def parse_bytes(value: Any) -> Any:
    """Bytes from a number or from text with B, KB or MB (1 KB = 1024 bytes); other values come back unchanged."""
    return _with_unit(value, _BYTES)


def parse_count(value: Any) -> Any:
    """A count from a number or from text with K, M or G (powers of 1000); other values come back unchanged."""
    return _with_unit(value, _COUNTS)


_BYTES_ALLOWED = "a number of bytes above 0, or text such as 30KB (1 KB = 1024 bytes), or null"

Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Count = Annotated[int, BeforeValidator(parse_count)]


def _field(default: Any, allowed: str, **limits: Any) -> Any:
    """A field whose description is the text an error shows for what is allowed."""
    return Field(default, description=allowed, **limits)


def _whole(default: int, low: int, high: int) -> Any:
    return _field(default, f"a whole number from {low} to {high}", ge=low, le=high)


def _passes(low: int) -> Any:
    return _field("auto", f"a whole number from {low} to 10000, or auto")


def _choice(default: str, *names: str) -> Any:
    return _field(default, "one of " + ", ".join(names))


def _emulator_choice(value: Any) -> Any:
    if not (isinstance(value, str) and (value == AUTO or is_emulator(value))):
        raise ValueError(f"{value!r} is not allowed; allowed: one of {', '.join(emulator_choices())}")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Counts(_Model):
    """Images per split. For source `folder` only the proportions count."""

    train: int = _whole(24000, 1, 10_000_000)
    val: int = _whole(2000, 1, 1_000_000)
    test: int = _whole(2000, 1, 1_000_000)


class DataParams(_Model):
    """What stage prepare makes of the raw data."""

    source: Literal["scenes", "fashion-mnist", "folder"] = _choice("scenes", "scenes", "fashion-mnist", "folder")
    folder: str = _field("data/raw", "the path of the folder with the raw data", min_length=1)
    # an even number is a ratio of small ones to every resolution of a network, which the firmware holds in bytes
    resolution: int = _field(96, "an even number from 16 to 512 (pixels)", ge=16, le=512, multiple_of=2)
    counts: Counts = _field(Counts(), "counts of images: train, val, test")
    skip_corrupt: bool = _field(False, "true or false")
    min_images_per_class: int = _whole(20, 1, 1_000_000)

    @model_validator(mode="after")
    def _fits_fashion_mnist(self) -> DataParams:
        if self.source == "fashion-mnist":
            if self.counts.train + self.counts.val > 60_000:
                raise ValueError("counts.train + counts.val must be at most 60000 (Fashion-MNIST's training images)")
            if self.counts.test > 10_000:
                raise ValueError("counts.test must be at most 10000 (Fashion-MNIST's test images)")
        return self


class TrainSupernetParams(_Model):
    """How the supernet is trained."""

    space: Literal["small", "mcunet"] = _choice("small", "small", "mcunet")
    epochs: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = _passes(1)
    batch_size: int = _whole(48, 1, 65_536)
    learning_rate: float = _field(0.01, "a number above 0, at most 10", gt=0, le=10)
    weight_decay: float = _field(0.00002, "a number from 0 to 1", ge=0, le=1)
    random_subnets: int = _whole(1, 0, 64)
    processes: int = _whole(2, 1, 64)


class SearchParams(_Model):
    """Constraints and effort of the joint search over architecture and schedule."""

    schedule: Literal["layer", "patch", "stream", "auto"] = _choice("auto", "layer", "patch", "stream", "auto")
    input: Literal["pushed", "pulled", "resident"] = _choice("pulled", "pushed", "pulled", "resident")
    sram_budget: Bytes | None = _field(11 * 1024, _BYTES_ALLOWED, ge=1)
    flash_budget: Bytes | None = _field(None, _BYTES_ALLOWED, ge=1)
    # executed MACs: those of the network and those that the schedule computes twice
    max_macs: Count | None = _field(3_500_000, "a count above 0, or text such as 8M, or null", ge=1)
    max_latency_ms: float | None = _field(None, "milliseconds above 0, or null", gt=0)
    max_extra_macs: float = _field(0.10, "a share from 0 to 1 (0.10 = 10 %)", ge=0, le=1)
    trials: int = _whole(100, 1, 1_000_000)
    population: int = _whole(30, 2, 100_000)
    finetune_epochs: Annotated[int, Field(ge=0, le=10_000)] | Literal["auto"] = _passes(0)
    storage: str | None = _field(None, "an Optuna storage URL, or null", min_length=1)


class QuantizeParams(_Model):
    """Post-training quantisation."""

    calibration_images: int = _whole(256, 1, 1_000_000)


class BenchmarkParams(_Model):
    """The run of the firmware on an emulated board."""

    emulator: Annotated[str, BeforeValidator(_emulator_choice)] = _field(AUTO, "auto, or an emulator")
    images: int | None = _field(None, "a whole number of at least 1, or null for the whole test split", ge=1)
    traced_images: int = _whole(2, 1, 10_000)


class PromoteParams(_Model):
    """When a challenger replaces the champion."""

    tolerance: float = _field(0.01, "a number from 0 to 1 (accuracy)", ge=0, le=1)


class TrackingParams(_Model):
    """Where MLflow keeps the runs."""

    experiment: str | None = _field(None, "the name of an MLflow experiment, or null", min_length=1)


class Params(_Model):
    """The whole of params.yaml. Defaults are for keys that no stage of dvc.yaml asks for: DVC knows none of them."""

    project: str = _field(
        "scenes", "a name of letters, digits, '-', '_' and '.'", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
    )
    seed: int = _whole(1, 0, 2**31 - 1)
    targets: Annotated[tuple[str, ...], Field(strict=False)] = _field(
        ("stm32f412", "stm32f746"), "a list of one or more different boards", min_length=1
    )
    data: DataParams = _field(DataParams(), "a section")
    train_supernet: TrainSupernetParams = _field(TrainSupernetParams(), "a section")
    search: SearchParams = _field(SearchParams(), "a section")
    quantize: QuantizeParams = _field(QuantizeParams(), "a section")
    benchmark: BenchmarkParams = _field(BenchmarkParams(), "a section")
    promote: PromoteParams = _field(PromoteParams(), "a section")
    tracking: TrackingParams = _field(TrackingParams(), "a section")

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.tracking.experiment or f"patchline-{self.project}"


def known_targets() -> list[str]:
    """Names of the boards that have a description in patchline/targets/."""
    return sorted(path.stem for path in (Path(__file__).parent / "targets").glob("*.yaml"))


def load_params(path: str | Path = "params.yaml") -> Params:
    """The parameters in `path`.

    Raises UserError (exit code 2) naming every wrong key with its value and what is allowed.
    """
    problems, params = _check(_read(Path(path)))
    if problems:
        count = "one wrong entry" if len(problems) == 1 else f"{len(problems)} wrong entries"
        raise UserError("\n  ".join([f"{path} has {count}:", *problems]))
    assert params is not None
    return params


def check_complete(params: str | Path = "params.yaml", pipeline: str | Path = "dvc.yaml") -> None:
    """Raise UserError where `params` lacks keys that `pipeline` asks for, with the lines to add.

    DVC reads the file itself, without the defaults of this module, and stops at the first key that it misses. Nothing
    is asked for where there is no `pipeline`.
    """
    if not Path(pipeline).exists():
        return
    content, text = _read(Path(params)), Path(pipeline).read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{([\w.]+)\}", text))
    for stage in read_yaml(pipeline)["stages"].values():
        asked |= {key for key in stage.get("params", []) if isinstance(key, str)}
    asked = {key for key in asked if key.split(".")[0] in Params.model_fields}  # `item.target` is no parameter
    lines = [f"{key}: {json.dumps(_default(key))}" for key in sorted(asked) if not _holds(content, key.split("."))]
    if lines:
        raise UserError(
            "\n  ".join(
                [f"{params} lacks what {pipeline} asks for; add (a dot is a level, defaults as values):", *lines]
            )
        )


def _holds(content: Any, keys: list[str]) -> bool:
    return not keys or (isinstance(content, dict) and keys[0] in content and _holds(content[keys[0]], keys[1:]))


def _default(key: str) -> Any:
    value: Any = Params().model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise UserError(
            f"{path} is not here: run this in the root of a Patchline project, or make one with `patchline init`"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold sections such as `data:` and `search:`, but it holds {content!r}")
    return content


def _check(content: dict[str, Any]) -> tuple[list[str], Params | None]:
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        return list(dict.fromkeys(_describe(item) for item in error.errors())), None
    return _check_targets(params.targets), params


def _check_targets(targets: tuple[str, ...]) -> list[str]:
    known = known_targets()
    problems = [
        f"targets: {name!r} is not a known board; allowed: {', '.join(known)}"
        for name in targets
        if known and name not in known
    ]
    if len(set(targets)) != len(targets):
        problems.append(f"targets: {list(targets)} names a board twice; allowed: a list of different boards")
    return problems


def _describe(item: Any) -> str:
    """One line of an error message from one pydantic error."""
    keys = [key for key in item["loc"] if isinstance(key, str) and key.isidentifier()]
    field, siblings = _lookup(keys)
    key = ".".join(keys) or "params.yaml"
    if item["type"] == "extra_forbidden":
        key = ".".join(str(part) for part in item["loc"])
        close = difflib.get_close_matches(str(item["loc"][-1]), siblings, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{key}: unknown key (value {item['input']!r}); {hint}allowed here: {', '.join(siblings)}"
    if item["type"] == "value_error":
        return f"{key}: {item['ctx']['error']}"
    allowed = field.description if field is not None else "the sections of params.yaml"
    if field is not None and allowed == "a section":
        allowed = "a section with " + ", ".join(_names(field))
    return f"{key}: {item['input']!r} is not allowed; allowed: {allowed}"


def _lookup(keys: list[str]) -> tuple[FieldInfo | None, list[str]]:
    """The field at `keys` (None when there is none) and the names that are allowed on its level."""
    fields = Params.model_fields
    found: FieldInfo | None = None
    for position, key in enumerate(keys):
        if key not in fields:
            return None, list(fields)
        found = fields[key]
        below = _model_of(found)
        if below is None or position == len(keys) - 1:
            return found, list(fields)
        fields = below.model_fields
    return found, list(fields)


def _model_of(field: FieldInfo | None) -> type[BaseModel] | None:
    annotation = field.annotation if field is not None else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _names(field: FieldInfo | None) -> list[str]:
    model = _model_of(field)
    return list(model.model_fields) if model is not None else []
