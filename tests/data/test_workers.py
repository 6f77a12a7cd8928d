"""Processes of the loader, and signals that go to all processes of a run."""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from tests.data.conftest import data_module

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1")


@pytest.fixture
def loader(photo_folder):
    return data_module(photo_folder, batch_size=2, num_workers=1).train_dataloader()


def test_workers_survive_stop_signals(loader):
    uninterrupted = [batch.names for batch in loader]
    loader.batches.epoch, loader._position = -1, len(loader)  # the same epoch again
    batches = (batch.names for batch in loader)
    names = [next(batches)]
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    names += batches
    assert names == uninterrupted
    assert np.unique(names).size == 12
    # A second SIGTERM is torch's own, to a worker that hangs; torch may notice its end first.
    with suppress(RuntimeError):
        os.kill(worker.pid, signal.SIGTERM)
        worker.join(10)
    worker.join(10)
    assert worker.exitcode == -signal.SIGTERM


LEFT = """
import multiprocessing
import time

from lightning_colorize.data.workers import end_workers_at_exit, init_worker


def read(ready):
    init_worker(0)
    ready.set()
    time.sleep(60)


context = multiprocessing.get_context("fork")
ready = context.Event()
end_workers_at_exit()
context.Process(target=read, args=(ready,), daemon=True).start()
ready.wait(20)
raise RuntimeError("the other rank is gone")
"""


def test_failed_run_does_not_wait_for_workers():
    done = subprocess.run(
        [sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("RuntimeError: the other rank is gone")
