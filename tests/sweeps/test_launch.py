import os
import signal
import threading
import time

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps import launch
from lightning_colorize.sweeps.launch import environments, run_workers, share, visible_gpus
from lightning_colorize.sweeps.status import rows


@pytest.mark.parametrize(
    ("gpus", "workers", "each", "expected"),
    [
        ("", 2, None, [[], []]),
        ("0123", 2, None, [["0", "1"], ["2", "3"]]),
        ("012", 2, None, [["0"], ["1"]]),
        ("0123", 1, None, [["0", "1", "2", "3"]]),
        ("0123", 3, 1, [["0"], ["1"], ["2"]]),
        ("57", 1, 2, [["5", "7"]]),
        ("01", 2, 0, [[], []]),
    ],
)
def test_gpus_are_divided(gpus, workers, each, expected):
    assert share(list(gpus), workers, each) == expected


@pytest.mark.parametrize(("gpus", "workers", "each"), [("012", 2, 2), ("", 1, 1), ("0", 2, None)])
def test_too_few_gpus_are_refused(gpus, workers, each):
    with pytest.raises(UsageError, match=rf"--workers {workers} .*visible; give fewer"):
        share(list(gpus), workers, each)


def test_visible_gpus_from_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8932f937,MIG-1")
    assert visible_gpus() == ["2", "GPU-8932f937", "MIG-1"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert visible_gpus() == []


def test_visible_gpus_from_the_driver(monkeypatch):
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


def test_a_dead_worker_is_reported_and_its_trial_taken_over(engine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr("lightning_colorize.sweeps.launch._TICK_EVERY", 0.0)
    study = engine.study({"x": [1, 2, 3], "seconds": 0.6})
    messages, killed = [], []

    def tick():
        if not killed and engine.starts(study, 0):
            killed.append(engine.starts(study, 0)[0]["worker"])
            os.kill(killed[0], signal.SIGKILL)

    assert run_workers(study, 2, 1, tick, messages.append) == 0
    assert len(messages) == 1
    assert messages[0].startswith(("worker 1 (GPU 4) died (killed by ", "worker 2 (GPU 6) died ("))
    assert [row.state for row in rows(study)] == ["finished"] * 3
    starts = [engine.starts(study, number) for number in range(3)]
    gpus = {(start["worker"], start["gpus"]) for of_one in starts for start in of_one}
    assert {gpu for _, gpu in gpus} == {"4", "6"}
    assert len(starts[0]) == 2


def kills(engine, study, number=signal.SIGKILL):
    """Return a tick that signals each worker as soon as it has started the first trial."""
    killed = []

    def tick():
        for start in engine.starts(study, 0):
            if start["worker"] not in killed:
                killed.append(start["worker"])
                os.kill(start["worker"], number)

    return tick


KILLED = "worker 1 (GPU 4) died (killed by SIGKILL (out of memory?)); its trial is queued again"
TERMINATED = KILLED.replace("SIGKILL (out of memory?)", "SIGTERM")


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGKILL, KILLED), (signal.SIGTERM, TERMINATED)]
)
def test_a_killed_worker_is_replaced(engine, monkeypatch, number, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    monkeypatch.setattr(launch, "_TICK_EVERY", 0.0)
    study = engine.study({"x": [1, 2], "seconds": 0.6})
    messages, tick = [], kills(engine, study, number)

    def kill_once():
        if not messages:
            tick()

    assert run_workers(study, 1, 1, kill_once, messages.append) == 0
    assert messages == [f"{expected}, and another worker starts"]
    assert [row.state for row in rows(study)] == ["finished"] * 2
    first, second = engine.starts(study, 0)
    assert first["worker"] != second["worker"]
    assert (first["gpus"], second["gpus"]) == ("4", "4")


def test_a_worker_that_is_killed_again_and_again_is_not_replaced_forever(engine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    monkeypatch.setattr(launch, "_TICK_EVERY", 0.0)
    monkeypatch.setattr(launch, "_MOST_REPLACEMENTS", 1)
    study = engine.study({"x": [1], "seconds": 60})
    messages = []
    assert run_workers(study, 1, 1, kills(engine, study), messages.append) == 1
    assert messages == [
        f"{KILLED}, and another worker starts",
        f"{KILLED}; no worker is left here",
    ]
    assert [row.state for row in rows(study)] == ["waiting"]


def test_signals_are_forwarded(engine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("lightning_colorize.sweeps.launch._TICK_EVERY", 0.0)
    study = engine.study({"x": [1, 2], "seconds": 60})
    started = []

    def tick():
        if not started and engine.starts(study, 0):
            started.append(time.monotonic())
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

    assert run_workers(study, 1, None, tick) == 130
    assert time.monotonic() - started[0] < 10
    assert [row.state for row in rows(study)] == ["waiting"]


def test_workers_that_are_starting_end_without_a_word(engine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    study = engine.study({"x": [1, 2]})
    messages = []
    # Long before a worker has imported its modules.
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert run_workers(study, 2, None, say=messages.append) == 130
    assert [line.split(":")[0] for line in messages] == ["interrupting"]
    assert rows(study) == []


def test_the_last_line_of_a_worker_is_printed(engine):
    study = engine.study({"x": 1}, name="-mine")  # which looks like an option
    (study.folder / "study.journal").write_text("")
    messages = []
    assert run_workers(study, 1, None, say=messages.append) == 1
    assert messages[0] == f"worker 1: {study.folder} contains no sweep; start one with sweep run"
    assert messages[1] == "worker 1 died (exit code 2); no worker is left here"
