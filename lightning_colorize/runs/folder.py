"""The files of a run folder: names, configuration, lock, stop request and checkpoints.

A run folder is `<root>/<experiment>/<run name>/`. Sweeps, lists and scripts of users access a run
only through these files.
"""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.bundled import with_bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.mappings import read_mapping
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.runs.artifacts import download, is_artifact

CONFIG = "config.yaml"
METRICS = "metrics.csv"
THROUGHPUT = "throughput.csv"
RESULT = "result.json"
CHECKPOINTS = "checkpoints"
BEST = "checkpoints/best.ckpt"
LAST = "checkpoints/last.ckpt"
IMAGES = "images"
BEST_IMAGES = "images/best"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
WANDB_ID = "wandb/id"
MLFLOW_ID = "mlflow/id"
LOCK = ".lock"
VALIDATIONS = "validations.jsonl"
STOP = "stop"
OUTPUT = "output.log"
# Seconds to wait for a lock: a list of runs acquires each for an instant, and the loader workers of
# a killed process hold it for up to 5 s.
_PATIENCE = 8

TRIAL = "LIGHTNING_COLORIZE_TRIAL"
"""Environment variable with the run folder of a sweep's trial."""

SWEEP = "LIGHTNING_COLORIZE_SWEEP"
"""Environment variable with the sweep's name, by which loggers group its trials."""

VALUES = "LIGHTNING_COLORIZE_VALUES"
"""Environment variable with the swept values of a trial, which loggers add to its name."""


def find_runs(root: Path) -> list[Path]:
    """Return the run folders with a configuration or a result, sorted by path."""
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; pass the folder of your runs (--root FOLDER)")
    names = (CONFIG, RESULT)
    return sorted(f for f in root.glob("*/*/") if any((f / name).is_file() for name in names))


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's configuration as nested dictionaries; empty if it was not written."""
    return read_mapping(path, "model") if (path := folder / CONFIG).is_file() else {}


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one with dotted names: `{"a": {"b": 1}}` gives `{"a.b": 1}`.

    Lists, None and other values stay as they are; so does an empty mapping, which would be lost
    otherwise.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def lock(folder: Path) -> AbstractContextManager[Any]:
    """Take the lock of a run folder, so that no other process writes into it.

    The context, which has begun when this returns, releases it.

    Raises:
        UsageError: If another process holds it, or the folder is read-only.
    """
    from filelock import FileLock, Timeout

    try:
        return FileLock(folder / LOCK).acquire(timeout=_PATIENCE)
    except Timeout:
        raise UsageError(f"another process is writing into {folder} now") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}") from None


def is_running(folder: Path) -> bool:
    """Return whether a process trains this run, on any machine that shares the folder."""
    from filelock import FileLock, Timeout

    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # the folder is read-only


def request_stop(folder: Path, reason: str) -> None:
    """End a run after its next validation; an earlier request stays."""
    if not (folder / STOP).exists():
        write_atomic(folder / STOP, f"{reason}\n")


def is_stop_requested(folder: Path) -> bool:
    """Return whether a process has written a request; any that sees the run folder can."""
    return (folder / STOP).is_file()


def read_stop_reason(folder: Path) -> str:
    """Return the reason of the request; `stopped early` if its file is gone."""
    stop = folder / STOP
    return stop.read_text(encoding="utf-8").strip() if stop.is_file() else "stopped early"


def is_run(folder: Path) -> bool:
    """Return whether a folder contains files of a run."""
    files = (CONFIG, METRICS, RESULT)
    return any((folder / name).is_file() for name in files) or (folder / CHECKPOINTS).is_dir()


def run_of(path: Path) -> Path | None:
    """Return the run folder that a path is, or that contains the checkpoint; None if neither."""
    folder = path.parent.parent if path.parent.name == CHECKPOINTS else path
    return folder if folder.is_dir() and is_run(folder) else None


