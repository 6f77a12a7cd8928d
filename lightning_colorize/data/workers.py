"""Signals that are meant for a run reach the processes that read its images too."""

import atexit
import multiprocessing.util  # its own hook, which waits for all children, must be set before ours
import signal
from types import FrameType


def leave_signals_to_the_run(worker_id: int) -> None:
    """Let a process of the loader outlive what tells its run to stop.

    Ctrl-C, Slurm and systemd signal all processes of a run at once. The run finishes its batch and
    writes a checkpoint, for which it needs the loader: one that has died fails the run instead.

    Args:
        worker_id: As torch's DataLoader gives it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _outlive_the_first)


def _outlive_the_first(number: int, frame: FrameType | None) -> None:
    """Leave the next one to the system: by it torch ends a worker that hangs."""
    signal.signal(number, signal.SIG_DFL)


@atexit.register
def _end_workers() -> None:
    """End what an error has left: Python asks by a SIGTERM, which they outlive, and waits."""
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if left and hasattr(signal, "SIGCHLD"):
        # torch would take their end for an accident.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in left:
        child.kill()
