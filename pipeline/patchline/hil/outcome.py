"""How a run of the firmware can end, as types: fine, or one `RunError` that says what, in which operator and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from patchline.errors import UserError

Kind = Literal["fault", "stack-overflow", "hang", "mismatch", "protocol", "timeout", "crash"]

TITLES: dict[Kind, str] = {
    "fault": "the firmware faulted",
    "stack-overflow": "the firmware overflowed its stack",
    "hang": "the firmware does not come to an end",
    "mismatch": "the firmware computes other values than the reference",
    "protocol": "the firmware broke the serial protocol",
    "timeout": "the run did not end in time",
    "crash": "the emulator process died",
}


class RunError(UserError):
    """A run that went wrong, with exit code 1.

    `op` is the index of the operator that ran (None: outside of all), `op_name` its name where it is known, `pc` the
    address of the instruction, `address` the data address of a faulting access.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        op: int | None = None,
        pc: int | None = None,
        address: int | None = None,
        op_name: str = "",
    ) -> None:
        place = "" if op is None else f" in op {op} '{op_name}'" if op_name else f" in op {op}"
        super().__init__(f"{TITLES[kind]}{place}: {detail}", exit_code=1)
        self.kind: Kind = kind
        self.detail = detail
        self.op = op
        self.pc = pc
        self.address = address

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.kind, self.detail, self.op, self.pc, self.address))

    def named(self, op_names: tuple[str, ...]) -> RunError:
        """The same error with the operator's name in its text."""
        known = self.op is not None and 0 <= self.op < len(op_names)
        name = op_names[self.op] if known and self.op is not None else ""
        return RunError(self.kind, self.detail, op=self.op, pc=self.pc, address=self.address, op_name=name)


def _rebuild(kind: Kind, detail: str, op: int | None, pc: int | None, address: int | None) -> RunError:
    return RunError(kind, detail, op=op, pc=pc, address=address)


@dataclass(frozen=True)
class Exchange:
    """Replies of one command, without `m-ready`."""

    command: str
    lines: tuple[str, ...]
