"""What the server of a resumed run's logger lacks comes from the run folder."""

import os
import shutil
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.runs.folder import METRICS
from lightning_colorize.training.loggers.base import STEP, RunLogger
from lightning_colorize.training.loggers.files import read_rows

VALIDATED = "trainer/validated_step"
"""Metric with the step of each validation: a step's training values may be sent without it."""

_BLOCK, _HEADER = 32768, 7  # bytes


class ResumedLogger(RunLogger):
    """A logger that logs to the run of an earlier process only what that run lacks."""

    trained = validated = -1  # last steps that the run has

    def continue_after(self, last: Mapping[str, Any]) -> None:
        """Set the steps that the run has, from the last values of its metrics."""
        self.trained = int(last.get(STEP, -1))
        self.validated = int(last.get(VALIDATED, self.trained))

    def log_row(
        self, metrics: Mapping[str, Any], step: int | None = None, is_new: bool = True
    ) -> None:
        """Log the metrics of a step, unless the run has them; a new test always."""
        kinds = {name.partition("/")[0] for name in metrics}
        last = self.validated if "val" in kinds else self.trained
        if step is None or step > last or (is_new and "test" in kinds):
            names = [] if step is None else [STEP, VALIDATED] if "val" in kinds else [STEP]
            row = {**metrics, **dict.fromkeys(names, step)}
            super().log_metrics(row, step)  # type: ignore[safe-super]

    def log_rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log what a killed process has logged, but not sent or written: rows of its folder."""
        for row in rows:
            validation = {n: v for n, v in row.items() if n == "epoch" or n.startswith("val/")}
            training = {n: v for n, v in row.items() if n not in {"step", *validation} - {"epoch"}}
            for part in (training, validation):
                if part.keys() - {"epoch"}:
                    self.log_row(part, int(row["step"]), is_new=False)


def read_metrics(folder: Path, resume_step: int | None) -> list[dict[str, float]]:
    """Return the rows of a run's `metrics.csv` before `resume_step`; none of a new run."""
    if resume_step is None or not (folder / METRICS).is_file():
        return []
    rows = ({n: float(value) for n, value in row.items()} for row in read_rows(folder / METRICS))
    return [row for row in rows if row["step"] < resume_step]


def recover_wandb_file(path: Path) -> dict[str, float]:
    """Return the last steps in the local file of a W&B run whose process has ended.

    The file is a log in LevelDB's format, for which W&B has no reader. A killed process leaves any
    part of it. `wandb sync` refuses half a record, and a file without any: they are removed.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data, at, end, record, last = path.read_bytes(), _HEADER, 0, b"", dict[str, float]()
    while at + _HEADER <= len(data):
        size, kind = struct.unpack_from("<HB", data, at + 4)  # after the checksum
        begin, at = at + _HEADER, at + _HEADER + size
        record = (record if kind in (3, 4) else b"") + data[begin:at]
        if kind in (1, 4) and at <= len(data):
            end = at
            for item in Record.FromString(record).history.item:
                name = item.key or "/".join(item.nested_key)
                if name in (STEP, VALIDATED):
                    last[name] = float(item.value_json)
        if 0 < -at % _BLOCK < _HEADER:  # no header fits into the rest of the block
            at += -at % _BLOCK
    if end == 0:
        shutil.rmtree(path.parent)
    elif end < len(data):
        os.truncate(path, end)
    return last
