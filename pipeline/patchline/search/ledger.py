"""The trials of all processes that search for the same thing: one Optuna study, in memory or in a database.

A trial is numbered by the study when it begins, claims its architecture in one write before anybody measures it, and
ends with its accuracy. Optuna keeps the book and draws nothing itself.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import optuna
from optuna.trial import Trial, TrialState

from patchline.errors import UserError
from patchline.supernet import Architecture

ARCHITECTURE = "architecture"
OPENING_WAITS = (0.1, 0.2, 0.4)  # seconds; processes that make a database's tables at the same time collide


@dataclass(frozen=True)
class Done:
    """A finished trial."""

    number: int
    arch: Architecture
    accuracy: float  # 0 where it was not measured, because a limit is broken


class Ledger:
    """The trials of the study `name` in `storage` (an Optuna URL; None: in the memory of this process)."""

    def __init__(self, storage: str | None, name: str) -> None:
        self._study = _open(storage, name)

    def finished(self) -> list[Done]:
        """What all processes have finished, in the order in which the trials began."""
        return [
            Done(trial.number, Architecture.from_dict(json.loads(trial.user_attrs[ARCHITECTURE])), trial.values[0])
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]

    def begin(self) -> Trial:
        """A new trial; its number is its own among all processes, and so is whatever is drawn from it."""
        return self._study.ask()

    def claim(self, trial: Trial, arch: Architecture) -> bool:
        """Make `arch` that of `trial`; False where another trial, finished or still at work, has it.

        It is written first and looked up after that. Of two processes that want the same at the same time at least one
        sees the other and draws anew; both may, and then nobody has it for the moment.
        """
        text = json.dumps(arch.to_dict())
        if text in self._taken(trial):
            return False
        trial.set_user_attr(ARCHITECTURE, text)
        return text not in self._taken(trial)

    def end(self, trial: Trial, accuracy: float, sram_peak_bytes: int) -> None:
        self._study.tell(trial, [accuracy, sram_peak_bytes])

    def drop(self, trial: Trial) -> None:
        """End `trial` without an architecture: nothing is left to draw."""
        self._study.tell(trial, state=TrialState.FAIL)

    def _taken(self, own: Trial) -> set[str]:
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        return {
            trial.user_attrs[ARCHITECTURE]
            for trial in self._study.get_trials(deepcopy=False, states=states)
            if ARCHITECTURE in trial.user_attrs and trial.number != own.number
        }


def _open(storage: str | None, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for wait in OPENING_WAITS:
        try:
            return _study(storage, name)
        except Exception:
            time.sleep(wait)
    try:
        return _study(storage, name)
    except Exception as error:
        raise UserError(f"search.storage: {storage!r} cannot be opened: {error}") from error


def _study(storage: str | None, name: str) -> optuna.Study:
    return optuna.create_study(
        study_name=name, storage=storage, directions=["maximize", "minimize"], load_if_exists=True
    )
