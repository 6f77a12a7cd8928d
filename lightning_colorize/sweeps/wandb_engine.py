"""A sweep that Weights & Biases controls: created there, run by its agents here."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.sweeps.process import ends_with_parent
from lightning_colorize.sweeps.signals import noted
from lightning_colorize.sweeps.spec import Sweep
from lightning_colorize.sweeps.workers import share, visible_gpus

_WANDB = (sys.executable, "-m", "wandb")
_CREATE_TIMEOUT = 20.0  # seconds; W&B's own retries go on for minutes
_SECOND_SIGNAL_AFTER = 1.0
_LOOK_EVERY = 0.2
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class CreatedSweep(NamedTuple):
    """A sweep at W&B.

    Attributes:
        address: What `wandb agent` is told: `ENTITY/PROJECT/ID`.
        url: Its page; empty where W&B does not say.
    """

    address: str
    url: str


def run_wandb(
    sweep: Sweep,
    workers: int = 1,
    gpus_per_trial: int | None = None,
    project: str = "lightning_colorize",
    entity: str | None = None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> int:
    """Create a sweep at W&B and run agents until it is through.

    SIGINT and SIGTERM end the trials, which write their checkpoints; a second one kills them. To be
    called in the main thread.

    Args:
        sweep: What the file says.
        workers: How many agents, each with one trial at a time.
        gpus_per_trial: How many GPUs each sees; by default the visible ones are shared out.
        project: W&B project, unless the file names one.
        entity: W&B user or team; by default the file's, else the account's.
        say: Is given lines for the user.

    Returns:
        0 if all agents came to the end, 1 if one did not, 130 or 143 after a signal.

    Raises:
        UsageError: If there are not enough GPUs; if W&B does not take the sweep: nobody is logged
            in, the server does not answer within 20 s, or it refuses the file.
    """
    shares = share(visible_gpus(), workers, gpus_per_trial)
    created = create_sweep(sweep, sweep.source.get("project", project), entity)
    say(f"sweep     {created.address}")
    if created.url:
        say(f"page      {created.url}")
    count = [] if sweep.run_cap is None else ["--count", str(sweep.run_cap)]
    words = [*_WANDB, "agent", *count, created.address]
    signals: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(noted(signals.append))
        agents = [stack.enter_context(_Agent(words, devices, workers)) for devices in shares]
        heard = 0
        while any(agent.poll() is None for agent in agents):
            for _ in signals[heard:]:
                _end(agents, first=heard == 0)
                heard += 1
            time.sleep(_LOOK_EVERY)
    if signals:
        return 128 + signals[0]
    return int(any(agent.poll() != 0 for agent in agents))


def create_sweep(sweep: Sweep, project: str, entity: str | None) -> CreatedSweep:
    """Create a sweep at W&B, by its command: it never asks there, and can be cut short.

    Raises:
        UsageError: If W&B does not take it.
    """
    source = {"name": sweep.name, **sweep.source}
    where = ["--project", project, *([] if entity is None else ["--entity", entity])]
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{sweep.name}.yaml"
        # Not JSON: in YAML, its 5e-05 is text.
        text = yaml.safe_dump(source, sort_keys=False, allow_unicode=True)
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [*_WANDB, "sweep", *where, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_CREATE_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refused(f"its server does not answer within {_CREATE_TIMEOUT:.0f} s") from None
    lines = _COLOUR.sub("", done.stdout.decode(errors="replace")).splitlines()
    text = "\n".join(lines)
    address = re.search(r"wandb agent '?([^\s']+)", text)
    if address is None:
        raise _refused(_reason(lines))
    page = re.search(r"View sweep at: (https?://\S+)", text)
    return CreatedSweep(address[1], page[1] if page else "")


class _Agent:
    """W&B's agent, which ends with this process."""

    def __init__(self, words: Sequence[str], devices: Sequence[str] | None, workers: int) -> None:
        environment = dict(os.environ)
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        if workers > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
        # The command beside this Python comes first, as in the local engine.
        beside = str(Path(sys.executable).parent)
        environment["PATH"] = os.pathsep.join([beside, environment.get("PATH", os.defpath)])
        self._process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            # Ctrl-C on a terminal reaches it through here.
            start_new_session=True,
            preexec_fn=ends_with_parent(),
        )

    def __enter__(self) -> "_Agent":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def poll(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)


def _end(agents: Sequence[_Agent], first: bool) -> None:
    """Ask agents to end their trials, or after that to kill them.

    At its first signal an agent waits for its trial to come to its end, at the second it terminates
    it, at the third it kills it.
    """
    for agent in agents:
        agent.interrupt()
    if first:
        time.sleep(_SECOND_SIGNAL_AFTER)
        for agent in agents:
            agent.interrupt()


def _refused(reason: str) -> UsageError:
    return UsageError(
        f"W&B did not take the sweep: {reason}; `wandb login` logs in, --engine local needs no W&B"
    )


def _reason(lines: Sequence[str]) -> str:
    """Return the last line that W&B printed, without what it begins its lines with."""
    said = [line for line in lines if line.strip() and "detailed error logs" not in line]
    last = said[-1] if said else "no word of why"
    return re.sub(r"^(wandb: )?(ERROR |Error: )*", "", last.strip()).rstrip(".")
