"""Several workers on this machine, each a process with GPUs of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.sweeps.process import STUDY, ends_with_parent
from lightning_colorize.sweeps.signals import noted
from lightning_colorize.sweeps.study import Study

_ENDED = {0, 128 + signal.SIGINT, 128 + signal.SIGTERM}
_LOOK_EVERY = 0.2
_TICK_EVERY = 1.0
_MOST_SAID = 1 << 16


def run_workers(
    study: Study,
    workers: int = 1,
    gpus_per_trial: int | None = None,
    tick: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> int:
    """Run a study's trials in several processes until none is left or the sweep is stopped.

    SIGINT and SIGTERM are passed on: trials write their checkpoints and go back into the queue; a
    second one kills them. To be called in the main thread.

    Args:
        study: Created.
        workers: How many trials run at the same time.
        gpus_per_trial: How many GPUs each sees; by default the visible ones are shared out.
        tick: Called every second or so, to show how it goes.
        say: Is given lines about workers that died.

    Returns:
        0 if a worker came to the end, 1 if all died, 130 or 143 after a signal.

    Raises:
        UsageError: If there are not enough GPUs.
    """
    shares = share(visible_gpus(), workers, gpus_per_trial)
    threads = max(1, cores() // workers) if workers > 1 else None
    signals: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(noted(signals.append))
        running = [
            stack.enter_context(_Worker(study, number, devices, threads))
            for number, devices in enumerate(shares, start=1)
        ]
        codes: list[int] = []
        passed, ticked = 0, float("-inf")
        while running:
            if len(signals) > passed == 0:
                say("interrupting: trials write their checkpoints; again kills them")
            for worker in running[:]:
                for number in signals[passed:]:
                    worker.signal(number)
                code = worker.poll()
                for line in worker.new_lines():
                    say(f"{worker.name}: {line}")
                if code is not None:
                    running.remove(worker)
                    codes.append(code)
                    if code not in _ENDED and len(signals) < 2:
                        say(f"{worker.name} died ({_death(code)}); what it ran goes to another")
            passed = len(signals)
            if time.monotonic() - ticked >= _TICK_EVERY:
                tick()
                ticked = time.monotonic()
            time.sleep(_LOOK_EVERY)
        tick()
    if signals:
        return 128 + signals[0]
    return 0 if 0 in codes else 1


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, without asking CUDA."""
    if (variable := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in variable.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    # Slices of a GPU are listed below it, with an indent.
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(gpus))]


def share(gpus: Sequence[str], workers: int, gpus_per_trial: int | None) -> list[list[str] | None]:
    """Return each worker's GPUs; None where there is none to be shared out.

    Args:
        gpus: All.
        workers: How many trials run at the same time.
        gpus_per_trial: How many each gets; by default as many as there are for all.

    Raises:
        UsageError: If there are not enough.
    """
    if gpus_per_trial is None:
        if not gpus:
            return [None] * workers
        each = len(gpus) // workers
        if not each:
            raise UsageError(
                f"--workers {workers} with {len(gpus)} GPU(s) visible; give fewer workers, "
                "or --gpus-per-trial 0 for trials on the CPU"
            )
    else:
        each = gpus_per_trial
        if workers * each > len(gpus):
            raise UsageError(
                f"--workers {workers} x --gpus-per-trial {each} is {workers * each} GPUs, "
                f"but {len(gpus)} are visible; give fewer of either"
            )
    return [list(gpus[index * each : (index + 1) * each]) for index in range(workers)]


class _Worker:
    """A worker's process, which ends with this one."""

    def __init__(
        self, study: Study, number: int, devices: Sequence[str] | None, threads: int | None
    ) -> None:
        on = f" (GPU {','.join(devices)})" if devices else ""
        self.name = f"worker {number}{on}"
        words = [sys.executable, "-m", "lightning_colorize.sweeps.worker"]
        words += [f"--name={study.sweep.name}"]
        words += [] if devices is None else ["--devices", ",".join(devices)]
        words += [] if threads is None else ["--threads", str(threads)]
        self._said = TemporaryFile()  # noqa: SIM115, closed by __exit__
        self._read = 0
        self._process = subprocess.Popen(
            words,
            # Not in its words, where everybody on the machine could read a password.
            env={**os.environ, STUDY: study.address},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            # Ctrl-C on a terminal reaches it once, through here.
            start_new_session=True,
            preexec_fn=ends_with_parent(),
        )

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._said.close()

    def poll(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def new_lines(self) -> list[str]:
        """Return what it has printed since the last call."""
        # Not through the file's position, which is the process's too.
        new = os.pread(self._said.fileno(), _MOST_SAID, self._read)
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if line.strip()]


def _death(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
