"""Batch scripts and their submission through submitit; resources are checked first."""

import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.cluster.queue import reason
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.extras import require_extra

if TYPE_CHECKING:
    from submitit import SlurmExecutor

NOTICE = 120
"""Seconds before the time limit at which all processes receive SIGUSR1."""

_OUT_OF_TIME = 138  # 128 + SIGUSR1: the checkpoint is written

_AFTER = f"""\
code=$?
# {_OUT_OF_TIME}: the time limit is near, the checkpoint is written. The same job resumes.
if [ $code -eq {_OUT_OF_TIME} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code"""

_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_OURS = {
    *("nodes", "ntasks", "ntasks-per-node", "array", "signal", "export", "requeue", "no-requeue"),
    *("output", "error", "open-mode", "job-name"),
}


@dataclass(frozen=True)
class Resources:
    """Resources of a job; None for the cluster's default."""

    partition: str | None = None
    time: int | str | None = None  # limit in minutes, or as [D-]HH:MM:SS
    gpus: int | None = None  # per node
    cpus: int | None = None  # per task
    mem: str | None = None  # per node in Slurm's form, such as `16G`; `0` for all of it
    account: str | None = None
    qos: str | None = None
    # Other sbatch options by their long names (`{"constraint": "a100"}`); true for flags.
    extra: Mapping[str, str | bool] = field(default_factory=dict)


def parameters(asked: Resources, shortest: int) -> dict[str, Any]:
    """Return submitit's parameters for a job, with a time limit of at least `shortest` minutes.

    Options that the program sets itself are refused.
    """
    extra = {name.replace("_", "-"): value for name, value in asked.extra.items()}
    if taken := sorted(extra.keys() & _OURS):
        raise UsageError(f"--{taken[0]} is chosen for you; leave it out")
    return {
        "partition": asked.partition,
        "time": None if asked.time is None else _minutes(asked.time, shortest),
        "gpus_per_node": asked.gpus or None,
        "cpus_per_task": asked.cpus,
        "mem": asked.mem,
        "account": asked.account,
        "qos": asked.qos,
        "wckey": None,
        "use_srun": False,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **extra},
    }


def executor(folder: Path, needed_by: str) -> "SlurmExecutor":
    """Return submitit's executor, which creates the batch script."""
    require_extra("cluster", needed_by, "submitit")
    from submitit import SlurmExecutor

    class Executor(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            """Allow a dry run without Slurm."""
            return 2

    return Executor(folder)


@contextmanager
def submission(**environment: str) -> Iterator[None]:
    """Submit jobs in this context: it sets their environment and explains refusals.

    Other users cannot read the environment, unlike arguments.
    """
    from submitit.core.utils import FailedJobError
    from submitit.helpers import environment_variables

    # Some clusters do not export the environment by default.
    variables = environment_variables(**environment, SBATCH_EXPORT="ALL")
    try:
        # submitit prints what it raises.
        with variables, redirect_stderr(io.StringIO()):
            yield
    except FailedJobError as error:
        raise UsageError(f"Slurm refuses the job: {reason(str(error))}") from None


def _minutes(limit: int | str, shortest: int) -> int:
    """Return a time limit in minutes, rounded up."""
    if match := _TIME.fullmatch(str(limit)):
        days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
        total = (days * 24 + hours) * 60 + minutes + (seconds > 0)
    elif str(limit).isdecimal():
        total = int(limit)
    else:
        raise UsageError(f"--time {limit} is not a time; write minutes (240) or HH:MM:SS")
    if total < shortest:
        raise UsageError(f"--time {limit} is too short; give at least {shortest} min")
    return total


def step(command: Sequence[str], cpus: int | None) -> str:
    """Return shell lines that run the command in each task, and requeue the job if needed.

    After a signal, processes exit at different times, rank 0 last, as it closes the loggers. One
    exit must not kill the others (`--kill-on-bad-exit`), but processes that wait for a dead one
    are killed after some minutes (`--wait`). `cpus` are per task; since Slurm 22.05 a step does not
    inherit them from its job.
    """
    srun = ["srun", "--kill-on-bad-exit=0", "--wait=300"]
    srun += [] if cpus is None else [f"--cpus-per-task={cpus}"]
    return f"{shlex.join([*srun, *command])}\n{_AFTER}"