def checkpoint_of(path: Path) -> Path:
    """Return the checkpoint of an argument: the file itself, or a run folder's best, else last.

    `default` and `default-samples` are the bundled models. `wandb:ENTITY/PROJECT/ARTIFACT:ALIAS` is
    downloaded.
    """
    if is_artifact(path):
        return download(path)
    path = with_bundled(path)
    try:
        if path.is_file():
            return path
        if not path.is_dir():
            raise UsageError(f"{path} does not exist; give a checkpoint file or a run folder")
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    raise UsageError(
        f"{path} contains neither {BEST} nor {LAST}; give a checkpoint or a run folder"
    )


# The first process passes the folder to the processes that it starts, with its own process id:
# other programs that it starts, such as another run, inherit the variable too.
_VARIABLE = "LIGHTNING_COLORIZE_RUN_FOLDER"


def new_run_folder(
    root: Path, experiment: str, name: str | None, auto_resume: bool = False
) -> Path:
    """Return the folder of a run; a sweep sets the folder of each trial.

    The default name is the time. With `auto_resume` the run may exist already; only Slurm's jobs
    then have a default name: the job ID, which the next start has too.
    """
    if trial := os.environ.get(TRIAL):
        return Path(trial)
    first = is_first_process()
    parent, _, passed = os.environ.get(_VARIABLE, "").partition(":")
    if not first and parent == str(os.getppid()):
        return Path(passed)
    if auto_resume:
        name = name or os.environ.get("SLURM_JOB_ID")
        if not name:
            raise UsageError(
                "--run.auto_resume: true needs --run.name, by which the next start finds the run; "
                "only Slurm jobs have a default name"
            )
    folder = root / experiment / (name or _default_name())
    if first and not auto_resume:
        refuse_taken(folder)
    os.environ[_VARIABLE] = f"{os.getpid()}:{folder}"
    return folder


def begun_trial() -> Path | None:
    """Return the folder of a sweep's trial that has a checkpoint to resume from; else None."""
    trial = Path(os.environ.get(TRIAL, ""))
    return trial if TRIAL in os.environ and has_checkpoint(trial) else None


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run has a checkpoint to resume from; the last may have been deleted."""
    return any((folder / name).is_file() for name in (LAST, BEST))


def begin(folder: Path, resumed: bool, auto_resume: bool) -> None:
    """Prepare the folder of a run, whose lock this process holds.

    A run that was killed before its first checkpoint cannot be resumed: with `auto_resume`, and in
    a sweep's trial, its files are removed. A request to stop the previous process is removed; a
    sweep's request stays, as it applies to the trial.

    Raises:
        UsageError: If the folder of a new run contains another run.
    """
    is_trial = TRIAL in os.environ
    if not (resumed or is_trial or auto_resume):
        refuse_taken(folder)
    elif not resumed:
        for name in (CONFIG, METRICS, THROUGHPUT, RESULT, VALIDATIONS):
            (folder / name).unlink(missing_ok=True)
        for name in (CHECKPOINTS, IMAGES, TENSORBOARD):
            shutil.rmtree(folder / name, ignore_errors=True)
    if not is_trial:
        (folder / STOP).unlink(missing_ok=True)


def refuse_taken(folder: Path) -> None:
    """Refuse a folder that contains a run."""
    if any(os.path.exists(folder / name) for name in (CONFIG, RESULT)):
        raise UsageError(
            f"{folder} holds a run already; give another --run.name, "
            f"or resume it: {COMMAND} resume {folder}"
        )


def _default_name() -> str:
    """Return the time; with several processes, a name that they agree on."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _from_torchrun()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return os.environ["SLURM_JOB_ID"]
    return _now()


def _from_torchrun() -> str:
    """Return the first process's time, through the store of torchrun.

    torchrun's own job name is `none` by default.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UsageError("with torchrun, pass --run.name: its store is not shared")

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False)
    key = "lightning_colorize/run"
    if is_first_process():
        store.set(key, _now())
    return store.get(key).decode()


def _now() -> str:
    # The process id separates two runs that start in the same second.
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid():x}"
