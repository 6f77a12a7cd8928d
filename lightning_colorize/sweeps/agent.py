"""W&B's agent as a worker, and its trials, which any worker of the sweep can resume.

W&B's agent passes its environment to its trials and forgets a trial when its worker is killed.
Therefore the agent starts each trial through this module, which runs it in a clean environment and
in a folder named after its W&B run, and records its command there until it has ended. A worker
first resumes the trials that no process runs any more, with the id of their W&B run, then starts
W&B's agent. After the agent, it waits until all trials have ended, and resumes interrupted ones.

The folder must be on a file system that all nodes share and that has reliable file locks.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lightning_colorize.cluster.queue import call
from lightning_colorize.common.errors import WorkError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.runs.folder import is_running
from lightning_colorize.sweeps.process import (
    INTERRUPTED,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    caught_signals,
    ending,
    prctl,
    remove_launcher_variables,
    run_main,
    run_process,
    start_process,
)

# The other modules of this package take a second to import, within which a signal would kill a
# trial that nothing records yet.

TRIAL_COMMAND = ("${interpreter}", "-m", "lightning_colorize.sweeps.agent", "trial")
"""Prefix of the trial command of a sweep at W&B."""

_NOT_STARTED = 127  # exit code of a shell for a program that cannot be started
_FOLDER = "LIGHTNING_COLORIZE_AGENT"  # environment variable: the folder of the sweep's trials
_RECORD = "agent.json"
_LOCK = "agent.lock"
_RUN_ID = "WANDB_RUN_ID"
# Set by W&B's agent for its trial.
_RUN_VARIABLES = (
    *(_RUN_ID, "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_ENTITY", "WANDB_PROJECT"),
)
# Seconds.
_POLL_EVERY = 0.2
_LOOK_EVERY = 2.0
_UNTIL_SIGNALED = 2.0
_REAP = 30.0  # then the cluster kills


@dataclass(frozen=True)
class Record:
    """A trial of W&B's agent, as stored in its folder."""

    command: list[str]
    environment: dict[str, str]  # of the W&B run
    code: int | None = None  # exit code; None until the trial has ended

    @property
    def run_id(self) -> str:
        """The id of the W&B run, which is the name of the folder too."""
        return self.environment[_RUN_ID]

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """Return the record of a folder; None if it has none."""
        path = folder / _RECORD
        return cls(**json.loads(path.read_text("utf-8"))) if path.is_file() else None

    def write(self, folder: Path) -> None:
        """Replace the record of a folder."""
        write_atomic(folder / _RECORD, json.dumps(asdict(self), indent=1) + "\n")


def records(sweep_folder: Path) -> list[Record]:
    """Return the trials that have started so far."""
    found = (Record.read(path.parent) for path in sorted(sweep_folder.glob(f"*/{_RECORD}")))
    return [record for record in found if record is not None]


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a trial's folder; yields False if another process holds it."""
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(folder / _LOCK).acquire(timeout=0)
    except Timeout:
        yield False
        return
    with lock:
        yield True


def run_trial(command: Sequence[str], sweep_folder: Path, resumed: bool) -> int:
    """Run a trial in the folder of its W&B run; nothing if it has ended or runs elsewhere.

    The trial is interrupted, and not ended, if its job is: then W&B's agent dies (the parent of
    this process), or, if it is `resumed`, the job terminates this process. SIGTERM of a live agent
    is a stop requested at W&B.

    Returns:
        Its exit code, 0 if there is nothing to do.
    """
    parent = os.getppid()
    signals: list[int] = []
    # W&B's agent does not end its trials when it is killed.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    wandb = {name: os.environ[name] for name in _RUN_VARIABLES if name in os.environ}
    record = Record(list(command), wandb)
    folder = sweep_folder / record.run_id
    folder.mkdir(parents=True, exist_ok=True)

    def job_ends() -> bool:
        return os.getppid() != parent or (resumed and bool(signals))

    with caught_signals(signals.append), _locked(folder) as is_mine:
        before = Record.read(folder)
        if not is_mine or (before is not None and before.code is not None):
            return 0
        record.write(folder)
        while is_running(folder):  # its last process writes its checkpoint
            if signals:
                return 128 + signals[0]
            time.sleep(_POLL_EVERY)
        _say(record, f"{'starts' if before is None else 'resumes'} in {folder}")
        remove_launcher_variables(os.environ)
        try:
            sweep = sweep_folder.name
            code, _ = run_process(command, folder, Path.cwd(), sweep, lambda: bool(signals))
        except OSError as error:
            _say(record, f"cannot be started: {error}")
            code = _NOT_STARTED
        if code in INTERRUPTED:
            # Slurm may signal the trial along with the agent, and the trial may be faster.
            end = time.monotonic() + _UNTIL_SIGNALED
            while not job_ends() and time.monotonic() < end:
                time.sleep(_POLL_EVERY)
        if code not in (0, _NOT_STARTED) and job_ends():
            _say(record, "is interrupted; a job of the sweep resumes it")
            return 128 + signal.SIGTERM
        replace(record, code=code).write(folder)
        _say(record, f"has ended, {ending(code)}")
        return code if code >= 0 else 128 - code


