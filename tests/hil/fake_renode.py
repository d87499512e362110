"""Stands for Renode in tests: reads a script as Renode's monitor does, runs the firmware on Unicorn behind its socket.

What it copies of Renode 1.16.1: a path ends at white space and `;` and knows the escape `\\ `; a script ends at its
first error, whose words have no log level, with the terminal still open and exit code 0; an access to nothing is only
logged. FAKE_RENODE names a misbehaviour: `refuses COMMAND` (a command of the script fails), `forgets` (it stops without
a word).
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from pathlib import Path

from unicorn import UC_HOOK_MEM_WRITE, Uc
from unicorn.arm_const import UC_ARM_REG_PC

from patchline import targets
from patchline.build import elf
from patchline.hil.unicorn_board import UnicornBoard

NOWHERE, NOWHERE_SIZE = 0x3000_0000, 0x1_0000
PATH = re.compile(r"@((?:(?!;)(?:\\ |\S))+)")


def say(text: str) -> None:
    print(text, flush=True)


def path_in(line: str) -> Path:
    match = PATH.search(line)
    assert match is not None
    path = Path(match[1].replace("\\ ", " "))
    if not path.is_file() or line[match.end() :].strip():
        say(f"There was an error executing command '{line}'")
        say(f"Could not find file '{path}'")
        stop()
    return path


def stop() -> None:
    """The script has ended, Renode has not."""
    time.sleep(60)
    sys.exit(0)


def write_to_nowhere(uc: Uc, _access: int, address: int, _size: int, value: int, _data: object) -> None:
    pc = uc.reg_read(UC_ARM_REG_PC)
    say(
        f"12:00:00.1 [WARNING] sysbus: [cpu: 0x{pc:X}] WriteDoubleWord to non existing peripheral at 0x{address:X}, "
        f"value 0x{value:X}."
    )


def main() -> None:
    wrong = os.environ.get("FAKE_RENODE", "")
    script = path_in(sys.argv[sys.argv.index("-e") + 1].removeprefix("include "))
    terminal = socket.socket()
    firmware = None
    for line in script.read_text().splitlines():
        command = line.split(" @")[0].split(" 0x")[0]
        if wrong == f"refuses {command}":
            say(f"There was an error executing command '{line}'")
            say("Parameters did not match the signature")
            stop()
        if "@" in line:
            path = path_in(line)
            firmware = path if "LoadELF" in line else firmware
        elif match := re.match(r"emulation CreateServerSocketTerminal (\d+)", line):
            terminal.bind(("127.0.0.1", int(match[1])))
            terminal.listen(1)
        elif line == "start" and wrong == "forgets":
            stop()
        elif match := re.match(r'log "(.*)" 1', line):
            say(f"12:00:00.0 [INFO] Script: {match[1]}")
    assert firmware is not None
    board = UnicornBoard(elf.load(firmware), targets.load("stm32f412"))
    board.uc.mem_map(NOWHERE, NOWHERE_SIZE)
    board.uc.hook_add(UC_HOOK_MEM_WRITE, write_to_nowhere, begin=NOWHERE, end=NOWHERE + NOWHERE_SIZE - 1)
    uart, _ = terminal.accept()
    uart.sendall(board.read(0))
    while data := uart.recv(4096):
        board.write(data)
        uart.sendall(board.read(0))


if __name__ == "__main__":
    main()
