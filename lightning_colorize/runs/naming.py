"""The folder of a new run, the same in all of its processes."""

import os
import shutil
import time
from pathlib import Path

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    IMAGES,
    LAST,
    METRICS,
    RESULT,
    STOP,
    TENSORBOARD,
    THROUGHPUT,
    TRIAL,
    VALIDATIONS,
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
    return trial if TRIAL in os.environ and (trial / LAST).is_file() else None


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
    if (folder / CONFIG).exists() or (folder / RESULT).exists():
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
