"""Overhead of the engine: time per trial, and memory that grows with their number."""

import json
import subprocess
import sys

import pytest

# A trial that ends at once, so that nearly all of the time is the engine's.
TRIAL = """
cd "$LIGHTNING_COLORIZE_TRIAL"
printf '{"status": "finished", "metrics": {"m": 1.0}}' > result.json
"""

MEASURE = """
import json, os, sys, time
from pathlib import Path
from lightning_colorize.sweeps import worker
from lightning_colorize.sweeps.worker import TrialRunner
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import create_study
from lightning_colorize.sweeps.spec import parse_sweep

root, source = Path(sys.argv[1]), json.loads(sys.argv[2])
run, measured = TrialRunner.run, []

def counted(runner):
    outcome = run(runner)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    measured.append((time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE") / 1e6))
    return outcome

TrialRunner.run = counted
study = create_study(parse_sweep(source, "costs.yaml"), root)
assert worker.work(study) == 0
assert {row.state for row in rows(study)} == {"finished"}
print(json.dumps(measured))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_time_and_memory_of_500_trials(tmp_path):
    source = {
        "method": "bayes",
        "run_cap": 500,
        "metric": {"name": "m", "goal": "minimize"},
        "command": ["/bin/sh", "-c", TRIAL, "${args}"],
        "parameters": {
            "rate": {"min": 1e-5, "max": 1e-1, "distribution": "log_uniform_values"},
            "loss": {"values": ["l1", "mse", "huber"]},
            "width": {"min": 8, "max": 64},
        },
    }
    words = [sys.executable, "-c", MEASURE, str(tmp_path), json.dumps(source)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert len(measured) == 500
    times, memory = zip(*measured, strict=True)
    print(f"{times[-1] - times[0]:.1f} s, {memory[-1]:.0f} MB")
    assert times[-1] - times[49] < 0.3 * 450
    assert times[-1] - times[449] < 0.3 * 50  # no slower with their number
    assert memory[-1] - memory[49] < 20
