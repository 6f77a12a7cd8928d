"""Workers as processes of this machine: GPUs, signals, and workers that die."""

import os
import re
import signal
import threading
import time

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import launch
from lightning_colorize.sweeps.launch import environments, run_workers, visible_gpus
from tests.sweeps.conftest import states


@pytest.mark.parametrize(
    ("gpus", "workers", "each", "expected"),
    [
        ("0,1,2,3", 2, None, ["0,1", "2,3"]),
        ("0,1,2", 2, None, ["0", "1"]),
        ("0,1,2,3", 3, 1, ["0", "1", "2"]),
        ("5,7", 1, 2, ["5,7"]),
        ("0,1", 2, 0, ["", ""]),
        ("", 2, None, ["", ""]),
        ("0,1,2", 2, 2, None),
        ("", 1, 1, None),
        ("0", 2, None, None),
    ],
)
def test_gpus_are_divided_if_there_are_enough(monkeypatch, gpus, workers, each, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    if expected is None:
        with pytest.raises(UsageError, match=rf"--workers {workers} .*visible; give fewer"):
            environments(workers, each)
    else:
        found = [each["CUDA_VISIBLE_DEVICES"] for each in environments(workers, each)]
        assert found == expected


def test_visible_gpus_are_those_of_the_environment_or_the_driver(monkeypatch):
    several = ("2, GPU-8932f937,MIG-1", ["2", "GPU-8932f937", "MIG-1"])
    for variable, gpus in (several, ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
        assert visible_gpus() == gpus
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


def test_cores_are_divided_unless_the_environment_sets_threads(monkeypatch):
    monkeypatch.setattr("lightning_colorize.sweeps.launch.cores", lambda: 9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert [each["OMP_NUM_THREADS"] for each in environments(2, 0)] == ["4", "4"]
    assert "OMP_NUM_THREADS" not in environments(1, 0)[0]
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in environments(2, 0)[0]


@pytest.fixture
def launched(engine, monkeypatch):
    """Run workers; return the exit code and what was printed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr(launch, "_TICK_EVERY", 0.0)

    def run(study, workers=1, tick=lambda: None):
        lines = []
        code = run_workers(study, workers, 1, lambda: tick(), lines.append)
        return code, lines

    return run


def kills(engine, study, number=signal.SIGKILL, most=1):
    """Return a tick that signals some workers as soon as they have started the first trial."""
    killed = []

    def tick():
        for start in engine.starts(study, 0):
            if start["worker"] not in killed and len(killed) < most:
                killed.append(start["worker"])
                os.kill(start["worker"], number)

    return tick


KILLED = "died (killed by SIGKILL (out of memory?)); its trial is queued again"
TERMINATED = "died (killed by SIGTERM); its trial is queued again"


@pytest.mark.parametrize(
    ("number", "workers", "expected"),
    [(signal.SIGTERM, 1, TERMINATED), (signal.SIGKILL, 2, KILLED)],
)
def test_a_killed_worker_is_replaced_and_its_trial_resumed(
    engine, launched, number, workers, expected
):
    study = engine.study({"x": [1, 2, 3], "seconds": 0.6})
    code, (line,) = launched(study, workers, kills(engine, study, number))
    assert code == 0
    assert re.match(r"worker \d \(GPU [46]\) ", line)
    assert line.endswith(f") {expected}, and another worker starts")
    assert states(study) == ["finished"] * 3
    starts = [engine.starts(study, number) for number in range(3)]
    first, second = starts[0]
    assert first["worker"] != second["worker"]
    gpus = {start["gpus"] for of_one in starts for start in of_one}
    assert gpus == ({"4"} if workers == 1 else {"4", "6"})


def test_a_worker_that_is_killed_again_and_again_is_not_replaced_forever(
    engine, launched, monkeypatch
):
    monkeypatch.setattr(launch, "_MOST_REPLACEMENTS", 1)
    study = engine.study({"x": [1], "seconds": 60})
    code, lines = launched(study, tick=kills(engine, study, most=9))
    assert code == 1
    assert lines == [
        f"worker 1 (GPU 4) {KILLED}, and another worker starts",
        f"worker 1 (GPU 4) {KILLED}; no worker is left here",
    ]
    assert states(study) == ["waiting"]


@pytest.mark.parametrize("is_starting", [True, False])
def test_signals_are_forwarded(engine, launched, is_starting):
    """A worker that has not yet imported its modules ends without a word."""
    study = engine.study({"x": [1, 2], "seconds": 60})
    interrupted = []

    def tick():
        if not interrupted and (is_starting or engine.starts(study, 0)):
            interrupted.append(time.monotonic())
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    code, lines = launched(study, 2, tick)
    assert code == 130
    assert [line.split(":")[0] for line in lines] == ["interrupting"]
    assert time.monotonic() - interrupted[0] < 10
    # On a busy machine, the signal comes when a worker that is starting has just taken a trial.
    assert set(states(study)) == {"waiting"} or (is_starting and not states(study))


def test_the_last_line_of_a_worker_is_printed(engine, launched):
    study = engine.study({"x": 1}, name="-mine")  # which looks like an option
    (study.folder / "study.journal").write_text("")
    code, lines = launched(study)
    assert code == 1
    assert lines == [
        f"worker 1 (GPU 4): {study.folder} contains no sweep; start one with sweep run",
        "worker 1 (GPU 4) died (exit code 2); no worker is left here",
    ]
