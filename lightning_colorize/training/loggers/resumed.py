"""What the loggers of a resumed run lack comes from its folder."""

import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning_colorize.runs.folder import METRICS
from lightning_colorize.training.loggers.base import STEP
from lightning_colorize.training.loggers.files import read_rows

VALIDATED = "trainer/validated_step"
"""Metric with the step of each validation: a step's training values may be sent without it."""

_BLOCK, _HEADER = 32768, 7  # bytes


class Logged(NamedTuple):
    """The last steps whose training and validation metrics a logger has."""

    trained: int = -1
    validated: int = -1

    @classmethod
    def last(cls, metrics: Mapping[str, Any]) -> "Logged":
        """Return the steps in the last values of all metrics."""
        trained = int(metrics.get(STEP, -1))
        return cls(trained, int(metrics.get(VALIDATED, trained)))

    def lacks(self, names: Iterable[str], step: int | None) -> bool:
        """Return whether the metrics of a step are new; those of the test always are."""
        if step is None or any(name.startswith("test/") for name in names):
            return True
        return step > (self.validated if _is_validation(names) else self.trained)


def with_steps(metrics: Mapping[str, Any], step: int | None) -> dict[str, Any]:
    """Return the metrics with those by which `Logged` recognizes them after a restart."""
    if step is None:
        return dict(metrics)
    return {**metrics, STEP: step, **({VALIDATED: step} if _is_validation(metrics) else {})}


def read_metrics(folder: Path, resume_step: int | None) -> list[tuple[int, dict[str, float]]]:
    """Return the metrics before `resume_step` in a run's folder, by step; none of a new run.

    Without `metrics.csv`, there are none; `validations.jsonl` counts batches, not logged steps.
    """
    if resume_step is None or not (folder / METRICS).is_file():
        return []
    rows = [
        {name: float(value) for name, value in row.items()} for row in read_rows(folder / METRICS)
    ]
    steps = [int(row.pop("step")) for row in rows]
    return [each for each in zip(steps, rows, strict=True) if each[0] < resume_step]


def rows_to_log(
    rows: Iterable[tuple[int, Mapping[str, float]]], logged: Logged
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the rows of `read_metrics` that a logger lacks, training and validation by itself.

    A process that was killed has not sent or written all that it logged.
    """
    for step, row in rows:
        epoch = {name: value for name, value in row.items() if name == "epoch"}
        validation = {name: value for name, value in row.items() if _is_validation([name])}
        training = {name: value for name, value in row.items() if name not in epoch | validation}
        for part in (training, validation):
            if part and logged.lacks(part, step):
                yield step, epoch | part


def recover_wandb_file(path: Path) -> Logged:
    """Return the last steps in the local file of a W&B run whose process has ended.

    The file is a log of LevelDB, for which W&B has no reader. A killed process leaves any part of
    it; `wandb sync` refuses half a record, and a file without any, so they are removed.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data, at, record, last = path.read_bytes(), _HEADER, b"", dict[str, float]()
    end = 0
    while at + _HEADER <= len(data):
        size, kind = struct.unpack_from("<HB", data, at + 4)
        first = at + _HEADER
        at = first + size
        record = (record if kind in (3, 4) else b"") + data[first:at]
        if kind in (1, 4) and at <= len(data):
            end = at
            for item in Record.FromString(record).history.item:
                if (name := item.key or "/".join(item.nested_key)) in (STEP, VALIDATED):
                    last[name] = float(item.value_json)
        if 0 < -at % _BLOCK < _HEADER:  # no header fits into the rest of the block
            at += -at % _BLOCK
    if not end:
        shutil.rmtree(path.parent)
    elif end < len(data):
        os.truncate(path, end)
    return Logged.last(last)


def _is_validation(names: Iterable[str]) -> bool:
    return any(name.startswith("val/") for name in names)
