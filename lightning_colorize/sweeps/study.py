"""A sweep's study in Optuna: SQLite in the sweep's folder, or PostgreSQL for several machines.

Optuna's heartbeat, with the clock of the database, finds trials whose worker died and queues them
again. A retried trial is another trial of Optuna with the same number of ours, and so with the same
run folder, from which it resumes.
"""

import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.files import write_atomic
from lightning_colorize.runs.folder import flatten
from lightning_colorize.sweeps.command_line import variables_of
from lightning_colorize.sweeps.space import as_key, combination
from lightning_colorize.sweeps.spec import Sweep, parse_sweep

if TYPE_CHECKING:
    from psycopg import Connection

SWEEP_FILE = "sweep.yaml"
STUDY_FILE = "study.db"

HEARTBEAT = 10
"""Seconds between two heartbeats of a running trial."""

GRACE_PERIOD = 60
"""Seconds without a heartbeat after which a trial is queued again."""

PATIENCE = 300.0
"""Seconds for which a worker's PostgreSQL server may be unreachable."""

NUMBER = "number"
"""Attribute of a trial: its position in the sweep, which retries keep."""

# Attributes of a study.
_SWEEP, _ROOT, _SEED, _START, _QUEUED = "sweep", "root", "seed", "start folder", "queued"
_STOPPED = "stopped"

# Attributes of a trial, besides its number.
DRAWN, REASON, EPOCH, SECONDS = "drawn", "reason", "epoch", "seconds"
RESTARTS = "restarts"  # why it was queued again, each time

_IGNORED = "# A copy for reading: the running sweep ignores edits, and is not resumed with them.\n"
_TRIAL = "trial-"
_CONNECT_TIMEOUT = 5
_ACCEPTED = "give a sweep's folder, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=ExperimentalWarning)


def retry(study: optuna.Study, trial: FrozenTrial, why: str = "its worker was killed") -> None:
    """Queue a trial again, with its values, attributes and number."""
    restarts = [*trial.user_attrs.get(RESTARTS, []), why]
    trial.user_attrs.update({NUMBER: number_of(trial), RESTARTS: restarts})
    RetryHeartbeatStaleTrialCallback()(study, trial)


