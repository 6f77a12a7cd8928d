"""The soak with few kills; `python tests/distributed/soak.py` has forty."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kills", "kills_of_two"), [(6, 0), (0, 1)])
def test_a_run_that_is_killed_again_and_again_equals_one_left_alone(kills, kills_of_two):
    # A process of its own: it forks, which one with threads should not.
    words = ["--kills", str(kills), "--kills-of-two", str(kills_of_two)]
    done = subprocess.run(
        [sys.executable, str(SOAK), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
