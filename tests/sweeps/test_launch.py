"""Workers as processes of this machine: GPUs, signals, and workers that die."""

import os
import re
import signal
import sys
import threading
from dataclasses import replace

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import launch
from lightning_colorize.sweeps.launch import (
    WorkerOptions,
    environments,
    run_workers,
    visible_gpus,
    workers_of,
)
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
            environments(WorkerOptions(workers, each))
    else:
        found = environments(WorkerOptions(workers, each))
        assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == expected


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
    assert [each["OMP_NUM_THREADS"] for each in environments(WorkerOptions(2, 0))] == ["4", "4"]
    assert "OMP_NUM_THREADS" not in environments(WorkerOptions(1, 0))[0]
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in environments(WorkerOptions(2, 0))[0]


# A worker with seconds in place of minutes, in a process of its own.
SHORT = """
import sys
from lightning_colorize.sweeps import study, worker
study.HEARTBEAT, study.GRACE_PERIOD = 1, 4
sys.exit(worker.main())
"""


@pytest.fixture
def launched(engine, monkeypatch, capfd):
    """Run workers; return the exit code and what was printed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr(launch, "_TICK_EVERY", 0.0)

    def run(study, workers=1, tick=lambda: None):
        jobs = workers_of(study.sweep.name, study.folder, WorkerOptions(workers, 1), study.url)
        jobs = replace(jobs, words=[sys.executable, "-c", SHORT, jobs.words[-1]])
        code = run_workers(jobs, tick)
        return code, capfd.readouterr().err.splitlines()

    return run


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_trial_resumed(engine, launched):
    study = engine.study({"x": [1, 2, 3], "seconds": 1, "epochs": 2})
    killed = []

    def tick():
        for start in engine.starts(study, 0):
            if not killed:
                killed.append(start["worker"])
                os.kill(start["worker"], signal.SIGKILL)

    code, (line,) = launched(study, 2, tick)
    assert code == 0
    assert re.fullmatch(
        r"worker \d died \(killed by SIGKILL \(out of memory\?\)\); another worker starts", line
    )
    assert states(study) == ["finished"] * 3
    starts = [engine.starts(study, number) for number in range(3)]
    first, second = starts[0]
    assert first["worker"] != second["worker"]
    assert {start["gpus"] for of_one in starts for start in of_one} == {"4", "6"}
    assert [len(engine.finishes(study, number)) for number in range(3)] == [1] * 3


def test_signals_are_forwarded(engine, launched):
    study = engine.study({"x": [1, 2], "seconds": 60})
    interrupted = []

    def tick():
        if not interrupted and engine.starts(study, 0):
            interrupted.append(True)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    code, lines = launched(study, 2, tick)
    assert code == 130
    assert [line.split(":")[0] for line in lines] == ["interrupting"]
    assert states(study) == ["waiting"] * 2


def test_a_worker_that_fails_says_why(engine, launched):
    study = engine.study({"x": 1}, name="-mine")  # which looks like an option
    (study.folder / "study.db").unlink()
    code, lines = launched(study)
    assert code == 1
    assert "study.db does not exist" in lines[0]
    assert lines[1:] == ["worker 1 died (exit code 2)"]
