"""Renode: its stock platform brought to the target's sizes, the UART on a socket, counts from the core's own counter.

Renode cannot be installed from a package registry; `make renode` fetches the pinned release. The generated platform and
script are plain text (`platform_text`, `script_text`) and covered by golden tests. Facts they rest on (Renode 1.16.1):

- `using` loads a stock platform; a later `init:` of the same entry replaces its commands, which drops the `ApplySVD`
  lines that would download a file.
- `DWT` counts virtual time at its `frequency`; with as many MIPS as MHz one count is one instruction.
- A hook runs at the start of a block; `ExecutedInstructions` is exact there. Hooks on the entries and returns of
  `pl_infer` and `board_read_row` log it, and the difference is an inference without the wait for the host.
- With `--console` and a pipe as standard input the monitor reads commands from there.
- Renode deletes every `renode-*` in its temporary folder, and its exit code says nothing: it gets a folder of its own,
  and success is what the protocol says.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from pathlib import Path

from patchline.errors import UserError
from patchline.hil.elf import INFER, ROW, Elf, return_addresses
from patchline.hil.outcome import RunError
from patchline.hil.process import ProcessBoard
from patchline.hil.programs import RENODE
from patchline.targets import Renode, Target

MARK = "patchline-count"
LOG_DELAY_S = 3.0


def why_not() -> str:
    """Why Renode cannot be used here, with the remedy; empty when it can."""
    return RENODE.why_not("run `make renode`")


def platform_text(target: Target) -> str:
    """A Renode platform: the stock one with the target's core, memory sizes and a cycle counter."""
    renode = _renode(target)
    mhz = target.clock_hz // 1_000_000
    each = target.flash.size // len(renode.flash)
    lines = [f'using "{renode.platform}"', "", "cpu:", f'    cpuType: "{renode.cpu_type}"']
    lines += [f"    PerformanceInMips: {mhz}", "", f"{renode.sram}:", f"    size: 0x{target.sram.size:X}", ""]
    for name in renode.flash:
        lines += [f"{name}:", f"    size: 0x{each:X}", ""]
    lines += ["dwt: Miscellaneous.DWT @ sysbus 0xE0001000", f"    frequency: {mhz * 1_000_000}", ""]
    if renode.replace_init:
        lines += ["sysbus:", "    init:", '        Tag <0xE0042000, 0xE0042003> "DBGMCU_IDCODE"', ""]
    return "\n".join(lines)


def script_text(target: Target, elf: Path, platform: Path, port: int, marks: dict[str, tuple[int, ...]]) -> str:
    """The .resc: machine, firmware, UART on TCP port `port`, hooks at the addresses of `marks` (see `count_marks`)."""
    lines = [
        "using sysbus",
        'mach create "patchline"',
        f"machine LoadPlatformDescription @{platform}",
        f"sysbus LoadELF @{elf}",
        "emulation SetAdvanceImmediately true",
        f'emulation CreateServerSocketTerminal {port} "uart" false',
        f"connector Connect sysbus.{target.uart.name} uart",
    ]
    for name, addresses in marks.items():
        log = f"self.InfoLog('{MARK} {name} ' + str(self.ExecutedInstructions))"
        lines += [f'cpu AddHook 0x{address:08x} "{log}"' for address in addresses]
    return "\n".join([*lines, "start", ""])


def count_marks(elf: Elf) -> dict[str, tuple[int, ...]]:
    """Addresses whose passing is logged: entries and return instructions of the inference and of its wait for rows."""
    marks: dict[str, tuple[int, ...]] = {}
    for label, name in (("infer", INFER), ("row", ROW)):
        symbol = elf.find(name)
        if symbol is not None:
            marks[f"{label}-enter"] = (symbol.address,)
            marks[f"{label}-leave"] = return_addresses(elf, symbol)
    return marks


def counts(log: str) -> list[int]:
    """Instructions of each inference in Renode's log, the wait for rows left out."""
    results: list[int] = []
    start = waited = row = 0
    for name, value in re.findall(rf"{MARK} (\S+) (\d+)", log):
        now = int(value)
        if name == "infer-enter":
            start, waited = now, 0
        elif name == "row-enter":
            row = now
        elif name == "row-leave":
            waited += now - row
        else:
            results.append(now - start - waited)
    return results


def command(program: str, script: Path) -> list[str]:
    """The command line: no windows, the monitor on the standard streams, the script included from the start."""
    return [program, "--disable-xwt", "--console", "--plain", "-e", f"include @{script}"]


class RenodeBoard(ProcessBoard):
    """A `link.Link` to a firmware in Renode."""

    def __init__(self, elf: Elf, target: Target, *, start_timeout_s: float = 60.0) -> None:
        program = RENODE.path()
        if program is None:
            raise UserError(why_not())
        super().__init__("Renode")
        with self._starting():
            temporary = self._folder / "tmp"
            temporary.mkdir()
            platform, script, firmware = (self._folder / name for name in ("board.repl", "board.resc", "firmware.elf"))
            shutil.copyfile(elf.path, firmware)  # Renode's scripts know no quoting for paths with blanks
            port = _free_port()
            platform.write_text(platform_text(target))
            script.write_text(script_text(target, firmware, platform, port, count_marks(elf)))
            self._counted = 0
            self._start(command(program, script), environment={**os.environ, "TMPDIR": str(temporary)})
            self._uart = self._connect(port, start_timeout_s)

    def instructions(self) -> int | None:
        """Instructions of the last inference by `cpu ExecutedInstructions`; None when no hook logged it.

        Renode writes its log from a thread of its own, so that it can be a moment behind the UART.
        """
        end = time.monotonic() + LOG_DELAY_S
        while len(found := counts(self._text())) <= self._counted:
            if time.monotonic() > end:
                return None
            time.sleep(0.02)
        self._counted = len(found)
        return found[-1]

    def explain(self) -> RunError | None:
        """An access outside of the platform's memories, or an abort of the core, as Renode logged it."""
        for line in self._text().splitlines():
            if re.search(r"CPU abort|non[- ]existing peripheral|PC=.* lockup|Lockup", line, re.IGNORECASE):
                address = re.search(r"\b0x[0-9A-Fa-f]{6,8}\b", line)
                return RunError("fault", line.strip(), address=int(address[0], 16) if address else None)
        return None

    def _connect(self, port: int, timeout_s: float) -> socket.socket:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self._check_alive()
            if "There was an error executing command" in self._text():
                break
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=1)
            except OSError:
                time.sleep(0.1)
        raise RunError("crash", f"Renode did not open its UART within {timeout_s:g} s: {self._tail()}")


def _renode(target: Target) -> Renode:
    if target.renode is None:
        raise UserError(f"Renode has no platform for {target.name}; its emulators: {', '.join(target.emulators)}")
    return target.renode


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
