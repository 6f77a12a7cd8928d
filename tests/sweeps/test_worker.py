"""Trials of a stub run by real workers: their outcomes and their folders."""

import os
import signal

import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.status import best, rows
from lightning_colorize.sweeps.study import open_study
from tests.conftest import until
from tests.sweeps.conftest import is_alive, states


def test_a_worker_runs_a_grid_in_its_order(engine):
    study = engine.study({"x": [1, 3, 2], "flag": [True, None], "epochs": 2})
    assert engine.work(study) == 0
    table = rows(study)
    assert [(row.number, row.state, row.epoch) for row in table] == [
        (number, "finished", 2) for number in range(6)
    ]
    # The last in alphabetical order changes fastest, as in W&B.
    assert [(row.values["flag"], row.values["x"]) for row in table] == [
        *((True, x) for x in (1, 3, 2)),
        *((None, x) for x in (1, 3, 2)),
    ]
    assert list(table[0].values) == ["x", "flag", "epochs"]
    assert [row.history for row in table][:2] == [[1.0, 1.01], [3.0, 3.01]]
    assert best(table, "max").number == 1
    assert best(table, "min").number == 0
    assert table[0].folder == engine.folder / "runs/tiny/trial-0000"
    assert table[0].seconds > 0
    printed = (table[3].folder / "output.log").read_text()
    assert "'x': '1'" in printed
    assert "'flag': 'None'" in printed


