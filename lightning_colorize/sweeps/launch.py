"""Workers, or W&B's agents, as processes of this machine or as an array of Slurm jobs.

A worker (`worker.py`) starts a process for each of its trials. On a cluster each job is one worker
for as many trials as its time allows. The batch script's shell replaces itself with the worker (no
`srun`), so that Slurm's signals reach the worker, which gives its trial time to write a checkpoint.
`srun` kills its tasks without delay when it is terminated, and since Slurm 22.05 a step lacks the
job's `--cpus-per-task`. A trial starts its own additional ranks on the same node. All nodes must
reach the study and the run folders under the same names.

A job may end before the sweep does; its trial is resumed by another one:

- SIGTERM: Slurm requeues the job (preemption with PreemptMode=REQUEUE, a failed node, `scontrol
  requeue`), or cancels it (`scancel`, preemption that cancels).
- SIGUSR2: the time limit approaches, or Slurm preempts with PreemptParameters=send_user_signal. The
  job asks to be requeued.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.cluster.batch import Resources, executor, parameters, submission
from lightning_colorize.cluster.queue import Queue, require_slurm
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.sweeps.process import STUDY, caught_signals, ending, start_process

if TYPE_CHECKING:
    from submitit import SlurmExecutor

_DEVICES = "CUDA_VISIBLE_DEVICES"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MOST_REPLACEMENTS = 5  # per worker: a trial may be what kills it
_POLL_EVERY = 0.2
_TICK_EVERY = 1.0
_SHORTEST = 5  # minutes; with less, Slurm would signal the end at the start
_QUERY_EVERY = 10.0
_SHOWN = 3  # trials of a preview


@dataclass(frozen=True)
class WorkerOptions:
    """How many workers a sweep has, and what each of them uses."""

    count: int = 1
    gpus_per_trial: int | None = None  # of this machine; None divides all of them
    slurm: Resources | None = None  # of each worker's job; None for processes of this machine


@dataclass(frozen=True)
class Workers:
    """Processes that share the trials of a sweep."""

    words: Sequence[str]  # the command of each
    folder: Path  # of the sweep
    options: WorkerOptions
    # Not arguments, in which everybody on the machine could read a password.
    environment: dict[str, str] = field(default_factory=dict)


def workers_of(name: str, folder: Path, options: WorkerOptions, study: str = "") -> Workers:
    """Return the workers of a sweep, whose study is a folder or a URL."""
    words = [sys.executable, "-m", "lightning_colorize.sweeps.worker", name]
    return Workers(words, folder, options, {STUDY: study})


def preview(workers: Workers, commands: Sequence[Sequence[str]]) -> str:
    """Return the workers' batch script, or some of the commands that they would run here."""
    if workers.options.slurm is None:
        environments(workers.options)
        return "\n".join(map(shlex.join, commands[:_SHOWN]))
    made, command = _job(workers, workers.options.slurm)
    return made._make_submission_file_text(command, "")


def run_workers(
    workers: Workers,
    tick: Callable[[], None] = lambda: None,
    is_done: Callable[[], bool] = lambda: False,
) -> int:
    """Run workers until no trial is left or the sweep is stopped; call it in the main thread.

    `tick` is called about every second. SIGINT and SIGTERM interrupt workers of this machine: their
    trials write checkpoints and wait; a second signal kills them. A worker that another process
    kills is replaced, up to five times. Jobs continue after a signal, which only stops following
    them; those that have not started are canceled when the sweep `is_done`.

    Returns:
        0 if a worker or all jobs completed, 1 if all workers died, 130 or 143 after a signal.

    Raises:
        UsageError: If there are too few GPUs, or Slurm refuses the jobs.
    """
    if workers.options.slurm is None:
        return _run_here(workers, tick)
    return _run_jobs(workers, workers.options.slurm, tick, is_done)


