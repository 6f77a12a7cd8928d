"""A sweep's study: the sweep and its trials, in a file or database that workers share."""

import json
import math
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.space import suggest
from lightning_colorize.sweeps.spec import Sweep, parse_sweep
from lightning_colorize.sweeps.storage import OpenStorage, database_message, open_storage

SWEEP_FILE = "sweep.yaml"

# Attributes of a study.
_SWEEP, _ROOT, _SEED, _START, _STOPPED = "sweep", "root", "seed", "start folder", "stopped"
# Attributes of a trial.
LEASE, REASON, EPOCH, SECONDS = "lease", "reason", "epoch", "seconds"
INTERRUPTIONS, RETRY_OF = "interruptions", "again"

_TRIAL = "trial-"


@dataclass(frozen=True)
class Study:
    """An open study."""

    sweep: Sweep
    root: Path  # of all runs; the same on all machines that share the study
    # Where the sweep was started; trials start there too, as paths of fragments are relative to it.
    start: Path
    seed: int  # of all random draws
    url: str  # how another process opens it: a folder or a URL, including the password
    shown: str  # the same for messages, without the password
    inner: optuna.Study
    storage: BaseStorage  # for operations that `inner` lacks
    id: int
    lock: AbstractContextManager[Any]  # held while trials are taken and closed

    @property
    def folder(self) -> Path:
        """The folder of the sweep, which contains the run folder of each trial."""
        return self.root / self.sweep.name

    def folder_of(self, number: int) -> Path:
        """Return a trial's run folder."""
        return self.folder / f"{_TRIAL}{number:04d}"

    def command(self, action: str, *more: str) -> str:
        """Return the command line for another `sweep` action on this study, ready to copy."""
        # A database may contain several; with `=` a name may begin with a hyphen.
        name = [f"--name={self.sweep.name}"] if "://" in self.shown else []
        return f"{COMMAND} {shlex.join(['sweep', action, self.shown, *name, *more])}"

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, by number.

        Optuna cannot reopen a failed trial. A retried trial is another trial there, which replaces
        the first: it has the same number, and thus the same folder and values.
        """
        by_number: list[FrozenTrial] = []
        # Copying each of many trials would take longer than everything else.
        for trial in self.storage.get_all_trials(self.id, deepcopy=False):
            number = trial.user_attrs.get(RETRY_OF)
            if number is None:
                by_number.append(trial)
            else:
                by_number[number] = trial
        return by_number

    def values_of(self, trial: BaseTrial) -> dict[str, Any]:
        """Return a trial's values, in the file's order; Optuna draws missing ones."""
        return {name: suggest(p, name, trial) for name, p in self.sweep.parameters.items()}

    @property
    def stopped(self) -> Literal["after", "now"] | None:
        """Whether workers should stop: after their trial, or now."""
        attributes = self.storage.get_study_user_attrs(self.id)
        stopped: Literal["after", "now"] | None = attributes.get(_STOPPED)
        return stopped

    def stop(self, now: bool = False) -> None:
        """Stop all workers, on all machines: after their trials, or by interrupting them `now`."""
        self._set_stopped("now" if now else "after")

    def resume(self) -> None:
        """Let workers take trials again."""
        self._set_stopped(None)

    def _set_stopped(self, word: str | None) -> None:
        with _writing(self.sweep.name):
            self.storage.set_study_user_attr(self.id, _STOPPED, word)


def create_study(
    sweep: Sweep, root: Path, url: str | None = None, seed: int = 0, file: Path | None = None
) -> Study:
    """Create a sweep's study and folder, before any worker starts.

    If the same sweep exists, its study is opened: a second call resumes it. Trials start in the
    current folder. The database is by default a journal in the sweep's folder, `root` / its name;
    the sweep file is copied there.

    Raises:
        UsageError: If a different study has that name, the folder contains another study's trials,
            or the database or the folder is not usable.
    """
    folder = root.resolve() / sweep.name
    with _writing(sweep.name):
        storage = open_storage(str(folder) if url is None else url, create=True)
        _create(storage, folder, sweep, seed)
        folder.mkdir(parents=True, exist_ok=True)
        if file is not None:
            # The file may be that copy.
            with suppress(shutil.SameFileError):
                shutil.copyfile(file, folder / SWEEP_FILE)
    return _study(storage, sweep.name)


def _create(opened: OpenStorage, folder: Path, sweep: Sweep, seed: int) -> None:
    """Create a study, or check that the existing one is the same sweep's."""
    expected = {_SWEEP: sweep.source, _ROOT: str(folder.parent), _SEED: seed}
    expected[_START] = str(Path.cwd())
    with opened.lock(sweep.name):
        inner = optuna.create_study(
            study_name=sweep.name,
            storage=opened.storage,
            direction="minimize" if sweep.metric is None else sweep.metric.goal,
            load_if_exists=True,
        )
        known = inner.user_attrs
        trials = inner.get_trials(deepcopy=False)
        if _SWEEP not in known and (known or trials):
            raise UsageError(
                f"{opened.shown} contains a study '{sweep.name}' that is not a sweep; "
                "choose another `name:`"
            )
        # A creation that was killed may lack attributes. As JSON: the order of parameters is the
        # order of a grid.
        both = [key for key in expected if key in known]
        if different := [k for k in both if json.dumps(known[k]) != json.dumps(expected[k])]:
            raise UsageError(
                f"{opened.shown} contains a sweep '{sweep.name}' with a different "
                f"{' and '.join(different)}; choose another `name:`, or resume that sweep with "
                "sweep resume"
            )
        count = sum(RETRY_OF not in trial.user_attrs for trial in trials)
        _refuse_unknown_trials(opened, folder, count)
        # The sweep first: it marks the study as a sweep's.
        for key in expected:
            if key not in known:
                inner.set_user_attr(key, expected[key])
        # The name that optuna-dashboard shows.
        if sweep.metric is not None and inner.metric_names is None:
            inner.set_metric_names([sweep.metric.name])


