"""What the files of a run say: its metric over time, and how it ended."""

import json
import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import RESULT, STOP, VALIDATIONS, read_result
from lightning_colorize.sweeps.hyperband import cost
from lightning_colorize.sweeps.spec import Metric

# Killed by a signal is -signal where Python did not catch it, 128 + signal where it did.
_INTERRUPTED = {
    *(-signal.SIGINT, -signal.SIGTERM),
    *(128 + signal.SIGINT, 128 + signal.SIGTERM),
}
_ENDED = ("finished", "stopped_early")


@dataclass(frozen=True)
class Outcome:
    """How a trial's process ended.

    Attributes:
        state: `interrupted` is to go on from its checkpoint.
        value: The trial's value of the metric; None where it has none.
        reason: Why it did not finish.
    """

    state: Literal["finished", "pruned", "failed", "interrupted"]
    value: float | None = None
    reason: str | None = None


class History:
    """The validations of a run, read as they are written.

    A run that goes on from a checkpoint validates some epochs once more: the later line counts. One
    that begins anew writes another file: what the former said is forgotten. Lines that are not as
    runs write them are passed over.

    Args:
        folder: The run's.
        metric: Whose values are taken; None for none.

    Attributes:
        epoch: Of the last validation.
        logged: Whether the metric was among what was logged, be it as null.
    """

    def __init__(self, folder: Path, metric: str | None) -> None:
        self._path = folder / VALIDATIONS
        self._metric = metric
        self._inode: int | None = None
        self._offset = 0
        self._steps: list[tuple[float, float | None]] = []
        self.epoch: int | None = None
        self.logged = False

    @property
    def values(self) -> list[float]:
        """The metric's values that are numbers."""
        return [value for _, value in self._steps if value is not None]

    def read(self) -> bool:
        """Read whole lines that are new; returns whether there were any, or some are forgotten."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                is_another = status.st_ino != self._inode or status.st_size < self._offset
                forgot = is_another and self._forget()
                self._inode = status.st_ino
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return self._forget()
        except OSError:
            return False
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line)
        return forgot or bool(whole)

    def _forget(self) -> bool:
        """Begin with an empty file; returns whether there was another."""
        was_read = self._offset > 0
        self._inode, self._offset, self._steps = None, 0, []
        self.epoch, self.logged = None, False
        return was_read

    def _take(self, line: bytes) -> None:
        try:
            validation = json.loads(line)
        except ValueError:
            return  # Half a line of a process that was killed, and the next one's line behind it.
        match validation:
            case {"epoch": int(epoch), "step": int(step) | float(step), "metrics": dict(metrics)}:
                self.epoch = epoch
            case _:
                return
        while self._steps and self._steps[-1][0] >= step:
            self._steps.pop()
        if self._metric in metrics:
            self.logged = True
            self._steps.append((step, number_or_none(metrics[self._metric])))


def number_or_none(value: Any) -> float | None:
    """Return a metric's value if it is a finite number."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def stamp(folder: Path) -> tuple[int, int] | None:
    """Return what changes when a run writes its result; None without one."""
    try:
        status = os.stat(folder / RESULT)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def ended(folder: Path) -> bool:
    """Return whether a run is through, so that there is nothing to go on with."""
    try:
        return _read(folder).get("status") in _ENDED
    except UsageError:
        return False


def judge(
    folder: Path,
    history: History,
    metric: Metric | None,
    code: int | None,
    has_result: bool,
    last_line: str,
) -> Outcome:
    """Say how a trial ended; its result decides, not the exit code.

    Args:
        folder: The run's.
        history: All of its validations.
        metric: The sweep's.
        code: The exit code; None if it was not started, being through already.
        has_result: Whether the result is this process's, not that of an earlier one.
        last_line: Of what the process printed.
    """
    result: dict[str, Any] = {}
    reason = f"{_ending(code)}: {last_line or 'it printed nothing'}"
    if has_result:
        try:
            result = _read(folder)
        except UsageError as error:
            reason = str(error)
    status = result.get("status")
    if status in _ENDED:
        stop = folder / STOP
        # What another program than `fit` does not say, the file does.
        if status == "stopped_early" and result.get("told_to_stop", stop.is_file()):
            return Outcome("pruned", _best(history.values, metric), _text(stop))
        return _finished(history, metric, result)
    if status == "interrupted" or code in _INTERRUPTED:
        return Outcome("interrupted", reason="interrupted by someone else")
    return Outcome("failed", reason=reason)


def _read(folder: Path) -> dict[str, Any]:
    """Return a run's result; empty where there is none.

    Raises:
        UsageError: If it is not as runs write it; the message begins with the file's name.
    """
    try:
        result = read_result(folder)
    except OSError as error:
        raise UsageError(f"{RESULT} cannot be read ({error.strerror})") from None
    except UsageError as error:
        raise UsageError(str(error).removeprefix(f"{folder}{os.sep}")) from None
    if result is None:
        return {}
    if not isinstance(result.get("status"), str):
        raise UsageError(f"{RESULT} says no status")
    return result


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "it was told to stop"


def _finished(history: History, metric: Metric | None, result: dict[str, Any]) -> Outcome:
    if metric is None:
        return Outcome("finished")
    metrics = result.get("metrics")
    if history.logged:
        value = _best(history.values, metric)
    elif isinstance(metrics, dict) and metric.name in metrics:
        value = number_or_none(metrics[metric.name])
    else:
        return Outcome("failed", reason=f"{metric.name} was not logged")
    if value is None:
        return Outcome("failed", reason=f"{metric.name} was never a number")
    return Outcome("finished", value)


def _best(values: list[float], metric: Metric | None) -> float | None:
    if metric is None or not values:
        return None
    return min(values, key=lambda value: cost(value, metric.goal))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exit code {code}"
