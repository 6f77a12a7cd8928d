"""A sweep controlled by Weights & Biases: created there, run by its agents here."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.launch import environments
from lightning_colorize.sweeps.spec import Sweep
from lightning_colorize.sweeps.trial import start_process
from lightning_colorize.sweeps.worker import caught_signals

_WANDB = (sys.executable, "-m", "wandb")
_PROJECT = "lightning_colorize"  # unless the file names one
_CREATE_TIMEOUT = 20.0  # seconds; W&B's own retries take minutes
_SECOND_SIGNAL_AFTER = 1.0
_POLL_EVERY = 0.2
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
    path, page = create_sweep(sweep)
    say(f"sweep     {path}")
    if page:
        say(f"page      {page}")
    count = [] if sweep.run_cap is None else ["--count", str(sweep.run_cap)]
    words = [*_WANDB, "agent", *count, path]
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


def create_sweep(sweep: Sweep) -> tuple[str, str]:
    """Create a sweep at W&B through its command, which never prompts and can time out.

    Return the argument of `wandb agent`, `ENTITY/PROJECT/ID`, and the URL of the sweep's page,
    which is empty if W&B does not print one.
    """
    source = {"name": sweep.name, **sweep.source}
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
    page = re.search(r"View sweep at: (https?://\S+)", text)
    return path[1], page[1] if page else ""


@contextmanager
def _agent(
    words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    # The command next to this Python takes precedence, as in the local engine.
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, environment.get("PATH", os.defpath)])
    agent = start_process(words, {**environment, "PATH": path})
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
