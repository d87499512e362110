"""Boards: one YAML file each in this folder, loaded into a frozen, validated `Target`.

`find(board)` takes a name or a file, `load(name)` a name. Adding a board means adding a file (docs/adding-a-board.md).
"""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from patchline import cores
from patchline.config import parse_bytes
from patchline.errors import UserError
from patchline.plugins import emulator_names, is_emulator

FOLDER = Path(__file__).parent

Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0)]
Address = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
UartKind = Literal["stm32f4", "stm32f7", "cmsdk"]


def _registered(name: str) -> str:
    if not is_emulator(name):
        raise ValueError(f"no emulator of this name is installed; there are {', '.join(emulator_names())}")
    return name


def _known(name: str) -> str:
    if name not in cores.names():
        raise ValueError(f"no such core; there are {', '.join(cores.names())}")
    return name


Emulator = Annotated[str, AfterValidator(_registered)]
Core = Annotated[str, AfterValidator(_known)]

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Region:
    """A piece of the address space: `size` bytes from `origin`."""

    origin: Address
    size: Bytes

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.origin + self.size


@dataclass(frozen=True, config=_STRICT)
class Uart:
    """The UART that carries the benchmark protocol.

    `kind` names the register layout: stm32f4 (SR/DR), stm32f7 (ISR/TDR/RDR), cmsdk (Arm's CMSDK APB UART).
    """

    kind: UartKind
    base: Address
    name: str  # the vendor's name, and the peripheral's name in Renode's platform
    baud: int = 115_200


@dataclass(frozen=True, config=_STRICT)
class Firmware:
    """What the runtime needs beside the arena; the linker script holds it to these sizes."""

    static_bytes: Bytes  # .data + .bss without the arena
    stack_bytes: Bytes  # reserved stack


@dataclass(frozen=True, config=_STRICT)
class Timing:
    """Memory timing that the cycle model takes from the board. Zero wait states = memory as fast as the core."""

    flash_wait_states: Annotated[int, Field(ge=0, le=64)] = 0  # core cycles a line read waits beyond the first
    flash_line_bytes: Annotated[int, Field(ge=4, le=128)] = 16  # bytes one read brings (a line of the cache)
    instruction_cache_bytes: Bytes = 0
    data_cache_bytes: Bytes = 0


@dataclass(frozen=True, config=_STRICT)
class Renode:
    """Where Renode's stock platform stands and what must be corrected in it."""

    platform: str  # as in `LoadPlatformDescription @...`
    cpu_type: str  # Renode's cpuType for this core
    sram: str = "sram"  # names of the memories in the platform
    flash: tuple[str, ...] = ("flash",)
    replace_init: bool = False  # drop the platform's own commands, which download a register description
    uart_frequency: Annotated[int, Field(gt=0, lt=2**32)] | None = None  # of a UART model that has this setting
    quantum_s: Annotated[float, Field(ge=1e-6, le=1)] | None = None  # virtual time between looks at the world outside


@dataclass(frozen=True, config=_STRICT)
class Qemu:
    """The machine of qemu-system-arm that is this board."""

    machine: str


@dataclass(frozen=True, config=_STRICT)
class Target:
    """One board: core, clock, memories, UART and the emulators that have its memory map."""

    name: str
    description: str
    core: Core
    clock_hz: Annotated[int, Field(gt=0)]
    fpu: bool
    flash: Region
    sram: Region
    uart: Uart
    firmware: Firmware
    emulators: tuple[Emulator, ...]
    timing: Timing = Timing()
    renode: Renode | None = None
    qemu: Qemu | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        for emulator in self.emulators:
            if getattr(self, emulator, self) is None:  # only some emulators have a section here
                raise ValueError(f"emulators lists {emulator}, but the section '{emulator}:' is missing")
        if self.flash.origin < self.sram.end and self.sram.origin < self.flash.end:
            raise ValueError("flash and sram overlap")
        if self.firmware.static_bytes + self.firmware.stack_bytes > self.sram.size:
            raise ValueError("firmware.static_bytes and stack_bytes do not fit the sram")
        return self


def names() -> list[str]:
    """Names of the boards that have a file here."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(board: str | Path) -> Target:
    """The board `board`: its name, or the path of its file (a `Path`, or text that ends in .yaml or .yml)."""
    if isinstance(board, Path) or board.endswith((".yaml", ".yml")):
        return load_file(board)
    return load(board)


@cache
def load(name: str) -> Target:
    """The board `name`. Raises UserError for an unknown name (with the closest ones) or a wrong file."""
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UserError(f"target '{name}' is not known; {hint}known boards: {', '.join(names())}")
    return load_file(FOLDER / f"{name}.yaml")


def load_file(path: str | Path) -> Target:
    """The board described by the YAML file `path`; its name is the file's. Raises UserError naming key and value."""
    from ruamel.yaml import YAML, YAMLError

    path = Path(path)
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"board file {path} does not exist") from None
    except YAMLError as error:
        raise UserError(f"board file {path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"board file {path} must hold keys such as `core:` and `sram:`, but holds {content!r}")
    try:
        return TypeAdapter(Target).validate_python({"name": path.stem, **content})
    except ValidationError as error:
        count = "one wrong entry" if error.error_count() == 1 else f"{error.error_count()} wrong entries"
        lines = [f"board file {path} has {count}:"]
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"]) or "the whole"
            lines.append(f"{key}: {item['msg']} (value {item['input']!r})" if item["loc"] else item["msg"])
        raise UserError("\n  ".join(lines)) from None
