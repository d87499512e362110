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
- A script ends at its first error, with the terminal it has opened still open: so its last line logs `READY`.
- Scripts resolve paths against Renode's own folder, end them at `;` and white space, and know one escape, `\\ `.
- An access to an address where nothing is only logs a line; reads give 0. It has to be noticed there.
- Virtual time passes in quanta, and what arrives from outside waits for the next; a UART model schedules an event per
  character at its own frequency. Both cost seconds an image unless the board's file says otherwise.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from patchline.build.elf import Elf
from patchline.errors import UserError
from patchline.hil.emulators import Emulator, not_listed
from patchline.hil.functions import INFER, ROW, return_addresses
from patchline.hil.link import Link
from patchline.hil.outcome import RunError
from patchline.hil.process import ProcessBoard
from patchline.hil.programs import RENODE
from patchline.targets import Renode, Target

MARK = "patchline-count"
READY = "patchline-ready"
LOG_DELAY_S = 3.0
LOG_POLL_S = 0.1  # how soon a line of the log is noticed while the firmware says nothing
ERROR_LINES = 3

# The monitor's words for a command that failed; they stand in no log line.
_REFUSED = re.compile(
    "There was an error executing command|No such command or device|Could not tokenize|Bad parameters for command|"
    "No such file"
)
_LOGGED = re.compile(r"\[(NOISY|DEBUG|INFO|WARNING|ERROR)\]")
# "(tag: 'NAME') ReadDoubleWord ..." is a register that the platform knows by name only: the chip has something there.
_UNMAPPED = re.compile(
    r"(?:\[[\w.-]+: (?P<pc>0x[0-9A-F]+)\] )?(?<!\) )\b(?P<access>(?:Read|Write)\w+) "
    r"(?:from|to) non existing peripheral at (?P<address>0x[0-9A-F]+)",
    re.IGNORECASE,
)
_ABORT = re.compile(r"CPU abort|lockup", re.IGNORECASE)


def unavailable_because() -> str:
    """Why Renode cannot be used on this machine, with the remedy; empty when it can."""
    return RENODE.unavailable_because("run `make renode`")


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
    if renode.uart_frequency:
        lines += [f"{target.uart.name}:", f"    frequency: {renode.uart_frequency}", ""]
    if renode.replace_init:
        lines += ["sysbus:", "    init:", '        Tag <0xE0042000, 0xE0042003> "DBGMCU_IDCODE"', ""]
    return "\n".join(lines)


def script_text(target: Target, elf: Path, platform: Path, port: int, marks: dict[str, tuple[int, ...]]) -> str:
    """The .resc: machine, firmware, UART on TCP port `port`, hooks at the addresses of `marks` (see `count_marks`)."""
    quantum = _renode(target).quantum_s
    lines = [
        "using sysbus",
        'mach create "patchline"',
        f"machine LoadPlatformDescription {_path(platform)}",
        f"sysbus LoadELF {_path(elf)}",
        "emulation SetAdvanceImmediately true",
        *([f'emulation SetGlobalQuantum "{Decimal(str(quantum)):f}"'] if quantum else []),
        f'emulation CreateServerSocketTerminal {port} "uart" false',
        f"connector Connect sysbus.{target.uart.name} uart",
    ]
    for name, addresses in marks.items():
        log = f"self.InfoLog('{MARK} {name} ' + str(self.ExecutedInstructions))"
        lines += [f'cpu AddHook 0x{address:08x} "{log}"' for address in addresses]
    return "\n".join([*lines, "start", f'log "{READY}" 1', ""])


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
    return [program, "--disable-xwt", "--console", "--plain", "-e", f"include {_path(script)}"]


def first_fault(log: str, elf: Elf) -> RunError | None:
    """The first fault that Renode's log tells of: an access to where the board has nothing, or the core's abort."""
    for line in log.splitlines():
        unmapped = _UNMAPPED.search(line)
        if unmapped:
            what = f"{unmapped['access']} at 0x{int(unmapped['address'], 16):08x}, where the board has nothing"
            pc, address = unmapped["pc"], unmapped["address"]
        elif _ABORT.search(line):
            what = line.strip()
            patterns = (r"\bPC ?[=:] ?(0x[0-9A-F]+)", r"\bat (0x[0-9A-F]+)")
            pc, address = (m[1] if (m := re.search(p, line, re.IGNORECASE)) else None for p in patterns)
        else:
            continue
        where = f", at {elf.where(int(pc, 16))}" if pc else ""
        return RunError("fault", what + where, pc=_number(pc), address=_number(address))
    return None


