"""Workers as jobs of a Slurm cluster: submitted by submitit, followed until the sweep is done.

Each job is one worker (`allocation`) for as many trials as its time allows, one after the other.
The study, its journal or database, and the run folders must be reachable from all nodes under the
same names.
"""

import io
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_colorize.errors import UsageError
from lightning_colorize.search.allocation import SIGNAL, AllocatedWorker
from lightning_colorize.search.process import STUDY
from lightning_colorize.search.signals import noted
from lightning_colorize.search.slurm_queue import Queue, cancel, partitions, reason, require_slurm
from lightning_colorize.search.study import Study
from lightning_colorize.search.trials import Trials

if TYPE_CHECKING:
    from submitit import Job, SlurmExecutor

_SHORTEST = 5  # minutes; less, and Slurm would announce the end at the beginning
_TICK_EVERY = 1.0
_ASK_EVERY = 10.0
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_OURS = {
    *("nodes", "ntasks", "ntasks-per-node", "array", "signal", "export", "requeue", "no-requeue"),
    *("output", "error", "open-mode", "job-name"),
}


@dataclass(frozen=True)
class SlurmOptions:
    """What is asked of Slurm for each worker.

    Attributes:
        partition: By default the cluster's own default, as with all that is None.
        time: Limit in minutes, or as [D-]HH:MM:SS; a worker that reaches it is requeued.
        gpus: Of the trial that runs; 0 hides those of the node from it.
        cpus: Cores of the trial that runs, all its processes together.
        mem: As Slurm writes it: `16G`; `0` for all of the node's.
        account: Who pays.
        qos: Quality of service.
        array: Whether the jobs are one job array.
        extra: Other options of sbatch by their long names (`{"constraint": "a100"}`); true for
            what has no value.
    """

    partition: str | None = None
    time: int | str | None = None
    gpus: int | None = None
    cpus: int | None = None
    mem: str | None = None
    account: str | None = None
    qos: str | None = None
    array: bool = False
    extra: Mapping[str, str | bool] = field(default_factory=dict)


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
    executor = _executor(study, options)
    if dry_run:
        say(_script(executor, workers if options.array else 1))
        return 0
    require_slurm()
    jobs = _submit(executor, study, workers, options)
    queue = Queue({job.job_id: job.paths.stdout for job in jobs}, say)
    say(f"submitted {', '.join(job.job_id for job in jobs)}; logs in {executor.folder}")
    return _follow(study, queue, tick, say)


def _executor(study: Study, options: SlurmOptions) -> "SlurmExecutor":
    """Return submitit's executor, which makes the batch script."""
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise UsageError(
            "--launcher slurm needs submitit: pip install 'lightning-colorize[cluster]'"
        ) from None

    class Executor(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            """Let a dry run have no Slurm."""
            return 2

    executor = Executor(study.folder / "slurm", python=f"exec {shlex.quote(sys.executable)}")
    executor.update_parameters(**_parameters(study, options))
    return executor


def _parameters(study: Study, options: SlurmOptions) -> dict[str, Any]:
    """Return what submitit is told of a job."""
    extra = {name.replace("_", "-"): value for name, value in options.extra.items()}
    if taken := sorted(extra.keys() & _OURS):
        raise UsageError(
            f"--{taken[0]} is chosen for you, a worker being one task on one node; leave it out"
        )
    return {
        "job_name": study.sweep.name,
        "partition": options.partition,
        "time": None if options.time is None else _minutes(options.time),
        "gpus_per_node": options.gpus or None,
        "cpus_per_task": options.cpus,
        "mem": options.mem,
        "account": options.account,
        "qos": options.qos,
        "wckey": None,
        "use_srun": False,
        "stderr_to_stdout": True,
        "additional_parameters": {"ntasks": 1, "requeue": True, "signal": SIGNAL, **extra},
    }


def _minutes(limit: int | str) -> int:
    """Return a time limit in minutes, not less than was meant."""
    if match := _TIME.fullmatch(str(limit)):
        days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
        total = (days * 24 + hours) * 60 + minutes + (seconds > 0)
    elif str(limit).isdecimal():
        total = int(limit)
    else:
        raise UsageError(f"--time {limit} is no time; write minutes (240) or HH:MM:SS (04:00:00)")
    if total < _SHORTEST:
        raise UsageError(f"--time {limit} is too short for a trial; give at least {_SHORTEST} min")
    return total


def _script(executor: "SlurmExecutor", jobs: int) -> str:
    """Return the batch script, as it will be submitted."""
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _submit(
    executor: "SlurmExecutor", study: Study, workers: int, options: SlurmOptions
) -> "list[Job[Any]]":
    """Submit all workers or, if Slurm refuses one, none."""
    from submitit.core.utils import FailedJobError
    from submitit.helpers import environment_variables

    work = AllocatedWorker(study.sweep.name, sees_gpus=options.gpus != 0)
    # The environment is the only way on which nobody can read a password. Some clusters hand on
    # none of it unless told to.
    environment = environment_variables(**{STUDY: study.address, "SBATCH_EXPORT": "ALL"})
    together = executor.batch() if options.array else nullcontext()
    jobs: list[Job[Any]] = []
    try:
        # submitit prints what it raises.
        with environment, redirect_stderr(io.StringIO()), together:
            for _ in range(workers):
                jobs.append(executor.submit(work))
    except FailedJobError as error:
        if not options.array and jobs:
            cancel([job.job_id for job in jobs])
        raise UsageError(f"Slurm refuses the job: {_refusal(str(error), options)}") from None
    return jobs


def _refusal(said: str, options: SlurmOptions) -> str:
    names = partitions()
    if options.partition and names and options.partition not in names:
        return f"there is no partition {options.partition}; partitions are {', '.join(names)}"
    return reason(said)


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
    name = f" --name {study.sweep.name}" if "://" in study.shown else ""
    say(
        f"the jobs go on without this; lightning-colorize sweep stop {study.shown}{name} lets "
        f"their trials end, scancel {' '.join(queue.numbers)} interrupts them"
    )
    return 128 + signals[0]
