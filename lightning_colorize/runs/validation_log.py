"""`validations.jsonl`: the metrics of each validation, readable while the run trains."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_colorize.runs.folder import VALIDATIONS
from lightning_colorize.runs.result import Metrics, finite_number


@dataclass(frozen=True)
class Validation:
    """One validation of a run."""

    epoch: int  # from 0
    step: float  # number of training steps before the validation
    metrics: Metrics  # by name (`val/psnr`); None for one that was not a finite number


class ValidationReader:
    """Reads the validations of a run as they are written.

    A resumed run may repeat validations: the later line counts. A run that starts over writes a new
    file: the records of the former are dropped. Invalid lines are skipped.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / VALIDATIONS
        self._content = b""
        self.records: list[Validation] = []  # all so far, by step

    def read(self) -> bool:
        """Read the completed lines; return whether any changed since the last call."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError:
            return False
        content = content[: content.rfind(b"\n") + 1]
        if content == self._content:
            return False
        self._content = content
        self.records = []
        for line in content.splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue  # a killed process's half line, followed by the next process's line
            match found:
                case {"epoch": int(epoch), "step": int() | float() as step, "metrics": dict(own)}:
                    while self.records and self.records[-1].step >= step:
                        self.records.pop()
                    metrics = {name: finite_number(value) for name, value in own.items()}
                    self.records.append(Validation(epoch, step, metrics))
        return True


def append_validation(folder: Path, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
    """Append a validation to a run's file.

    A line is `{"epoch": 3, "step": 420, "time": 1763650000.0, "metrics": {"val/psnr": 21.2}}`, with
    null for a value that is not finite.
    """
    line = {
        "epoch": epoch,
        "step": step,
        "time": round(time.time(), 3),
        "metrics": {name: finite_number(value) for name, value in metrics.items()},
    }
    # One write: a reader never meets a part of it.
    with (folder / VALIDATIONS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
