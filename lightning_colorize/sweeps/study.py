"""A sweep's study: the sweep itself and its trials, in a file or database that workers share."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.records import latest
from lightning_colorize.sweeps.retry import first_line
from lightning_colorize.sweeps.spec import Sweep, parse_sweep
from lightning_colorize.sweeps.storage import Place, open_place

SWEEP_FILE = "sweep.yaml"

# Names of a study's attributes.
_SWEEP, _ROOT, _SEED, _STOPPED = "sweep", "root", "seed", "stopped"
_START = "start folder"
_TRIAL = "trial-"
_DIFFERENT = {
    _SWEEP: "other settings",
    _ROOT: "another root",
    _SEED: "another seed",
    _START: "another start folder",
}


@dataclass(frozen=True)
class Study:
    """An open study.

    Attributes:
        sweep: What is searched.
        root: Folder of all runs; the same on all machines that share the study.
        start: Folder in which the sweep was begun: there its trials are started, as paths of
            fragments are relative to it.
        seed: Of everything that is drawn.
        address: How another process opens it: a folder or a URL, with the password if any.
        shown: The same for people to read, without the password.
        inner: Optuna's.
        storage: Optuna's, for what its study cannot do.
        id: The study's number in it.
        lock: Held while trials are chosen and closed.
    """

    sweep: Sweep
    root: Path
    start: Path
    seed: int
    address: str
    shown: str
    inner: optuna.Study
    storage: BaseStorage
    id: int
    lock: AbstractContextManager[None]

    @property
    def folder(self) -> Path:
        """The folder of the sweep, in which each trial has a run folder of its own."""
        return self.root / self.sweep.name

    def folder_of(self, number: int) -> Path:
        """Return a trial's run folder."""
        return self.folder / f"{_TRIAL}{number:04d}"

    def command(self, action: str, *more: str) -> str:
        """Return what to type for another action of `sweep` with this study, to be copied."""
        # In a database there may be others; with `=` a name may begin with a hyphen.
        name = [f"--name={self.sweep.name}"] if "://" in self.shown else []
        return shlex.join(["lightning-colorize", "sweep", action, self.shown, *name, *more])

    @property
    def stopped(self) -> Literal["after", "now"] | None:
        """Whether workers are to end: after their trial, or at once."""
        attributes = self.storage.get_study_user_attrs(self.id)
        stopped: Literal["after", "now"] | None = attributes.get(_STOPPED)
        return stopped

    def stop(self, now: bool = False) -> None:
        """Tell all workers, on all machines, to end.

        Args:
            now: Whether trials that run are interrupted, to go on from their checkpoints when the
                sweep is resumed; otherwise they run to their end.

        Raises:
            UsageError: If the study cannot be written.
        """
        self._tell("now" if now else "after")

    def resume(self) -> None:
        """Let workers work again.

        Raises:
            UsageError: If the study cannot be written.
        """
        self._tell(None)

    def _tell(self, word: str | None) -> None:
        with _writing(self.sweep.name):
            self.storage.set_study_user_attr(self.id, _STOPPED, word)


def create_study(
    sweep: Sweep, root: Path, url: str | None = None, seed: int = 0, file: Path | None = None
) -> Study:
    """Create a sweep's study and folder; to be done before any worker starts.

    The same sweep again opens its study: to call it twice is to go on. The folder in which this is
    called is that in which trials will be started.

    Args:
        sweep: What is searched.
        root: Folder of all runs; the sweep's folder has its name.
        url: A database; by default a journal in the sweep's folder.
        seed: Of everything that is drawn.
        file: The sweep file, of which the folder keeps a copy.

    Raises:
        UsageError: If there is a study of that name already that is not the same, if the folder
            holds another study's trials, or if the database or the folder cannot be used.
    """
    folder = root.resolve() / sweep.name
    with _writing(sweep.name):
        place = open_place(str(folder) if url is None else url, create=True)
        _create(place, folder, sweep, seed)
        folder.mkdir(parents=True, exist_ok=True)
        if file is not None:
            # It may be that copy which is run again.
            with suppress(shutil.SameFileError):
                shutil.copyfile(file, folder / SWEEP_FILE)
    return _study(place, sweep.name)


