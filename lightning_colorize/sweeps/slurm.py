"""Workers as jobs of a Slurm cluster: submitted by submitit, followed until the sweep is done.

Each job is one worker (`allocation`) for as many trials as its time allows, one after the other.
The study, its journal or database, and the run folders must be reachable from all nodes under the
same names.
"""

import shlex
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_colorize.cluster.batch import Resources, executor, parameters, submission
from lightning_colorize.cluster.queue import Queue, cancel, require_slurm
from lightning_colorize.sweeps.allocation import SIGNAL, AllocatedWorker
from lightning_colorize.sweeps.process import STUDY
from lightning_colorize.sweeps.signals import noted
from lightning_colorize.sweeps.study import Study
from lightning_colorize.sweeps.trials import Trials

if TYPE_CHECKING:
    from submitit import Job, SlurmExecutor

_SHORTEST = 5  # minutes; less, and Slurm would announce the end at the beginning
_TICK_EVERY = 1.0
_ASK_EVERY = 10.0


@dataclass(frozen=True)
class SlurmOptions(Resources):
    """What is asked of Slurm for each worker, and thus of the trial that runs.

    A worker that reaches the time limit is requeued; `gpus=0` hides those of the node from it.

    Attributes:
        array: Whether the jobs are one job array.
    """

    array: bool = False


def launch_workers(
    study: Study,
    workers: int = 1,
    options: SlurmOptions | None = None,
    tick: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
    dry_run: bool = False,
) -> int:
    """Submit workers to Slurm and follow the study until it is done.

    SIGINT and SIGTERM end the following, not the jobs. To be called in the main thread.

    Args:
        study: Created, in a place that all nodes reach.
        workers: How many jobs.
        options: What each asks for.
        tick: Called every second or so, to show how it goes.
        say: Is given lines about the jobs.
        dry_run: Say the batch script, and submit nothing.

    Returns:
        0 if all trials have ended or the sweep is stopped, 1 if the jobs ended before, 130 or 143
        after a signal.

    Raises:
        UsageError: If submitit or Slurm is missing, an option cannot be, or Slurm refuses the job;
            nothing is submitted then.
        WorkError: If the study's database is away for minutes; the jobs stay.
    """
    options = options or SlurmOptions()
    made = _executor(study, options)
    if dry_run:
        say(_script(made, workers if options.array else 1))
        return 0
    require_slurm("--launcher slurm")
    jobs = _submit(made, study, workers, options)
    queue = Queue({job.job_id: job.paths.stdout for job in jobs}, say)
    say(f"submitted {', '.join(job.job_id for job in jobs)}; logs in {made.folder}")
    return _follow(study, queue, tick, say)


def _executor(study: Study, options: SlurmOptions) -> "SlurmExecutor":
    """Return submitit's executor, which makes the batch script."""
    python = f"exec {shlex.quote(sys.executable)}"
    made = executor(study.folder / "slurm", "--launcher slurm", python)
    why_ours = "a worker being one task on one node"
    asked = parameters(options, why_ours, _SHORTEST)
    asked["additional_parameters"] |= {"ntasks": 1, "signal": SIGNAL}
    made.update_parameters(job_name=study.sweep.name, **asked)
    return made


def _script(made: "SlurmExecutor", jobs: int) -> str:
    """Return the batch script, as it will be submitted."""
    if jobs > 1:
        made.parameters["map_count"] = jobs
    return made._make_submission_file_text(made._submitit_command_str, "")


def _submit(
    made: "SlurmExecutor", study: Study, workers: int, options: SlurmOptions
) -> "list[Job[Any]]":
    """Submit all workers or, if Slurm refuses one, none."""
    work = AllocatedWorker(study.sweep.name, sees_gpus=options.gpus != 0)
    together = made.batch() if options.array else nullcontext()
    jobs: list[Job[Any]] = []

    def undo() -> None:
        if not options.array and jobs:
            cancel([job.job_id for job in jobs])

    with submission(options.partition, undo, **{STUDY: study.address}), together:
        for _ in range(workers):
            jobs.append(made.submit(work))
    return jobs


def _follow(
    study: Study, queue: Queue, tick: Callable[[], None], say: Callable[[str], None]
) -> int:
    trials = Trials(study)
    signals: list[int] = []
    asked = float("-inf")
    stopped = False
    with noted(signals.append):
        while not signals:
            tick()
            if time.monotonic() - asked >= _ASK_EVERY:
                asked = time.monotonic()
                are_jobs_left = queue.look()
                if trials.all_ended():
                    queue.cancel_waiting()
                    tick()
                    return 0
                if not stopped and trials.stopped():
                    queue.cancel_waiting()
                    stopped = True
                if not stopped:
                    queue.say_gone()
                if not are_jobs_left:
                    tick()
                    if not stopped:
                        say("no job is left, but trials are: sweep resume goes on with them")
                    return 0 if stopped else 1
            time.sleep(_TICK_EVERY)
    say(
        f"the jobs go on without this; {study.command('stop')} lets "
        f"their trials end, scancel {' '.join(queue.numbers)} interrupts them"
    )
    return 128 + signals[0]
