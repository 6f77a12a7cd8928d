"""Signals and memory of the loader's worker processes."""

import atexit
import gc
import multiprocessing.util  # its own hook, which waits for all children, must be set before ours
import signal
from functools import cache, partial

from lightning_colorize.common.processes import quiet_decoders


def init_worker(worker_id: int) -> None:
    """Keep a worker alive when its run is signaled to stop, and share its memory with the run.

    Ctrl-C, Slurm and systemd signal all processes of a run. The main process finishes its batch and
    writes a checkpoint. A worker that dies before that fails the run.
    """
    # A collection would write to every object inherited by fork, and so copy some 60 MB of pages.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # Ignored once: torch ends a hanging worker by a second SIGTERM.
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, signal.SIG_DFL))
    quiet_decoders()


def _end_workers() -> None:
    """Kill workers that are left after an error: they ignore the SIGTERM that Python waits on."""
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if left:
        # Otherwise torch raises an error for a worker that died.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in left:
        child.kill()


end_workers_at_exit = cache(partial(atexit.register, _end_workers))
"""Registers the hook that ends workers, once."""
