"""Overhead of the engine: its own CPU time per trial, and memory that grows with their number."""

import os
import time
from pathlib import Path

import pytest

from lightning_colorize.sweeps.worker import TrialRunner
from tests.sweeps.conftest import states

# A trial that ends at once, so that nearly all of the time is the engine's.
TRIAL = """
cd "$LIGHTNING_COLORIZE_TRIAL"
printf '{"status": "finished", "metrics": {"m": 1.0}}' > result.json
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_time_and_memory_of_500_trials(engine, monkeypatch):
    study = engine.study(
        {
            "rate": {"min": 1e-5, "max": 1e-1, "distribution": "log_uniform_values"},
            "loss": ["l1", "mse", "huber"],
            "width": {"min": 8, "max": 64},
        },
        method="bayes",
        run_cap=500,
        metric={"name": "m", "goal": "minimize"},
        command=["/bin/sh", "-c", TRIAL, "${args}"],
    )
    run, times, memory = TrialRunner.run, [], []

    def measured(runner):
        outcome = run(runner)
        times.append(time.process_time())  # without the trials, on a busy machine too
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        return outcome

    monkeypatch.setattr(TrialRunner, "run", measured)
    assert engine.work(study) == 0
    assert states(study) == ["finished"] * 500
    print(f"{times[-1] - times[0]:.1f} s, {memory[-1]:.0f} MB")
    # A busy machine takes five times as long, also in CPU time.
    assert times[-1] - times[49] < 0.3 * 450
    assert times[-1] - times[449] < 4 * (times[99] - times[49])  # no slower with their number
    assert memory[-1] - memory[49] < 20
