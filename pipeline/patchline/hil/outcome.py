"""How a run of the firmware can end, as types: fine, or one `RunError` that says what, in which operator and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from patchline.errors import UserError

Kind = Literal["fault", "stack-overflow", "hang", "mismatch", "protocol", "timeout", "crash", "size"]

TITLES: dict[Kind, str] = {
    "fault": "the firmware faulted",
    "stack-overflow": "the firmware overflowed its stack",
    "hang": "the firmware does not come to an end",
    "mismatch": "the firmware computes other values than the reference",
    "protocol": "the firmware broke the serial protocol",
    "timeout": "the run did not end in time",
    "crash": "the emulator process died",
    "size": "the linked firmware does not have the planned size",
}


class RunError(Exception):
    """A run that went wrong. `op` is the index of the operator that ran (None: outside of all), `pc` the address of the
    instruction, `address` the data address of a faulting access."""

    def __init__(
        self, kind: Kind, detail: str, *, op: int | None = None, pc: int | None = None, address: int | None = None
    ) -> None:
        super().__init__(kind, detail)
        self.kind: Kind = kind
        self.detail = detail
        self.op = op
        self.pc = pc
        self.address = address

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.kind, self.detail, self.op, self.pc, self.address))

    def __str__(self) -> str:
        return self.describe()

    def describe(self, op_names: tuple[str, ...] = ()) -> str:
        """One line: what happened, in which operator, where."""
        place = ""
        if self.op is not None:
            name = f" '{op_names[self.op]}'" if self.op < len(op_names) else ""
            place = f" in op {self.op}{name}"
        return f"{TITLES[self.kind]}{place}: {self.detail}"

    def as_user_error(self, op_names: tuple[str, ...] = ()) -> UserError:
        return UserError(self.describe(op_names), exit_code=1)


def _rebuild(kind: Kind, detail: str, op: int | None, pc: int | None, address: int | None) -> RunError:
    return RunError(kind, detail, op=op, pc=pc, address=address)


@dataclass(frozen=True)
class Exchange:
    """Replies of one command, without `m-ready`."""

    command: str
    lines: tuple[str, ...]