@pytest.mark.parametrize("kind", ["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_two_workers_share_trials_up_to_run_cap(engine, kind):
    url = f"sqlite:///{engine.folder}/some/study.db" if kind == "sqlite" else None
    parameters = {"x": {"min": 0.0, "max": 1.0}, "seconds": 0.05}
    study = engine.study(parameters, url, method="random", run_cap=9)
    workers = [engine.start(study) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert states(study) == ["finished"] * 9
    starts = [engine.starts(study, number) for number in range(9)]
    assert all(len(of_one) == 1 for of_one in starts)
    assert {of_one[0]["worker"] for of_one in starts} == {worker.pid for worker in workers}
    assert not study.folder_of(9).exists()


def test_a_trial_that_is_behind_is_stopped(engine):
    parameters = {"x": [3, 4, 5], "epochs": 5, "lingers": "trial-0002"}
    metric = {"name": "val/psnr", "goal": "minimize"}
    hyperband = {"type": "hyperband", "min_iter": 2, "eta": 2}
    study = engine.study(parameters, metric=metric, early_terminate=hyperband)
    engine.work(study)
    first, _, third = rows(study)
    assert (first.state, first.reason, len(first.history)) == ("finished", None, 5)
    assert (third.state, third.value, third.history) == ("pruned", 5.0, [5.0, 5.01])
    assert third.reason == "hyperband: val/psnr 5.01 is behind 4.01 at validation 2"
    assert (third.folder / "stop").read_text().strip() == third.reason


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_terminated_worker_returns_its_trial(engine, number, code):
    study = engine.study({"x": 1, "epochs": 4, "seconds": 0.2})
    worker = engine.start(study)
    until(lambda: engine.validations(study, 0))
    worker.signal(number)
    assert worker.wait(10) == code
    (row,) = rows(study)
    assert (row.state, row.reason) == ("waiting", None)
    assert 0 < row.seconds < 5
    assert engine.work(study) == 0
    (row,) = rows(study)
    assert row.state == "finished"
    assert len(engine.starts(study, 0)) == 2
    # From its checkpoint: no epoch twice.
    assert [line["epoch"] for line in engine.validations(study, 0)] == [0, 1, 2, 3]
    assert row.history == pytest.approx([1, 1.01, 1.02, 1.03])


@pytest.mark.parametrize("how", ["a second signal", "the grace", "sweep stop --now", "a cluster"])
def test_a_trial_that_does_not_end_is_killed_and_waits(engine, how):
    """A cluster may signal the trial before its worker; the others end a trial that is deaf."""
    do = "finish" if how == "a cluster" else "deaf"
    study = engine.study({"x": 1, "do": do, "seconds": 60})
    worker = engine.start(study, grace=60 if how == "a second signal" else 0.5)
    until(lambda: engine.starts(study, 0))
    pid = engine.starts(study, 0)[0]["pid"]
    if how == "sweep stop --now":
        study.stop(now=True)
    elif how == "a cluster":
        worker.signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGTERM)
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGCONT)
    else:
        worker.signal(signal.SIGTERM)
    if how == "a second signal":
        assert worker.wait(1) is None
        worker.signal(signal.SIGTERM)
    assert worker.wait(10) == (0 if how == "sweep stop --now" else 143)
    assert states(study) == ["waiting"]
    assert not is_alive(pid)
    # Only interruptions by other programs are counted, and end in failure.
    assert "interruptions" not in study.inner.trials[0].user_attrs


def test_trials_of_killed_workers_resume_at_once(engine):
    study = engine.study({"x": [1, 2], "epochs": 6, "seconds": 0.2})
    workers = [engine.start(study) for _ in range(2)]
    until(lambda: all(engine.validations(study, number) for number in (0, 1)))
    for worker in workers:
        worker.end()
    # The trials do not outlive their workers.
    pids = [engine.starts(study, number)[0]["pid"] for number in (0, 1)]
    until(lambda: not any(map(is_alive, pids)), 5)
    gone = ("waiting", "its worker is gone")
    assert [(row.state, row.reason) for row in rows(study)] == [gone, gone]
    assert engine.work(study) == 0
    assert [(row.state, row.values["x"]) for row in rows(study)] == [
        ("finished", 1),
        ("finished", 2),
    ]
    for number in (0, 1):
        assert len(engine.starts(study, number)) == 2
        assert [line["epoch"] for line in engine.validations(study, number)] == list(range(6))


def test_a_suspended_worker_loses_its_trial(engine):
    study = engine.study({"x": 1, "epochs": 6, "seconds": 0.8})
    asleep = engine.start(study, renew_every=0.1)
    until(lambda: engine.starts(study, 0))
    asleep.signal(signal.SIGSTOP)
    other = engine.start(study, renew_every=0.1, stale_after=0.7)
    until(lambda: len(engine.starts(study, 0)) == 2)
    asleep.signal(signal.SIGCONT)
    # It ends its process and waits for the other.
    until(lambda: not is_alive(engine.starts(study, 0)[0]["pid"]), 5)
    assert [asleep.wait(20), other.wait(20)] == [0, 0]
    (row,) = rows(study)
    assert row.state == "finished"
    assert [start["worker"] for start in engine.starts(study, 0)] == [asleep.pid, other.pid]
    assert engine.finishes(study, 0) == [engine.starts(study, 0)[1]["pid"]]


def test_an_interrupted_trial_resumes_three_times(engine):
    study = engine.study({"x": 1, "do": "preempted"})
    assert engine.work(study) == 0
    assert len(engine.starts(study, 0)) == 4
    assert [(row.state, row.reason) for row in rows(study)] == [
        ("failed", "interrupted by another program, 4 times")
    ]


def test_trials_start_in_the_sweeps_folder(engine, monkeypatch):
    start = engine.folder / "with experiments"
    start.mkdir()
    monkeypatch.chdir(start)
    study = engine.study({"x": 1}, command=["/bin/sh", "-c", "pwd", "${args}"])
    monkeypatch.chdir("/")
    engine.work(open_study(study.url))
    assert [row.reason for row in rows(study)] == [f"exit code 0: {start}"]


def test_a_worker_stops_after_five_failures_at_the_start(engine):
    metric = {"name": "test/psnr", "goal": "maximize"}
    study = engine.study({"x": [1, 2, 3, 4, 5, 6], "do": "fail", "epochs": 0}, metric=metric)
    with pytest.raises(WorkError, match=r"5 trials in a row .*'exit code 1: boom'.*--retry-failed"):
        engine.work(study)
    assert states(study) == ["failed"] * 5
    # The cause of the failures is gone.
    engine.stub.write_text(engine.stub.read_text().replace('do == "fail"', "False"))
    assert TrialQueue(study).retry_failed() == 5
    assert engine.work(study) == 0
    assert [row.value for row in rows(study)] == [2.0 * x for x in (1, 2, 3, 4, 5, 6)]
    # Failures after a validation do not stop the worker.
    late = engine.study({"x": [1, 2, 3, 4, 5, 6], "do": "null"}, name="late")
    assert engine.work(late) == 0
    assert states(late) == ["failed"] * 6


def test_an_unusable_folder_stops_the_worker(engine):
    study = engine.study({"x": [1, 2]})
    study.folder_of(0).touch()
    with pytest.raises(WorkError, match=r"trial 0 cannot be run here \(.*trial-0000.*sweep resume"):
        engine.work(study)
    assert states(study) == ["waiting"]
    study.folder_of(0).unlink()
    assert engine.work(study) == 0
    assert states(study) == ["finished", "finished"]


def test_stop_after_the_trial_and_resume(engine):
    study = engine.study({"x": [1, 2, 3], "seconds": 0.3})
    worker = engine.start(study)
    until(lambda: engine.starts(study, 0))
    open_study(study.url).stop()
    assert worker.wait(10) == 0
    assert states(study) == ["finished"]
    assert engine.work(study) == 0
    assert states(study) == ["finished"]
    study.resume()
    assert engine.work(study) == 0
    assert states(study) == ["finished"] * 3
