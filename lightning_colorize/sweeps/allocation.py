"""What a job of a cluster runs: a worker that has the allocation to itself.

The batch script's shell replaces itself by the worker (no `srun`): so signals of Slurm reach the
worker, which gives its trial time to write a checkpoint. `srun`, when it is terminated, kills its
tasks at once; and since Slurm 22.05 a step does not have the job's `--cpus-per-task`.

A trial's processes are its own affair: `fit --trainer.devices 2 --trainer.strategy ddp` starts the
second one, on the same node, as it does outside a cluster. For that the variables must go by which
Slurm tells a task of `srun` its place: Lightning would otherwise (SLURM_NTASKS) wait for a task per
device that nobody starts, and both processes would take themselves for the first (SLURM_PROCID).
The others stay, such as SLURM_JOB_ID. All processes of a trial are on one node.

How a job comes to its end before the sweep does:

- Slurm requeues it (pre-emption with PreemptMode=REQUEUE, a node that failed, `scontrol requeue`):
  SIGTERM. The trial goes back into the study's queue; Slurm starts the job again.
- The time limit comes near, or Slurm pre-empts with PreemptParameters=send_user_signal: SIGUSR2.
  The same, and the job asks to be requeued.
- `scancel`, or pre-emption that cancels: SIGTERM. The trial waits for another worker.
"""

import os
import signal
import subprocess
from dataclasses import dataclass
from types import FrameType

from lightning_colorize.common.errors import WorkError
from lightning_colorize.sweeps.attempt import Terms
from lightning_colorize.sweeps.process import STUDY
from lightning_colorize.sweeps.study import open_study
from lightning_colorize.sweeps.worker import work

SIGNAL = "B:USR2@90"
"""What Slurm is asked to send: to the worker alone, so many seconds before the time limit."""

_OF_A_TASK = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


@dataclass(frozen=True)
class AllocatedWorker:
    """A worker for as long as the allocation lasts; submitit pickles it.

    It holds no secret: the study's address is in the job's environment.

    Attributes:
        name: The sweep's.
        sees_gpus: Whether trials see the GPUs of the node, if Slurm does not hide them.
    """

    name: str
    sees_gpus: bool

    def __call__(self) -> None:
        """Run trials until none is left, the sweep is stopped, or the allocation ends.

        Raises:
            SystemExit: With 143 if the allocation ends.
            UsageError: If the study cannot be opened.
            WorkError: If its database is away for minutes, or Slurm does not requeue the job.
        """
        is_up = []

        def hear(number: int, frame: FrameType | None) -> None:
            is_up.append(number)
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGUSR2, hear)
        # submitit's handler would ignore it until the worker has its own.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for name in _OF_A_TASK:
            os.environ.pop(name, None)
        study = open_study(os.environ[STUDY], self.name)
        code = work(study, Terms(devices=None if self.sees_gpus else []))
        if is_up:
            _requeue(os.environ["SLURM_JOB_ID"])
        if code:
            raise SystemExit(code)


def _requeue(job: str) -> None:
    done = subprocess.run(
        ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise WorkError(f"job {job} is not requeued: {done.stderr.strip()}")
