"""Where a new run goes: a folder that is no other run's, the same in all of its processes."""

import os
import shutil
import time
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    IMAGES,
    LAST,
    METRICS,
    RESULT,
    TENSORBOARD,
    THROUGHPUT,
    TRIAL,
    VALIDATIONS,
)

# Where the first process tells those that it starts which folder the run has. With its own number,
# since what else it starts, another run by torchrun among it, inherits the variable too.
_VARIABLE = "LIGHTNING_COLORIZE_RUN_FOLDER"


def new_run_folder(
    root: Path, experiment: str, name: str | None, auto_resume: bool = False
) -> Path:
    """Return the folder of a run; a sweep's trial has the one that the sweep gave it.

    Args:
        root: Folder of all runs.
        experiment: Name of the folder below it.
        name: Name of the run; by default the time.
        auto_resume: Whether the run may have begun there; its name is then one that the next
            start finds again, by default Slurm's job ID.

    Raises:
        UsageError: If there is such a run already and it is not to go on, or if it is to and has no
            name.
    """
    if trial := os.environ.get(TRIAL):
        return Path(trial)
    rank = _rank()
    if rank and (given := _from_parent()):
        return given
    if auto_resume:
        folder = root / experiment / (name or _name_of_job())
    else:
        folder = root / experiment / (name or _default_name())
        if not rank:
            refuse_taken(folder)
    os.environ[_VARIABLE] = f"{os.getpid()}:{folder}"
    return folder


def begun_trial() -> Path | None:
    """Return the folder of a sweep's trial that goes on from its checkpoint; None for a new run."""
    trial = Path(os.environ.get(TRIAL, ""))
    return trial if TRIAL in os.environ and (trial / LAST).is_file() else None


def begin(folder: Path, auto_resume: bool = False) -> None:
    """Make sure that a new run begins in a folder without one, once no other process can.

    A run that was killed before its first checkpoint leaves nothing to go on with: if it is to go
    on, as a sweep's trial always is, its files make room.

    Args:
        folder: The run's.
        auto_resume: Whether the run may have begun there.

    Raises:
        UsageError: If the folder is another run's.
    """
    if TRIAL not in os.environ and not auto_resume:
        refuse_taken(folder)
        return
    for name in (CONFIG, METRICS, THROUGHPUT, RESULT, VALIDATIONS):
        (folder / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, IMAGES, TENSORBOARD):
        shutil.rmtree(folder / name, ignore_errors=True)


def refuse_taken(folder: Path) -> None:
    """Refuse a folder that is a run's.

    Raises:
        UsageError: If it is.
    """
    if (folder / CONFIG).exists() or (folder / RESULT).exists():
        raise UsageError(
            f"{folder} holds a run already; give another --run.name, "
            f"or go on with it: lightning-colorize resume {folder}"
        )


def _rank() -> int:
    """Return this process's number, before any process group is there."""
    for variable in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if value := os.environ.get(variable):
            return int(value)
    return 0


def _from_parent() -> Path | None:
    """Return the folder of the run whose first process started this one; None if none did."""
    parent, _, folder = os.environ.get(_VARIABLE, "").partition(":")
    return Path(folder) if parent == str(os.getppid()) else None


def _name_of_job() -> str:
    if job := os.environ.get("SLURM_JOB_ID"):
        return job
    raise UsageError(
        "--run.auto_resume: true needs --run.name, by which the next start finds the run again; "
        "only a job of Slurm has a name of its own"
    )


def _default_name() -> str:
    """Return the time; where a launcher started several processes at once, what they agree on."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _from_torchrun()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return os.environ["SLURM_JOB_ID"]
    return _now()


def _from_torchrun() -> str:
    """Return the first process's time, through the store by which torchrun's processes meet.

    torchrun's own name for a job is `none` unless one is given.

    Raises:
        UsageError: If torchrun keeps its store to itself.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UsageError("processes of torchrun that do not share its store need --run.name")

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False)
    key = "lightning_colorize/run"
    if _rank() == 0:
        store.set(key, _now())
    return store.get(key).decode()


def _now() -> str:
    # The process number keeps apart two runs that start in the same second.
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid():x}"