class SweepStorage(RDBStorage):
    """A database of studies; `shown` is its folder or URL for messages, without the password."""

    def __init__(self, url: URL, shown: str, create: bool) -> None:
        self.shown = shown
        options: dict[str, Any] = {"connect_args": {"timeout": 60}}
        if url.get_backend_name() == "postgresql":
            options = {"pool_pre_ping": True, "creator": lambda: _connect(url, PATIENCE)}
        super().__init__(
            url.render_as_string(hide_password=False),
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE_PERIOD,
            heartbeat_stale_trial_callback=retry,
            skip_table_creation=not create,
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state; a started trial has a heartbeat from the first moment."""
        if state == TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def record_heartbeat(self, trial_id: int) -> None:
        """Record a heartbeat; Optuna's thread of heartbeats would end with a lost one."""
        with lost_if_away():
            super().record_heartbeat(trial_id)


def _connect(url: URL, patience: float) -> "Connection":
    """Connect to a PostgreSQL server, and wait some seconds for one that restarts."""
    import psycopg

    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    end, is_reported = time.monotonic() + patience, False
    while True:
        try:
            return psycopg.connect(text, connect_timeout=_CONNECT_TIMEOUT)
        except psycopg.OperationalError as error:
            if time.monotonic() >= end:
                raise
            if not is_reported:
                reason = database_message(error)
                print(f"the database does not answer ({reason}); waiting", file=sys.stderr)
                is_reported = True
        time.sleep(1.0)


def database_message(error: BaseException) -> str:
    """Return the first line of a database's message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0]


def is_database_error(error: BaseException | None) -> bool:
    """Return whether a database caused an error, however hidden."""
    if error is None or isinstance(error, SQLAlchemyError | StorageInternalError):
        return error is not None
    return is_database_error(error.__cause__ or error.__context__)


@contextmanager
def lost_if_away() -> Iterator[None]:
    """Suppress errors of a database that went away during a transaction."""
    try:
        yield
    except Exception as error:  # Optuna hides them behind others
        if not is_database_error(error):
            raise


def open_storage(given: str, create: bool, patient: bool = False) -> SweepStorage:
    """Open a storage: a sweep's folder, or a URL in SQLAlchemy's form.

    A `patient` call waits for a PostgreSQL server that restarts.
    """
    is_folder = "://" not in given
    url = _url(f"sqlite:///{Path(given) / STUDY_FILE}" if is_folder else given)
    secret = url.difference_update_query(["password", "sslpassword"])
    secret = secret.set(drivername=url.get_backend_name())
    shown = given if is_folder else secret.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database))
        if not create and not file.is_file():
            raise UsageError(f"{file} does not exist; {_ACCEPTED}")
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()  # SQLite ignores a umask that lets a group write
    if url.get_backend_name() == "postgresql":
        require_extra("cluster", "PostgreSQL", "psycopg")
    try:
        if url.get_backend_name() == "postgresql" and not patient:
            _connect(url, 0).close()
        storage = SweepStorage(url, shown, create)
        if patient and url.get_backend_name() == "sqlite":
            # Of a worker: two that read before they write could start the same trial.
            event.listen(storage.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        return storage
    except Exception as error:  # of SQLAlchemy, of a driver that may not be installed, of Optuna
        reason = database_message(error)
        raise UsageError(f"{shown} contains no study, or is not usable: {reason}") from None


def _url(given: str) -> URL:
    try:
        # Some hosts give the short form.
        url = make_url(given.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise UsageError(f"the URL of the study cannot be parsed; {_ACCEPTED}") from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            return url.set(database=str(Path(url.database).expanduser().absolute()))
        case "postgresql" if given.count("@") < 2:
            return url.set(drivername="postgresql+psycopg")
        case "postgresql":  # the rest of the password would be shown as the host
            raise UsageError("the URL of the study contains a second @: write %40 in its password")
        case backend:
            raise UsageError(f"studies cannot be stored in {backend} like this; {_ACCEPTED}")


@dataclass(frozen=True)
class Study:
    """An open study."""

    sweep: Sweep
    root: Path  # of all runs; the same on all machines that share the study
    # Where the sweep was started; trials start there too, as paths of fragments are relative to it.
    start: Path
    seed: int  # of random search
    url: str  # how another process opens it: a folder or a URL, including the password
    shown: str  # the same for messages, without the password
    optuna: optuna.Study

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
        names = variables_of(self.sweep) if action == "resume" else []
        values = (f"{each}={shlex.quote(os.environ.get(each, 'VALUE'))}" for each in names)
        return " ".join([*values, COMMAND, shlex.join(["sweep", action, self.shown, *name, *more])])

    def trials(self) -> dict[int, FrozenTrial]:
        """Return the last attempt of each trial, by number."""
        attempts = self.optuna.get_trials(deepcopy=False)
        return dict(sorted((number_of(trial), trial) for trial in attempts if self.is_ours(trial)))

    def is_ours(self, trial: FrozenTrial | Trial) -> bool:
        """Return whether a trial is one of the sweep's.

        Optuna creates another one for a worker that finds none waiting.
        """
        return self.sweep.trial_count is None or NUMBER in trial.user_attrs

    def recover(self) -> None:
        """Queue the trials of dead workers again."""
        fail_stale_trials(self.optuna)
        for trial in filter(is_lost, self.trials().values()):
            # Until then, its worker may be about to do so.
            ended = trial.datetime_complete or datetime.now()
            if datetime.now() - ended > timedelta(seconds=GRACE_PERIOD):
                retry(self.optuna, trial)

    def all_ended(self) -> bool:
        """Return whether no worker has anything left to do."""
        trials = self.trials().values()
        ended = (trial.state.is_finished() and not is_lost(trial) for trial in trials)
        return self.sweep.trial_count is not None and all(ended)

    def is_over(self) -> bool:
        """Return whether workers should start no more trials; False if the database is away."""
        with lost_if_away():
            return bool(self.stopped) or self.all_ended()
        return False

    def retry_failed(self) -> int:
        """Queue all failed trials again; returns their number."""
        failed = [trial for trial in self.trials().values() if trial.state == TrialState.FAIL]
        for trial in failed:
            retry(self.optuna, trial, "failed")
        return len(failed)

    def values_of(self, trial: BaseTrial) -> dict[str, Any]:
        """Return a trial's values, in the file's order; Optuna draws missing ones."""
        return {name: each.suggest(name, trial) for name, each in self.sweep.parameters.items()}

    @property
    def stopped(self) -> Literal["after", "now"] | None:
        """Whether workers should stop: after their trial, or now."""
        stopped: Literal["after", "now"] | None = self.optuna.user_attrs.get(_STOPPED)
        return stopped

    def stop(self, how: Literal["after", "now"] | None) -> None:
        """Stop all workers, on all machines; None lets workers take trials again."""
        with _writing(self.sweep.name):
            self.optuna.set_user_attr(_STOPPED, how)

    def require_writable(self) -> None:
        """Raise a UsageError if this user cannot add trials."""
        with _writing(self.sweep.name), TemporaryFile(dir=self.folder):
            if (file := self.folder / STUDY_FILE).exists():
                file.open("ab").close()


def number_of(trial: FrozenTrial | Trial) -> int:
    """Return a trial's position in the sweep; a retried trial has another number in Optuna."""
    number: int = trial.user_attrs.get(NUMBER, trial.number)
    return number


def is_lost(trial: FrozenTrial) -> bool:
    """Return whether a worker was killed between a trial's end and its return to the queue."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get(REASON) is None


def create_study(
    sweep: Sweep, root: Path, url: str | None = None, seed: int = 0, file: Path | None = None
) -> Study:
    """Create a sweep's study and folder and queue its trials, before any worker starts.

    If the same sweep exists, its study is opened: a second call resumes it. Trials start in the
    current folder. The database is by default in the sweep's folder, `root` / its name; the sweep
    file is copied there.

    Raises:
        UsageError: If a different study has that name, the folder contains another study's trials,
            or the database or the folder is not usable.
    """
    folder = root.resolve() / sweep.name
    with _writing(sweep.name):
        storage = open_storage(str(folder) if url is None else url, create=True)
        folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=sweep.name,
            storage=storage,
            direction="minimize" if sweep.metric is None else sweep.metric.goal,
            load_if_exists=True,
        )
        attributes = {_SWEEP: sweep.source, _ROOT: str(folder.parent), _SEED: seed}
        _describe(study, storage, folder, {**attributes, _START: str(Path.cwd())})
        # The name that optuna-dashboard shows.
        if sweep.metric is not None and study.metric_names is None:
            study.set_metric_names([sweep.metric.name])
        if file is not None:
            text = file.read_text(encoding="utf-8").removeprefix(_IGNORED)  # it may be that copy
            write_atomic(folder / SWEEP_FILE, _IGNORED + text)
        created = _study(storage, sweep.name, url or str(folder))
        _queue(created)
    return created


def _describe(
    study: optuna.Study, storage: SweepStorage, folder: Path, attributes: dict[str, Any]
) -> None:
    """Store attributes with a new study, or check that an existing one is the same sweep's."""
    known, trials = study.user_attrs, study.get_trials(deepcopy=False)
    if _SWEEP not in known and (known or trials):
        raise UsageError(
            f"{storage.shown} contains a study '{study.study_name}' that is not a sweep; "
            "choose another `name:`"
        )
    old = {key: known[key] for key in attributes if key in known}
    if different := differences(old, {key: attributes[key] for key in old}):
        raise UsageError(
            f"{storage.shown} contains a sweep '{study.study_name}' with other settings: "
            f"{different}; resume it with sweep resume, or choose another `name:`, to which "
            f"--reuse {storage.shown} adds its finished trials"
        )
    if not trials and (found := sorted(folder.glob(f"{_TRIAL}[0-9]*"))):
        raise UsageError(
            f"{folder} contains {found[0].name}, which the study in {storage.shown} does not; "
            "move the folder, or give this sweep another `name:`"
        )
    for key, value in attributes.items():
        if key not in known:
            study.set_user_attr(key, value)


def differences(known: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the settings of a sweep that differ from the known ones; "" if none does."""
    before, after = flatten(known), flatten(new)
    pairs = {name: (as_key(after.get(name)), as_key(before.get(name))) for name in before | after}
    changed = [f"{name}: {it} instead of {old}" for name, (it, old) in pairs.items() if it != old]
    # The order of parameters is the order of a grid.
    is_reordered = not changed and list(before) != list(after)
    return "order of parameters" if is_reordered else ", ".join(changed)


def _queue(study: Study) -> None:
    """Queue all trials: of a grid and of random search with their values.

    Without `run_cap` there is no end, and workers create trials.
    """
    sweep, queue = study.sweep, study.optuna
    if _QUEUED in queue.user_attrs or sweep.trial_count is None:
        return
    drawing = optuna.create_study(sampler=RandomSampler(seed=study.seed))  # in memory
    done = len(queue.get_trials(deepcopy=False))  # if this was killed before
    for number in range(sweep.trial_count):
        values = combination(sweep.parameters, number) if sweep.method == "grid" else {}
        if sweep.method == "random":
            trial = drawing.ask()
            for name, parameter in sweep.parameters.items():
                parameter.suggest(name, trial)
            values = trial.params
        if number >= done:
            queue.enqueue_trial(values, {NUMBER: number, DRAWN: values})
    queue.set_user_attr(_QUEUED, True)


def open_study(url: str, name: str | None = None, patient: bool = False) -> Study:
    """Open an existing study, from any machine.

    `url` is the sweep's folder or a database, which needs the study's name if it contains several.
    A `patient` call waits for a PostgreSQL server that restarts.
    """
    with _writing(Path(url).name):
        storage = open_storage(url, create=False, patient=patient)
    names = sorted(
        study.study_name
        for study in storage.get_all_studies()
        if {_SWEEP, _ROOT, _SEED, _START} <= study.user_attrs.keys()
    )
    known = ", ".join(names)
    if not names:
        raise UsageError(f"{storage.shown} contains no sweep; start one with sweep run")
    if name is None and len(names) > 1:
        raise UsageError(f"{storage.shown} contains several sweeps; give --name: {known}")
    if name is not None and name not in names:
        raise UsageError(f"{storage.shown} contains no sweep '{name}'; known are {known}")
    return _study(storage, name or names[0], url)


def _study(storage: SweepStorage, name: str, url: str) -> Study:
    study = optuna.load_study(study_name=name, storage=storage)
    known = study.user_attrs
    # A sweep file without a name has the sweep's name.
    sweep = parse_sweep(known[_SWEEP], f"{name}.yaml")
    if sweep.method == "bayes":
        study.sampler = TPESampler(multivariate=True, constant_liar=True)
    else:
        study.sampler = RandomSampler()
    study.pruner = sweep.pruner
    # The root of a sweep whose folder was moved or copied is where the folder is.
    is_folder = "://" not in url
    folder = Path(os.path.abspath(url))
    if folder.name != name:  # or else a link to it
        folder = folder.resolve()
    if is_folder and folder.name != name:
        raise UsageError(f"{folder} contains the sweep '{name}'; give the folder that name again")
    return Study(
        sweep=sweep,
        root=folder.parent.resolve() if is_folder else Path(known[_ROOT]),
        start=Path(known[_START]),
        seed=known[_SEED],
        url=str(folder) if is_folder else url,
        shown=storage.shown,
        optuna=study,
    )


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """Report in one line that a sweep's study or folder is not writable."""
    try:
        yield
    except (OSError, OptunaError, SQLAlchemyError) as error:
        reason = database_message(error)
        if isinstance(error, PermissionError) or "readonly" in reason:
            reason += (
                "; to share its folder, its owner runs chmod -R g+rwX FOLDER, and umask 002 "
                "before sweep run"
            )
        raise UsageError(f"the sweep '{name}' is not writable: {reason}") from None