def _refuse_unknown_trials(opened: OpenStorage, folder: Path, trials: int) -> None:
    """Refuse a folder with another study's trials, whose results would be taken over."""
    found = [re.fullmatch(rf"{_TRIAL}(\d+)", path.name) for path in folder.glob(f"{_TRIAL}*")]
    unknown = sorted(name[0] for name in found if name and int(name[1]) >= trials)
    if unknown:
        raise UsageError(
            f"{folder} contains {unknown[0]}, which the study in {opened.shown} does not; "
            "move the folder, or give this sweep another `name:`"
        )


def open_study(url: str, name: str | None = None) -> Study:
    """Open an existing study, from any machine.

    `url` is the sweep's folder or a database, which needs the study's name if it contains several.
    """
    opened = open_storage(url, create=False)
    names = sorted(
        study.study_name
        for study in opened.storage.get_all_studies()
        if {_SWEEP, _ROOT, _SEED, _START} <= study.user_attrs.keys()
    )
    if not names:
        raise UsageError(f"{opened.shown} contains no sweep; start one with sweep run")
    if name is None and len(names) > 1:
        raise UsageError(f"{opened.shown} contains several sweeps; give --name: {', '.join(names)}")
    if name is not None and name not in names:
        known = ", ".join(names)
        raise UsageError(f"{opened.shown} contains no sweep '{name}'; known are {known}")
    return _study(opened, name or names[0])


def _study(opened: OpenStorage, name: str) -> Study:
    inner = optuna.load_study(study_name=name, storage=opened.storage)
    known = inner.user_attrs
    # The root of a sweep whose folder was moved or copied is where the folder is.
    folder = Path(opened.url)
    is_moved = "://" not in opened.url and folder.name == name
    return Study(
        # A sweep file without a name has the sweep's name.
        sweep=parse_sweep(known[_SWEEP], f"{name}.yaml"),
        root=folder.parent if is_moved else Path(known[_ROOT]),
        start=Path(known[_START]),
        seed=known[_SEED],
        url=opened.url,
        shown=opened.shown,
        inner=inner,
        storage=opened.storage,
        id=opened.storage.get_study_id_from_name(name),
        lock=opened.lock(name),
    )


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """Report in one line that a sweep's study or folder is not writable."""
    try:
        yield
    except (OSError, OptunaError) as error:
        raise UsageError(f"the sweep '{name}' is not writable: {database_message(error)}") from None


def history_of(trial: FrozenTrial) -> list[float]:
    """Return the logged values of a trial's metric, in their order."""
    values: Sequence[float] = [v for _, v in sorted(trial.intermediate_values.items())]
    # Optuna deletes none: retracted values are NaN.
    return [value for value in values if math.isfinite(value)]


def seconds_of(trial: FrozenTrial) -> float | None:
    """Return the total run time of a trial's processes; None before the first."""
    earlier: float | None = trial.user_attrs.get(SECONDS)
    # A waiting trial keeps the start of its last process.
    if trial.datetime_start is None or trial.state == TrialState.WAITING:
        return earlier
    last = (trial.datetime_complete or datetime.now()) - trial.datetime_start
    return (earlier or 0.0) + last.total_seconds()
