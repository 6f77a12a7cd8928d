"""A sweep controlled by Weights & Biases: created there, run by its agents here or on Slurm."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from lightning_colorize.cluster.queue import require_slurm
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable
from lightning_colorize.runs.folder import OUTPUT
from lightning_colorize.sweeps.agent import TRIAL_COMMAND, records
from lightning_colorize.sweeps.launch import WorkerOptions, Workers, run_workers
from lightning_colorize.sweeps.process import ending
from lightning_colorize.sweeps.spec import Sweep

_WANDB = (sys.executable, "-m", "wandb")
_PROJECT = "lightning_colorize"  # unless the file names one
_CREATE_TIMEOUT = 20.0  # seconds; W&B's own retries take minutes
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def launch_wandb(sweep: Sweep, root: Path, options: WorkerOptions) -> int:
    """Create a sweep at W&B, and run its agents here or as Slurm jobs.

    Each agent runs one trial at a time, in folders of W&B's run ids in `root/NAME-ID`. SIGINT and
    SIGTERM interrupt trials here, but only stop following jobs. Call it in the main thread.

    Returns:
        0 if all trials have completed, 1 otherwise, 130 or 143 after a signal.

    Raises:
        UsageError: If W&B refuses the sweep, or Slurm the jobs; the sweep is then canceled.
    """
    # What is refused here leaves no sweep at W&B.
    require_writable(root / "new", "--root")
    if options.slurm is not None:
        require_slurm("--launcher slurm")
    path = create_sweep(sweep)
    agents = agents_of(sweep, root, options, path)
    print(f"runs      {agents.folder}", flush=True)
    try:
        code = run_workers(agents)
    except UsageError:
        subprocess.run([*_WANDB, "sweep", "--cancel", path], capture_output=True, check=False)
        raise
    return code if code >= 128 else max(code, _finished(agents))


def agents_of(sweep: Sweep, root: Path, options: WorkerOptions, path: str | None = None) -> Workers:
    """Return the workers of a sweep at W&B; `path` is ENTITY/PROJECT/ID."""
    path = path or f"ENTITY/{sweep.project or _PROJECT}/ID"
    folder = root.resolve() / f"{sweep.name}-{path.rpartition('/')[2]}"
    cap = [] if sweep.run_cap is None else ["--count", str(sweep.run_cap)]
    words = [sys.executable, "-m", "lightning_colorize.sweeps.agent", "job", str(folder), path]
    return Workers([*words, *_WANDB, "agent", *cap, path], folder, options)


def _finished(agents: Workers) -> int:
    """Report the trials of a sweep whose workers have ended; returns the exit code."""
    trials = records(agents.folder)
    lost = [trial for trial in trials if trial.code != 0]
    for trial in lost:
        state = "not ended" if trial.code is None else f"failed, {ending(trial.code)}"
        print(f"trial     {trial.run_id}: {state}; see {agents.folder / trial.run_id / OUTPUT}")
    scripts = sorted(agents.folder.glob("slurm/*_submission.sh"))
    if any(trial.code is None for trial in lost):
        again = ["sbatch", str(scripts[0])] if scripts else agents.words
        print(f"resume    {shlex.join(again)}")
    print(f"trials    {len(trials) - len(lost)} of {len(trials)} completed")
    return int(bool(lost) or not trials)


def create_sweep(sweep: Sweep) -> str:
    """Create a sweep at W&B through its command, which never prompts and can time out.

    Prints its path and page; returns the argument of `wandb agent`, `ENTITY/PROJECT/ID`.
    """
    source = {"name": sweep.name, **sweep.source, "command": [*TRIAL_COMMAND, *sweep.command]}
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
    print(f"sweep     {path[1]}")
    if page := re.search(r"View sweep at: (https?://\S+)", text):
        print(f"page      {page[1]}", flush=True)
    return path[1]


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