def _create(place: Place, folder: Path, sweep: Sweep, seed: int) -> None:
    """Create a study, or make sure that the one that is there is the same sweep's."""
    direction = "minimize" if sweep.metric is None else sweep.metric.goal
    wanted = {_SWEEP: sweep.source, _ROOT: str(folder.parent), _SEED: seed}
    wanted[_START] = str(Path.cwd())
    with place.lock(sweep.name):
        inner = optuna.create_study(
            storage=place.storage,
            study_name=sweep.name,
            direction=direction,
            load_if_exists=True,
        )
        known = inner.user_attrs
        if _refused(inner, known):
            raise UsageError(
                f"{place.shown} has a study '{sweep.name}' that is no sweep's; "
                "give this one another `name:`"
            )
        # Attributes that are missing are those of a creation that was killed.
        different = [key for key in wanted if key in known and not _same(known[key], wanted[key])]
        if different:
            what = " and ".join(_DIFFERENT[key] for key in different)
            raise UsageError(
                f"{place.shown} has a sweep '{sweep.name}' with {what}; "
                "give this one another `name:`, or go on with that one: sweep resume"
            )
        _refuse_strangers(place, folder, len(latest(inner.get_trials(deepcopy=False))))
        # The sweep first: by it a study is known to be one's.
        for key in wanted:
            if key not in known:
                inner.set_user_attr(key, wanted[key])
        # What optuna-dashboard calls the values.
        if sweep.metric is not None and inner.metric_names is None:
            inner.set_metric_names([sweep.metric.name])


def _refuse_strangers(place: Place, folder: Path, trials: int) -> None:
    """Refuse a folder with trials that a study has not made: it would take their results."""
    found = [re.fullmatch(rf"{_TRIAL}(\d+)", path.name) for path in folder.glob(f"{_TRIAL}*")]
    strangers = sorted(name[0] for name in found if name and int(name[1]) >= trials)
    if strangers:
        raise UsageError(
            f"{folder} holds {strangers[0]}, of which the study in {place.shown} knows nothing; "
            "move the folder, or give this sweep another `name:`"
        )


def open_study(address: str, name: str | None = None) -> Study:
    """Open a study that exists, from any machine.

    Args:
        address: The sweep's folder, its journal, or the URL of a database.
        name: Which of several; by default the only one.

    Raises:
        UsageError: If there is none, several and no name, or the database cannot be used.
    """
    place = open_place(address, create=False)
    names = sorted(
        study.study_name
        for study in place.storage.get_all_studies()
        if {_SWEEP, _ROOT, _SEED, _START} <= study.user_attrs.keys()
    )
    if not names:
        raise UsageError(f"{place.shown} holds no sweep; begin one with sweep run")
    if name is None and len(names) > 1:
        raise UsageError(f"{place.shown} holds several sweeps; give --name: {', '.join(names)}")
    if name is not None and name not in names:
        raise UsageError(f"{place.shown} holds no sweep '{name}'; there are {', '.join(names)}")
    return _study(place, name or names[0])


def _study(place: Place, name: str) -> Study:
    inner = optuna.load_study(study_name=name, storage=place.storage)
    known = inner.user_attrs
    # A sweep file without a name is called as its sweep.
    sweep = parse_sweep(known[_SWEEP], f"{name}.yaml")
    return Study(
        sweep,
        _root(place, name, Path(known[_ROOT])),
        Path(known[_START]),
        known[_SEED],
        place.address,
        place.shown,
        inner,
        place.storage,
        place.storage.get_study_id_from_name(name),
        place.lock(name),
    )


def _root(place: Place, name: str, known: Path) -> Path:
    """Return the folder of all runs: a sweep whose folder was moved, or copied, is where it is."""
    folder = Path(place.address)
    return folder.parent if "://" not in place.address and folder.name == name else known


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """Say in one line that a sweep's study or folder cannot be written."""
    try:
        yield
    except (OSError, OptunaError) as error:
        raise UsageError(f"the sweep '{name}' cannot be written: {first_line(error)}") from None


def _refused(inner: optuna.Study, known: dict[str, Any]) -> bool:
    """Return whether a study is somebody else's."""
    return _SWEEP not in known and bool(known or inner.get_trials(deepcopy=False))


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON: the order of parameters counts, as it is that of a grid."""
    return json.dumps(one) == json.dumps(other)
