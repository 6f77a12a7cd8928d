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
    """One validation of a run.

    Attributes:
        epoch: In which it was, counted from 0.
        step: Training steps before it.
        metrics: Values by name (`val/psnr`); None for one that was not a finite number.
    """

    epoch: int
    step: float
    metrics: Metrics


class ValidationReader:
    """Reads the validations of a run as they are written.

    A resumed run may repeat validations: the later line counts. A run that starts over writes a new
    file: the records of the former are dropped. Lines that runs do not write are skipped.

    Attributes:
        records: All validations so far, by step.
        epoch: Of the last line; None before the first.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / VALIDATIONS
        self._offset = 0
        self._first = b""
        self.records: list[Validation] = []
        self.epoch: int | None = None

    def read(self) -> bool:
        """Read the lines that were completed since the last call; return whether any changed."""
        try:
            with self._path.open("rb") as file:
                # Another file may have the inode and the size of the former: its first line, with
                # the time, differs.
                is_another = file.read(len(self._first)) != self._first
                dropped = is_another and self._drop()
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return self._drop()
        except OSError:
            return False
        whole = new[: new.rfind(b"\n") + 1]
        self._first = self._first or whole[: whole.find(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._add(line)
        return dropped or bool(whole)

    def _drop(self) -> bool:
        """Start with an empty file; return whether another was read before."""
        was_read = self._offset > 0
        self._offset, self._first = 0, b""
        self.records, self.epoch = [], None
        return was_read

    def _add(self, line: bytes) -> None:
        try:
            content = json.loads(line)
        except ValueError:
            return  # Half a line of a killed process, with the next process's line behind it.
        match content:
            case {"epoch": int(epoch), "step": int(step) | float(step), "metrics": dict(metrics)}:
                while self.records and self.records[-1].step >= step:
                    self.records.pop()
                values = {name: finite_number(value) for name, value in metrics.items()}
                self.records.append(Validation(epoch, step, values))
                self.epoch = epoch


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