def run_agent(sweep_folder: Path, path: str, words: Sequence[str]) -> int:
    """Run W&B's agent, and before and after it the trials of the sweep that no process runs.

    `path` is `ENTITY/PROJECT/ID`, `words` the agent's command. Call it in the main thread.

    Returns:
        0 if all trials of the sweep have ended or it is canceled at W&B, 130 or 143 after a signal.
    """
    signals: list[int] = []
    # A trial outlives its agent until its checkpoint is written; the job must wait for it.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    with caught_signals(signals.append):
        goes_on = _resume_left(sweep_folder, path, signals)
        environment = {**os.environ, _FOLDER: str(sweep_folder)}
        code = _run(words, environment, signals) if goes_on else 0
        while goes_on and any(record.code is None for record in records(sweep_folder)):
            time.sleep(_LOOK_EVERY)
            goes_on = _resume_left(sweep_folder, path, signals)
    if signals:
        return 128 + signals[0]
    if code:
        raise WorkError(f"W&B's agent ended with {ending(code)}")
    return 0


def _resume_left(sweep_folder: Path, path: str, signals: list[int]) -> bool:
    """Run the trials that have not ended and that no process runs, one after the other.

    Returns False after a signal, or if there are such trials of a sweep that was canceled.
    """
    for record in records(sweep_folder):
        if record.code is None and not signals:
            with _locked(sweep_folder / record.run_id) as is_left:
                pass
            if is_left:
                if _is_canceled(path):
                    return False
                words = [sys.executable, "-m", "lightning_colorize.sweeps.agent", "resume"]
                environment = {**os.environ, _FOLDER: str(sweep_folder), **record.environment}
                code = _run([*words, *record.command], environment, signals)
                left = Record.read(sweep_folder / record.run_id)
                if code and not signals and left is not None and left.code is None:
                    raise WorkError(f"trial {record.run_id} cannot be resumed ({ending(code)})")
    return not signals


def _run(words: Sequence[str], environment: Mapping[str, str], signals: list[int]) -> int:
    """Run a process until it ends; after a signal, until its trial has ended too."""
    process = start_process(words, environment)
    while process.poll() is None and not signals:
        time.sleep(_POLL_EVERY)
    if signals:
        process.terminate()
        process.wait()
        _reap()
    return process.wait()


def _reap() -> None:
    """Wait for the orphans of the agent, which are this process's children."""
    end = time.monotonic() + _REAP
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(_POLL_EVERY)
        except ChildProcessError:
            return


def _is_canceled(path: str) -> bool:
    """Return whether the sweep was canceled at W&B, which kills its trials."""
    # Not in this process: W&B's service would be one of its children.
    code = "import sys, wandb; print(wandb.Api().sweep(sys.argv[1]).state)"
    done = call([sys.executable, "-c", code, path])
    return done.stdout.strip().upper() == "CANCELED"


def _say(record: Record, line: str) -> None:
    print(f"trial {record.run_id} {line}", flush=True)


def main() -> int:
    """Run a worker or, as its descendant, a trial; the first argument says which."""
    action, *words = sys.argv[1:]
    if action == "job":
        folder, path, *agent = words
        return run_main(lambda: run_agent(Path(folder), path, agent))
    # Without the variable, the agent was started by hand.
    sweep_folder = Path(os.environ.get(_FOLDER, f"runs/{os.environ['WANDB_SWEEP_ID']}"))
    return run_trial(words, sweep_folder.absolute(), resumed=action == "resume")


if __name__ == "__main__":
    sys.exit(main())