def _run_here(workers: Workers, tick: Callable[[], None]) -> int:
    shares = environments(workers.options)
    signals: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(caught_signals(signals.append))

        def start(index: int) -> subprocess.Popen[bytes]:
            return start_process(workers.words, {**shares[index], **workers.environment})

        running = {index: start(index) for index in range(len(shares))}

        def end() -> None:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()

        stack.callback(end)
        replacements = dict.fromkeys(running, 0)
        codes: list[int] = []
        forwarded, ticked = 0, float("-inf")
        while running:
            arrived = len(signals)
            if arrived > forwarded == 0:
                _say("interrupting: trials write their checkpoints; a second signal kills them")
            for index, process in [*running.items()]:
                for _ in signals[forwarded:arrived]:
                    process.terminate()
                code = process.poll()
                if code is None:
                    continue
                codes.append(code)
                del running[index]
                if code < 0 and not signals and replacements[index] < _MOST_REPLACEMENTS:
                    replacements[index] += 1
                    running[index] = start(index)
                if code and not signals:
                    again = "; another worker starts" if index in running else ""
                    _say(f"worker {index + 1} died ({ending(code)}){again}")
            forwarded = arrived
            if time.monotonic() - ticked >= _TICK_EVERY:
                tick()
                ticked = time.monotonic()
            time.sleep(_POLL_EVERY)
        tick()
    if signals:
        return 128 + signals[0]
    return 0 if 0 in codes else 1


def environments(options: WorkerOptions) -> list[dict[str, str]]:
    """Return the environment of each worker, with its share of the GPUs and the cores.

    By default all GPUs are divided; if torch sees none, trials may still be other programs. A
    number of threads that this environment sets is kept.
    """
    workers, gpus_per_trial = options.count, options.gpus_per_trial
    environment = dict(os.environ)
    if workers > 1 and not any(name in environment for name in _THREADS):
        environment[_THREADS[0]] = str(max(1, cores() // workers))
    gpus = visible_gpus()
    if not gpus and gpus_per_trial is None:
        return [environment] * workers
    each = len(gpus) // workers if gpus_per_trial is None else gpus_per_trial
    if gpus_per_trial is None and not each:
        raise UsageError(
            f"--workers {workers} with {len(gpus)} GPU(s) visible; give fewer workers, "
            "or --gpus-per-trial 0 for trials on the CPU"
        )
    if workers * each > len(gpus):
        raise UsageError(
            f"--workers {workers} x --gpus-per-trial {each} is {workers * each} GPUs, "
            f"but {len(gpus)} are visible; give fewer of either"
        )
    shares = (gpus[index * each : (index + 1) * each] for index in range(workers))
    return [{**environment, _DEVICES: ",".join(share)} for share in shares]


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, without initializing CUDA."""
    if (variable := os.environ.get(_DEVICES)) is not None:
        return [name.strip() for name in variable.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _run_jobs(
    workers: Workers, slurm: Resources, tick: Callable[[], None], is_done: Callable[[], bool]
) -> int:
    """Submit the workers as an array of jobs, and follow it until no job is left."""
    require_slurm("--launcher slurm")
    made, command = _job(workers, slurm)
    made.folder.mkdir(parents=True, exist_ok=True)
    with submission(**workers.environment):
        array = made._submit_command(command).job_id
    jobs = [f"{array}_{index}" for index in range(workers.options.count)]
    logs = {job: made.folder / f"{job}_0_log.out" for job in jobs}
    queue = Queue(logs, lambda line: print(line, flush=True))
    print(f"submitted {array}; logs in {made.folder}", flush=True)
    signals: list[int] = []
    queried, canceled = float("-inf"), False
    with caught_signals(signals.append):
        while not signals:
            if time.monotonic() - queried >= _QUERY_EVERY:
                queried = time.monotonic()
                if not queue.check():
                    tick()
                    return 0
                if not canceled and is_done():
                    queue.cancel_waiting()
                    canceled = True
            tick()
            time.sleep(_TICK_EVERY)
    print(f"the jobs continue; scancel {array} interrupts their trials")
    return 128 + signals[0]


def _job(workers: Workers, slurm: Resources) -> "tuple[SlurmExecutor, str]":
    """Return submitit's executor, which writes the batch script, and the command of a job."""
    made = executor(workers.folder / "slurm", "--launcher slurm")
    asked = parameters(slurm, _SHORTEST)
    # Only the worker receives the signal, 90 s before the time limit. A person may submit the
    # script again, from another folder.
    asked["additional_parameters"] |= {"ntasks": 1, "signal": "B:USR2@90", "chdir": str(Path.cwd())}
    made.update_parameters(job_name=workers.folder.name, **asked)
    count = workers.options.count
    made.parameters |= {"map_count": count, "array_parallelism": count}
    command = f"exec {shlex.join(workers.words)}"
    return made, f"export {_DEVICES}=\n{command}" if slurm.gpus == 0 else command


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
