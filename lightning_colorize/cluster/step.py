"""The part of a batch script that trains on all nodes of a job and requeues it."""

import shlex
from collections.abc import Sequence

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


def step(command: Sequence[str], cpus: int | None) -> str:
    """Return shell lines that run the command in each task, and requeue the job if needed.

    After a signal, processes exit at different times, rank 0 last, as it closes the loggers. One
    exit must not kill the others (`--kill-on-bad-exit`), but processes that wait for a dead one
    are killed after some minutes (`--wait`).

    Args:
        command: The command's words.
        cpus: Cores per task; since Slurm 22.05 a step does not inherit them from its job.
    """
    srun = ["srun", "--kill-on-bad-exit=0", "--wait=300"]
    srun += [] if cpus is None else [f"--cpus-per-task={cpus}"]
    return f"{shlex.join([*srun, *command])}\n{_AFTER}"
