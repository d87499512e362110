"""A linked firmware: segments, sections, symbols, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from patchline.errors import UserError

ARENA = ("pl_arena", "arena")  # the symbol that is the plan's arena

WRITABLE, ALLOCATED = 0x1, 0x2  # SHF_WRITE, SHF_ALLOC


@dataclass(frozen=True)
class Symbol:
    """`address` without the Thumb bit; `size` in bytes."""

    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True)
class Section:
    name: str
    address: int
    size: int
    in_sram: bool  # allocated and writable
    in_file: bool  # takes flash (or is loaded from it)


@dataclass(frozen=True)
class Elf:
    """A linked firmware. `segments` are (load address, content) of everything that lies in flash."""

    path: Path
    segments: tuple[tuple[int, bytes], ...]
    sections: tuple[Section, ...]
    symbols: dict[str, Symbol]

    def section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)

    def size_of(self, name: str) -> int:
        """Bytes of the section `name`, 0 where it is absent."""
        section = self.section(name)
        return section.size if section else 0

    def find(self, *names: str) -> Symbol | None:
        """The first of `names` that is a symbol here."""
        return next((self.symbols[name] for name in names if name in self.symbols), None)

    @cached_property
    def functions(self) -> tuple[Symbol, ...]:
        """Functions in the order of their addresses."""
        return tuple(sorted((s for s in self.symbols.values() if s.is_function), key=lambda s: s.address))

    def where(self, address: int) -> str:
        """`address` as "0x08000123 (function+0x12)" for a message."""
        inside = [s for s in self.functions if s.address <= address < s.address + max(s.size, 2)]
        if not inside:
            return f"0x{address:08x}"
        return f"0x{address:08x} ({inside[-1].name}+0x{address - inside[-1].address:x})"

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of the image at `address`; shorter at the end of a segment."""
        for start, content in self.segments:
            if start <= address < start + len(content):
                return content[address - start : address - start + size]
        return b""

    @property
    def stack(self) -> Section | None:
        """The reserved stack."""
        return self.section(".stack")

    @property
    def flash_bytes(self) -> int:
        """Bytes the image takes in flash: code, constants and the initial values of .data."""
        return sum(len(content) for _, content in self.segments)

    @property
    def sram_bytes(self) -> int:
        """Bytes of all sections in SRAM: .data, .bss with the arena, and the stack."""
        return sum(section.size for section in self.sections if section.in_sram)


def load(path: str | Path) -> Elf:
    """Read a 32-bit little-endian Arm ELF. Raises UserError when it is none."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            file = ELFFile(stream)
            if file.get_machine_arch() != "ARM" or file.elfclass != 32:
                raise UserError(f"{path} is a {file.get_machine_arch()} ELF; Patchline works on 32-bit Arm firmware")
            segments = tuple(
                (segment["p_paddr"], segment.data())
                for segment in file.iter_segments("PT_LOAD")
                if segment["p_filesz"] > 0
            )
            sections = tuple(_section(raw) for raw in file.iter_sections() if raw["sh_flags"] & ALLOCATED)
            symbols = _symbols(file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage `generate`, or name another ELF") from None
    except ELFError as error:
        raise UserError(f"{path} is not an ELF file ({error})") from None
    return Elf(path, segments, sections, symbols)


def _section(raw: object) -> Section:
    header = raw.header  # type: ignore[attr-defined]
    return Section(
        raw.name,  # type: ignore[attr-defined]
        header["sh_addr"],
        header["sh_size"],
        in_sram=bool(header["sh_flags"] & WRITABLE),
        in_file=header["sh_type"] != "SHT_NOBITS",
    )


def _symbols(file: ELFFile) -> dict[str, Symbol]:
    table = file.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return {}
    found = {}
    for raw in table.iter_symbols():
        kind = raw["st_info"]["type"]
        if raw.name and kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE") and not raw.name.startswith("$"):
            function = kind == "STT_FUNC"
            address = raw["st_value"] & ~1 if function else raw["st_value"]
            found[raw.name] = Symbol(raw.name, address, raw["st_size"], function)
    return found