def _number(text: str | None) -> int | None:
    return int(text, 16) if text else None


def script_error(log: str) -> str:
    """What Renode says of a command of the script that failed; empty when none did."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _LOGGED.search(line)]
    first = next((i for i, line in enumerate(lines) if _REFUSED.search(line)), None)
    return "" if first is None else " / ".join(lines[first : first + ERROR_LINES])


class RenodeBoard(ProcessBoard):
    """A `link.Link` to a firmware in Renode."""

    def __init__(self, elf: Elf, target: Target, *, start_timeout_s: float = 60.0) -> None:
        program = RENODE.path()
        if program is None:
            raise UserError(unavailable_because())
        super().__init__("Renode")
        self._elf = elf
        with self._starting():
            temporary = self._folder / "tmp"
            temporary.mkdir()
            platform, script, firmware = (self._folder / name for name in ("board.repl", "board.resc", "firmware.elf"))
            shutil.copyfile(elf.path, firmware)  # its own folder may have a name that scripts cannot hold
            port = _free_port()
            platform.write_text(platform_text(target))
            script.write_text(script_text(target, firmware, platform, port, count_marks(elf)))
            self._counted = self._watched = 0
            self._start(command(program, script), environment={**os.environ, "TMPDIR": str(temporary)})
            self._connect(port, start_timeout_s)

    def read(self, timeout_s: float) -> bytes:
        self._watch()
        return super().read(min(timeout_s, LOG_POLL_S))

    def instructions(self) -> int | None:
        """Instructions of the last inference by `cpu ExecutedInstructions`; None when no hook logged it.

        Renode writes its log from a thread of its own, so that it can be a moment behind the UART.
        """
        end = time.monotonic() + LOG_DELAY_S
        while len(found := counts(self._text())) <= self._counted:
            if time.monotonic() > end:
                return None
            time.sleep(0.02)
        self._watch()
        self._counted = len(found)
        return found[-1]

    def explain(self) -> RunError | None:
        """An access outside of the platform's memories, or an abort of the core, as Renode logged it."""
        return first_fault(self._text(), self._elf)

    def _watch(self) -> None:
        """Raises the first fault in what was logged since the last call: Renode goes on where a board would not."""
        with (self._folder / "log").open("rb") as log:
            log.seek(self._watched)
            lines = log.read().rpartition(b"\n")[0]
        self._watched += len(lines)
        if found := first_fault(lines.decode(errors="replace"), self._elf):
            raise found

    def _connect(self, port: int, timeout_s: float) -> None:
        """Open the UART as soon as Renode offers it, then wait until the script has run to its end."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self._check_alive()
            log = self._text()
            if error := script_error(log):
                raise RunError("crash", f"Renode does not take the script: {error}")
            if self._uart is not None and READY in log:
                return
            if self._uart is None:
                with contextlib.suppress(OSError):
                    self._uart = socket.create_connection(("127.0.0.1", port), timeout=1)
            time.sleep(0.05)
        raise RunError("crash", f"Renode did not come to the end of its script within {timeout_s:g} s: {self._tail()}")


def _renode(target: Target) -> Renode:
    if target.renode is None:
        raise UserError(f"Renode has no platform for {target.name}; its emulators: {', '.join(target.emulators)}")
    return target.renode


def _path(path: Path) -> str:
    """`path` as a script takes it. Raises UserError for a name that scripts cannot hold."""
    text = str(path)
    if re.search(r"[;\\]|[^\S ]", text):
        raise UserError(
            f"Renode's scripts cannot name {text!r}: "
            "set TMPDIR to a folder without backslash, semicolon, tab or line break"
        )
    return "@" + text.replace(" ", "\\ ")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RenodeEmulator:
    """See `emulators.Emulator`."""

    independent = True
    auto_images = 20  # it takes seconds an image

    def unavailable_because(self, target: Target) -> str:
        return not_listed("renode", target) or unavailable_because()

    def open(self, elf: Elf, target: Target) -> Link:
        return RenodeBoard(elf, target)

    def instructions(self, link: Link, target: Target, ticks: Callable[[], int]) -> int:
        """What the hooks logged, else the DWT's count, which is one of instructions here."""
        assert isinstance(link, RenodeBoard)
        counted = link.instructions()
        return ticks() if counted is None else counted


EMULATOR: Emulator = RenodeEmulator()
