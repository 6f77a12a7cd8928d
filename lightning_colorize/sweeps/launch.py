"""Workers as processes of this machine, or as jobs of a Slurm cluster.

On a cluster each job is one worker for as many trials as its time allows. The batch script's shell
replaces itself with the worker (no `srun`), so that Slurm's signals reach the worker, which gives
its trial time to write a checkpoint. `srun` kills its tasks without delay when it is terminated,
and since Slurm 22.05 a step lacks the job's `--cpus-per-task`. A trial starts its own additional
ranks on the same node. All nodes must reach the study and the run folders under the same names.

A job may end before the sweep does; its trial is queued again:

- SIGTERM: Slurm requeues the job (preemption with PreemptMode=REQUEUE, a failed node, `scontrol
  requeue`), or cancels it (`scancel`, preemption that cancels).
- SIGUSR2: the time limit approaches, or Slurm preempts with PreemptParameters=send_user_signal. The
  job asks to be requeued.
"""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from lightning_colorize.cluster.batch import Resources, executor, parameters, submission
from lightning_colorize.cluster.queue import Queue, cancel, require_slurm
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.study import Study
from lightning_colorize.sweeps.trial import STUDY, ending, start_process
from lightning_colorize.sweeps.worker import IN_JOB, caught_signals

if TYPE_CHECKING:
    from submitit import Job, SlurmExecutor

_DEVICES = "CUDA_VISIBLE_DEVICES"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_INTERRUPTED = (-signal.SIGINT, -signal.SIGTERM)
_MOST_REPLACEMENTS = 5  # per worker: a trial may be what kills it
_POLL_EVERY = 0.2
_TICK_EVERY = 1.0
_MOST_READ = 1 << 16
_SHORTEST = 5  # minutes; with less, Slurm would signal the end at the start
_QUERY_EVERY = 10.0


def run_workers(
    study: Study,
    workers: int = 1,
    gpus_per_trial: int | None = None,
    tick: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> int:
    """Run a study's trials in several processes until none is left or the sweep is stopped.

    SIGINT and SIGTERM interrupt the workers: trials write their checkpoints and are queued again;
    a second signal kills them. A worker that another process kills or terminates is replaced, up to
    five times. `tick` is called about every second. Call it in the main thread.

    Returns:
        0 if a worker completed, 1 if all died, 130 or 143 after a signal.
    """
    shares = environments(workers, gpus_per_trial)
    signals: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(caught_signals(signals.append))
        running = [
            stack.enter_context(_WorkerProcess(study, index, share))
            for index, share in enumerate(shares, start=1)
        ]
        codes: list[int] = []
        forwarded, ticked = 0, float("-inf")
        while running:
            arrived = len(signals)
            if arrived > forwarded == 0:
                say("interrupting: trials write their checkpoints; a second signal kills them")
            for worker in running[:]:
                # SIGTERM silently ends a worker that is still starting.
                for _ in signals[forwarded:arrived]:
                    worker.process.terminate()
                code = worker.process.poll()
                for line in worker.new_lines():
                    say(f"{worker.name}: {line}")
                if code is None:
                    continue
                codes.append(code)
                if code > 128:  # it caught the signal
                    code = 128 - code
                line = f"{worker.name} died ({ending(code)})"
                if code < 0:
                    line += "; its trial is queued again"
                if code < 0 and not signals and worker.starts <= _MOST_REPLACEMENTS:
                    worker.start()
                    say(f"{line}, and another worker starts")
                    continue
                running.remove(worker)
                if code == 0 or (signals and code in _INTERRUPTED) or len(signals) > 1:
                    continue
                say(line if running else f"{line}; no worker is left here")
            forwarded = arrived
            if time.monotonic() - ticked >= _TICK_EVERY:
                tick()
                ticked = time.monotonic()
            time.sleep(_POLL_EVERY)
        tick()
    if signals:
        return 128 + signals[0]
    return 0 if 0 in codes else 1


def environments(workers: int, gpus_per_trial: int | None) -> list[dict[str, str]]:
    """Return the environment of each worker, with its share of the GPUs and the cores.

    By default all GPUs are divided; if torch sees none, trials may still be other programs. A
    number of threads that this environment sets is kept.
    """
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


class _WorkerProcess(AbstractContextManager["_WorkerProcess"]):
    """A worker's process, which ends with this one."""

    def __init__(self, study: Study, index: int, environment: Mapping[str, str]) -> None:
        gpus = environment.get(_DEVICES)
        self.name = f"worker {index} (GPU {gpus})" if gpus else f"worker {index}"
        self.starts = 0
        self._words = [sys.executable, "-m", "lightning_colorize.sweeps.worker", study.sweep.name]
        # Not an argument, in which everybody on the machine could read the password.
        self._environment = {**environment, STUDY: study.url}
        self._output = TemporaryFile()  # noqa: SIM115, closed by __exit__
        self._read = 0
        self.start()

    def start(self) -> None:
        """Start the process; again if it has died."""
        self.starts += 1
        self.process = start_process(self._words, self._environment, self._output)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self._output.close()

    def new_lines(self) -> list[str]:
        """Return the lines printed since the last call."""
        # Not through the file's position, which the process shares.
        new = os.pread(self._output.fileno(), _MOST_READ, self._read)
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if line.strip()]


