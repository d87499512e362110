"""What an importer cannot take: gathered over the whole model, then said in one message."""

from __future__ import annotations

from dataclasses import dataclass

from patchline.errors import UserError

SHOWN = 40
"""Problems listed in full; a model with more has one cause that repeats."""


QUANTISE = "quantise the whole model (onnxruntime: quant_pre_process, then quantize_static with QuantFormat.QDQ)"
AGAIN = "quantise the model again"
"""Hints about the quantisation; where Patchline quantised the model itself, `CALIBRATED` has others in their place."""

CALIBRATED = {
    QUANTISE: "calibration gives it no scale: replace the operator, or end the model before it",
    AGAIN: "give --calibrate images (or arrays) that are typical of what the model will see; if they are, its weights "
    "or values reach too far for 8 bits",
}


class UnsupportedError(Exception):
    """One node cannot be converted: `why`, and what would help.

    `node` is the one to name where it is not the one at hand (an operator is only built when its result is quantised).
    """

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint
        self.node = ""


class OrderError(UnsupportedError):
    """The data lies in another order in memory than the node needs. Of the result of a refused node nobody knows the
    order: then such an error is not the reader's."""


@dataclass(frozen=True)
class Problem:
    node: str
    op: str
    why: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.node} ({self.op}): {self.why}"
        return f"{text}; {self.hint}" if self.hint else text


def refuse(model: str, problems: list[Problem]) -> UserError:
    """The error that lists every problem of `model`."""
    count = "one thing" if len(problems) == 1 else f"{len(problems)} things"
    lines = [f"{model}: {count} in this model cannot be compiled; nothing was written"]
    lines += [f"  - {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  ... and {len(problems) - SHOWN} more")
    return UserError("\n".join(lines))
