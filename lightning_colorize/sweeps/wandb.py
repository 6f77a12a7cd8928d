"""A sweep controlled by Weights & Biases: created there, run by its agents here or on Slurm."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import yaml

from lightning_colorize.cluster.batch import Resources, submission
from lightning_colorize.cluster.queue import Queue, require_slurm
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable
from lightning_colorize.runs.folder import OUTPUT
from lightning_colorize.sweeps.agent import TRIAL_COMMAND, records, search_path
from lightning_colorize.sweeps.launch import environments, job
from lightning_colorize.sweeps.spec import Sweep
from lightning_colorize.sweeps.trial import ending, start_process
from lightning_colorize.sweeps.worker import caught_signals

if TYPE_CHECKING:
    from submitit import SlurmExecutor

_WANDB = (sys.executable, "-m", "wandb")
_PROJECT = "lightning_colorize"  # unless the file names one
_CREATE_TIMEOUT = 20.0  # seconds; W&B's own retries take minutes
_SECOND_SIGNAL_AFTER = 1.0
_POLL_EVERY = 0.2
_QUERY_EVERY = 10.0
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def run_wandb(
    sweep: Sweep,
    workers: int = 1,
    gpus_per_trial: int | None = None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> int:
    """Create a sweep at W&B and run agents until it is complete.

    SIGINT and SIGTERM end the trials, which write their checkpoints; a second signal kills them.
    Call it in the main thread.

    Returns:
        0 if all agents completed, 1 otherwise, 130 or 143 after a signal.
    """
    shares = environments(workers, gpus_per_trial)
    path = create_sweep(sweep, say)
    words = _agent_words(sweep, path)
    signals: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(caught_signals(signals.append))
        agents = [stack.enter_context(_agent(words, share)) for share in shares]
        forwarded = 0
        while any(agent.poll() is None for agent in agents):
            for _ in signals[forwarded:]:
                _end(agents, first=forwarded == 0)
                forwarded += 1
            time.sleep(_POLL_EVERY)
    if signals:
        return 128 + signals[0]
    return int(any(agent.poll() != 0 for agent in agents))


def launch_wandb(
    sweep: Sweep,
    root: Path,
    workers: int,
    options: Resources,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> int:
    """Create a sweep at W&B, submit an array of agents to Slurm, and follow it.

    Each job is an agent that runs one trial at a time with the job's GPUs, in folders of W&B's run
    ids in `root/NAME-ID`. SIGINT and SIGTERM stop following; the jobs continue. Call it in the main
    thread.

    Returns:
        0 if all trials have completed, 1 otherwise, 130 or 143 after a signal.

    Raises:
        UsageError: If W&B refuses the sweep, or Slurm the jobs; the sweep is then canceled.
    """
    require_slurm("--launcher slurm")
    # What is refused here leaves no sweep at W&B.
    require_writable(root / "new", "--root")
    batch_script(sweep, root, workers, options)
    path = create_sweep(sweep, say, TRIAL_COMMAND)
    folder = root.resolve() / f"{sweep.name}-{path.rpartition('/')[2]}"
    made, command = _array(sweep, folder, path, workers, options)
    made.folder.mkdir(parents=True)

    def undo() -> None:
        subprocess.run([*_WANDB, "sweep", "--cancel", path], capture_output=True, check=False)

    with submission(undo):
        array = made._submit_command(command).job_id
    logs = {f"{array}_{n}": made.folder / f"{array}_{n}_0_log.out" for n in range(workers)}
    queue = Queue(logs, say)
    say(f"runs      {folder}")
    say(f"submitted {array}; logs in {made.folder}")
    signals: list[int] = []
    queried = float("-inf")
    with caught_signals(signals.append):
        while not signals:
            if time.monotonic() - queried >= _QUERY_EVERY:
                queried = time.monotonic()
                if not queue.check():
                    return _finished(folder, array, say)
            time.sleep(_POLL_EVERY)
    say(f"the jobs continue; scancel {array} interrupts them")
    return 128 + signals[0]


def batch_script(sweep: Sweep, root: Path, workers: int, options: Resources) -> str:
    """Return the batch script of the agents of a sweep that W&B does not have yet."""
    path = f"ENTITY/{sweep.project or _PROJECT}/ID"
    made, command = _array(sweep, root.resolve() / f"{sweep.name}-ID", path, workers, options)
    return made._make_submission_file_text(command, "")


def _array(
    sweep: Sweep, folder: Path, path: str, workers: int, options: Resources
) -> "tuple[SlurmExecutor, str]":
    words = [sys.executable, "-m", "lightning_colorize.sweeps.agent", "job", str(folder), path]
    return job(folder, options, [*words, *_agent_words(sweep, path)], workers)


def _agent_words(sweep: Sweep, path: str) -> list[str]:
    count = [] if sweep.run_cap is None else ["--count", str(sweep.run_cap)]
    return [*_WANDB, "agent", *count, path]


def _finished(folder: Path, array: str, say: Callable[[str], None]) -> int:
    """Report the trials of an array that is no longer in the queue; returns the exit code."""
    trials = records(folder)
    lost = [trial for trial in trials if trial.code != 0]
    for trial in lost:
        state = "not ended" if trial.code is None else f"failed, {ending(trial.code)}"
        say(f"trial     {trial.run_id}: {state}; see {folder / trial.run_id / OUTPUT}")
    if any(trial.code is None for trial in lost):
        script = folder / "slurm" / f"{array}_submission.sh"
        say(f"resume    sbatch {shlex.quote(str(script))}")
    say(f"trials    {len(trials) - len(lost)} of {len(trials)} completed")
    return int(bool(lost) or not trials)


def create_sweep(
    sweep: Sweep, say: Callable[[str], None] = lambda line: None, before: Sequence[str] = ()
) -> str:
    """Create a sweep at W&B through its command, which never prompts and can time out.

    Say its path and page. The command of a trial is preceded by the tokens `before`.

    Returns:
        The argument of `wandb agent`, `ENTITY/PROJECT/ID`.
    """
    source = {"name": sweep.name, **sweep.source}
    if before:
        source["command"] = [*before, *sweep.command]
    project = sweep.project or _PROJECT
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{sweep.name}.yaml"
        # Not JSON: YAML reads its 5e-05 as text.
        text = yaml.safe_dump(source, sort_keys=False, allow_unicode=True)
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [*_WANDB, "sweep", "--project", project, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_CREATE_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refused(f"its server does not answer within {_CREATE_TIMEOUT:.0f} s") from None
    lines = _COLOR.sub("", done.stdout.decode(errors="replace")).splitlines()
    text = "\n".join(lines)
    path = re.search(r"wandb agent '?([^\s']+)", text)
    if path is None:
        raise _refused(_reason(lines))
    say(f"sweep     {path[1]}")
    if page := re.search(r"View sweep at: (https?://\S+)", text):
        say(f"page      {page[1]}")
    return path[1]


@contextmanager
def _agent(
    words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    # The command next to this Python takes precedence, as in the local engine.
    agent = start_process(words, {**environment, "PATH": search_path(environment)})
    try:
        yield agent
    finally:
        agent.terminate()
        agent.wait()


def _end(agents: Sequence[subprocess.Popen[bytes]], first: bool) -> None:
    """Let agents terminate their trials or, at the second call, kill them.

    At the first signal an agent waits for its trial to finish, at the second it terminates the
    trial, at the third it kills it.
    """
    for agent in agents:
        agent.send_signal(signal.SIGINT)
    if first:
        time.sleep(_SECOND_SIGNAL_AFTER)
        for agent in agents:
            agent.send_signal(signal.SIGINT)


def _refused(reason: str) -> UsageError:
    return UsageError(
        f"W&B did not accept the sweep: {reason}; "
        "`wandb login` logs in, --engine local needs no W&B"
    )


def _reason(lines: Sequence[str]) -> str:
    """Return the last line that W&B printed, without its prefixes."""
    message = [line for line in lines if line.strip() and "detailed error logs" not in line]
    last = message[-1] if message else "it gave no reason"
    return re.sub(r"^(wandb: )?(ERROR |Error: )*", "", last.strip()).rstrip(".")
