"""The part of a batch script that runs a training on all nodes of a job, and has it come back."""

import shlex
from collections.abc import Sequence

NOTICE = 120
"""Seconds before the time limit at which all processes are told of it, by SIGUSR1."""

_OUT_OF_TIME = 138  # 128 + SIGUSR1: the checkpoint is written

_AFTER = f"""\
code=$?
# {_OUT_OF_TIME}: the time is nearly up, the checkpoint is written. The same job goes on from there.
if [ $code -eq {_OUT_OF_TIME} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code"""


def step(command: Sequence[str], cpus: int | None) -> str:
    """Return shell lines: one process of the command on each task, and what follows its end.

    Processes leave at their own pace after a signal, the first one last: it has loggers to close.
    So one that leaves must not end the others at once (`--kill-on-bad-exit`); but where one is gone
    and the others wait for it, nobody needs them after some minutes (`--wait`).

    Args:
        command: Words.
        cpus: Cores of each task: since Slurm 22.05 a step does not take them over from its job.
    """
    srun = ["srun", "--kill-on-bad-exit=0", "--wait=300"]
    srun += [] if cpus is None else [f"--cpus-per-task={cpus}"]
    return f"{shlex.join([*srun, *command])}\n{_AFTER}"


def signal_option(notice: int = NOTICE) -> str:
    """Return the value of sbatch's `--signal`: to the processes themselves, not to the script."""
    return f"USR1@{notice}"