def launch_workers(
    study: Study,
    workers: int = 1,
    options: Resources | None = None,
    tick: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> int:
    """Submit workers to Slurm and follow the study until it is done.

    SIGINT and SIGTERM stop following the study; the jobs continue. Call it in the main thread.
    `options` are for each worker and its trial; `gpus=0` hides the node's GPUs. `tick` is called
    about every second.

    Returns:
        0 if all trials have ended or the sweep is stopped, 1 if the jobs ended earlier, 130 or 143
        after a signal.

    Raises:
        UsageError: If the jobs cannot be submitted; nothing is submitted then.
        WorkError: If the study's database is unreachable for minutes; the jobs continue.
    """
    made, command = job(study.folder, options or Resources(), _worker_words(study.folder))
    require_slurm("--launcher slurm")
    made.folder.mkdir(parents=True, exist_ok=True)
    jobs: list[Job[Any]] = []

    def undo() -> None:
        if jobs:
            cancel([job.job_id for job in jobs])

    with submission(undo, **{STUDY: study.url}):
        for _ in range(workers):
            jobs.append(made._submit_command(command))
    queue = Queue({job.job_id: job.paths.stdout for job in jobs}, say)
    say(f"submitted {', '.join(job.job_id for job in jobs)}; logs in {made.folder}")
    return _follow(study, queue, tick, say)


def batch_script(folder: Path, options: Resources) -> str:
    """Return the batch script of a worker of the sweep; the folder need not exist yet."""
    made, command = job(folder, options, _worker_words(folder))
    return made._make_submission_file_text(command, "")


def _worker_words(folder: Path) -> list[str]:
    return [sys.executable, "-m", "lightning_colorize.sweeps.worker", folder.name, IN_JOB]


def job(
    folder: Path, options: Resources, words: Sequence[str], array: int | None = None
) -> "tuple[SlurmExecutor, str]":
    """Return submitit's executor, which writes the batch script, and the job's command.

    With `array`, it submits an array of so many jobs.
    """
    made = executor(folder / "slurm", "--launcher slurm")
    asked = parameters(options, _SHORTEST)
    # Only the worker receives the signal, 90 s before the time limit.
    asked["additional_parameters"] |= {"ntasks": 1, "signal": "B:USR2@90"}
    if array is not None:  # a person may submit its script again, from another folder
        asked["additional_parameters"]["chdir"] = str(Path.cwd())
    made.update_parameters(job_name=folder.name, **asked)
    if array is not None:
        made.parameters |= {"map_count": array, "array_parallelism": array}
    command = f"exec {shlex.join(words)}"
    return made, f"export {_DEVICES}=\n{command}" if options.gpus == 0 else command


def _follow(
    study: Study, queue: Queue, tick: Callable[[], None], say: Callable[[str], None]
) -> int:
    trials = TrialQueue(study)
    signals: list[int] = []
    queried, stopped = float("-inf"), False
    with caught_signals(signals.append):
        while not signals:
            tick()
            if time.monotonic() - queried >= _QUERY_EVERY:
                queried = time.monotonic()
                are_jobs_left = queue.check()
                if trials.all_ended():
                    queue.cancel_waiting()
                    tick()
                    return 0
                if not stopped and trials.stopped():
                    queue.cancel_waiting()
                    stopped = True
                if not are_jobs_left:
                    tick()
                    if not stopped:
                        say("no job is left, but trials are; resume them with sweep resume")
                    return 0 if stopped else 1
            time.sleep(_TICK_EVERY)
    say(
        f"the jobs continue; {study.command('stop')} lets "
        f"their trials end, scancel {' '.join(queue.numbers)} interrupts them"
    )
    return 128 + signals[0]
