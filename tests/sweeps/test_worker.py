"""Trials of a stub run by real workers: their outcomes and their folders."""

import os
import signal
import sys

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from lightning_colorize.common.errors import WorkError
from lightning_colorize.sweeps.status import leaderboard, rows
from lightning_colorize.sweeps.study import open_study
from lightning_colorize.sweeps.worker import main
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
    assert leaderboard(table, "max")[0].trials[0].number == 1
    assert leaderboard(table, "min")[0].trials[0].number == 0
    assert table[0].folder == engine.folder / "runs/tiny/trial-0000"
    assert table[0].seconds > 0
    printed = (table[3].folder / "output.log").read_text()
    assert "'x': '1'" in printed
    assert "'flag': 'None'" in printed


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_two_workers_share_trials_up_to_run_cap(engine, method, monkeypatch):
    # None dies, but on a busy machine a heartbeat may be late.
    monkeypatch.setattr("lightning_colorize.sweeps.study.GRACE_PERIOD", 60)
    parameters = {"x": {"min": 0.0, "max": 1.0}, "seconds": 0.05}
    study = engine.study(parameters, method=method, run_cap=9)
    workers = [engine.start(study) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert states(study) == ["finished"] * 9
    assert len({row.values["x"] for row in rows(study)}) == 9
    starts = [engine.starts(study, number) for number in range(9)]
    assert [len(of_one) for of_one in starts] == [1] * 9
    assert {of_one[0]["worker"] for of_one in starts} <= {worker.pid for worker in workers}
    assert not study.folder_of(9).exists()


def test_random_search_without_a_cap_runs_until_stopped(engine):
    study = engine.study({"x": {"min": 0.0, "max": 1.0}, "seconds": 0.05}, method="random")
    workers = [engine.start(study) for _ in range(2)]
    until(lambda: states(study).count("finished") > 4, 60)
    study.stop("after")
    assert [worker.wait(30) for worker in workers] == [0, 0]
    assert set(states(study)) == {"finished"}


@pytest.mark.parametrize("strict", [True, False])
def test_a_trial_that_is_behind_is_stopped(engine, strict):
    parameters = {"x": [3, 4, 5], "epochs": 5, "lingers": "trial-0002"}
    metric = {"name": "val/psnr", "goal": "minimize"}
    hyperband = {"type": "hyperband", "min_iter": 2, "eta": 2, "strict": strict}
    study = engine.study(parameters, metric=metric, early_terminate=hyperband)
    engine.work(study)
    first, _, third = rows(study)
    assert (first.state, first.reason, len(first.history)) == ("finished", None, 5)
    shown = 5.01 if strict else 5  # the value there, or the best so far
    assert (third.state, third.value, third.history) == ("pruned", 5.0, [5.0, shown])
    assert third.reason == f"hyperband: val/psnr {shown:g} is behind at validation 2"
    assert (third.folder / "stop").read_text().strip() == third.reason


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_terminated_worker_returns_its_trial(engine, number, code):
    study = engine.study({"x": 1, "epochs": 4, "seconds": 0.2})
    worker = engine.start(study)
    until(lambda: engine.validations(study, 0))
    worker.signal(number)
    assert worker.wait(20) == code
    (row,) = rows(study)
    assert (row.state, row.reason) == ("waiting", None)
    assert row.seconds > 0
    assert engine.work(study) == 0
    (row,) = rows(study)
    assert row.state == "finished"
    assert len(engine.starts(study, 0)) == 2
    # From its checkpoint: no epoch twice.
    assert [line["epoch"] for line in engine.validations(study, 0)] == [0, 1, 2, 3]
    assert row.history == pytest.approx([1, 1.01, 1.02, 1.03])


@pytest.mark.parametrize("how", ["a second signal", "the grace", "sweep stop --now"])
def test_a_trial_that_does_not_end_is_killed_and_waits(engine, how, monkeypatch):
    grace = 60 if how == "a second signal" else 0.5
    monkeypatch.setattr("lightning_colorize.sweeps.process._GRACE", grace)
    study = engine.study({"x": 1, "do": "deaf", "seconds": 60})
    worker = engine.start(study)
    until(lambda: engine.starts(study, 0))
    pid = engine.starts(study, 0)[0]["pid"]
    if how == "sweep stop --now":
        study.stop("now")
    else:
        worker.signal(signal.SIGTERM)
    if how == "a second signal":
        assert worker.wait(1) is None
        worker.signal(signal.SIGTERM)
    assert worker.wait(20) == (0 if how == "sweep stop --now" else 143)
    assert states(study) == ["waiting"]
    assert not is_alive(pid)
    # Only interruptions by other programs are counted, and end in failure.
    assert not any("interruptions" in trial.user_attrs for trial in study.optuna.trials)


def test_trials_of_killed_workers_and_killed_trials_resume(engine):
    """Each combination once, each validation once, though a worker and two trials are killed."""
    study = engine.study({"x": [1, 2, 3, 4], "epochs": 6, "seconds": 0.4})
    workers = [engine.start(study) for _ in range(2)]
    until(lambda: all(engine.validations(study, number) for number in (0, 1)))
    killed = {engine.starts(study, number)[0]["worker"]: number for number in (0, 1)}
    workers[0].end()
    lost = killed[workers[0].pid]
    other = engine.starts(study, 1 - lost)[0]["pid"]
    os.kill(other, signal.SIGTERM)
    # The trial does not outlive its worker.
    until(lambda: not is_alive(engine.starts(study, lost)[0]["pid"]), 5)
    assert workers[1].wait(60) == 0
    assert [(row.state, row.values["x"]) for row in rows(study)] == [
        ("finished", x) for x in (1, 2, 3, 4)
    ]
    assert [len(engine.starts(study, number)) for number in range(4)] == [2, 2, 1, 1]
    for number in range(4):
        assert [line["epoch"] for line in engine.validations(study, number)] == list(range(6))
        assert len(engine.finishes(study, number)) == 1
        assert rows(study)[number].history == pytest.approx(
            [number + 1 + epoch / 100 for epoch in range(6)]
        )
    assert rows(study)[lost].restarts == ("its worker was killed",)
    assert rows(study)[1 - lost].restarts == ("interrupted, retried 1 of 3",)


def test_a_trial_of_a_killed_worker_has_its_whole_time(engine, monkeypatch):
    monkeypatch.setattr("lightning_colorize.sweeps.worker._TICK_EVERY", 10.0)
    study = engine.study({"x": 1, "epochs": 2, "seconds": 1.5})
    killed = engine.start(study)
    until(lambda: engine.validations(study, 0))
    killed.end()
    assert engine.work(study) == 0
    assert rows(study)[0].seconds > 2 * 1.5 * 0.9


@pytest.mark.parametrize("lost", ["set_trial_user_attr", "record_heartbeat"])
def test_a_trial_outlives_a_database_that_goes_away(engine, monkeypatch, lost):
    """For one write in the middle of a trial; its process goes on, and heartbeats too."""
    beats, losses = [], []
    write, beat = getattr(RDBStorage, lost), RDBStorage.record_heartbeat

    def lose(self, *arguments, **named):
        if len(engine.validations(study, 0)) == 2 and not losses:
            losses.append(lost)
            raise StorageInternalError("server closed the connection")
        return write(self, *arguments, **named)

    def count(self, trial_id):
        beats.append(len(engine.validations(study, 0)))
        return (lose if lost == "record_heartbeat" else beat)(self, trial_id)

    study = engine.study({"x": 1, "epochs": 5, "seconds": 0.8})
    monkeypatch.setattr(RDBStorage, lost, lose)
    monkeypatch.setattr(RDBStorage, "record_heartbeat", count)
    assert engine.work(study) == 0
    assert len(losses) == 1
    assert beats[-1] > 2
    (row,) = rows(study)
    assert (row.state, len(row.history)) == ("finished", 5)
    assert len(engine.starts(study, 0)) == 1


def test_a_trial_that_a_killed_worker_did_not_return_is_not_lost(engine, monkeypatch):
    study = engine.study({"x": 1, "do": "preempted"})
    with monkeypatch.context() as patched:
        patched.setattr("lightning_colorize.sweeps.worker.retry", lambda *_: os._exit(9))
        assert engine.start(study).wait(30) == 9
    assert states(study) == ["waiting"]
    assert engine.work(study) == 0
    (row,) = rows(study)
    assert (row.state, row.reason) == ("failed", "interrupted, 4 times")
    assert row.restarts[:2] == ("its worker was killed", "interrupted, retried 2 of 3")


def test_a_result_that_a_killed_worker_did_not_store_is_taken(engine):
    study = engine.study({"x": [1, 2], "seconds": 0.5})
    worker = engine.start(study)
    until(lambda: engine.starts(study, 0))
    worker.signal(signal.SIGSTOP)
    until(lambda: engine.finishes(study, 0))
    worker.end()
    assert engine.work(study) == 0
    assert [row.value for row in rows(study)] == [1.0, 2.0]
    assert len(engine.starts(study, 0)) == 1


def test_a_suspended_worker_loses_its_trial(engine):
    study = engine.study({"x": 1, "epochs": 4, "seconds": 1.5})
    asleep = engine.start(study)
    until(lambda: engine.starts(study, 0))
    asleep.signal(signal.SIGSTOP)
    other = engine.start(study)
    until(lambda: len(engine.starts(study, 0)) == 2, 30)
    asleep.signal(signal.SIGCONT)
    # It ends its process and waits for the other.
    until(lambda: not is_alive(engine.starts(study, 0)[0]["pid"]), 10)
    assert [asleep.wait(60), other.wait(60)] == [0, 0]
    (row,) = rows(study)
    assert row.state == "finished"
    assert [start["worker"] for start in engine.starts(study, 0)] == [asleep.pid, other.pid]
    assert engine.finishes(study, 0) == [engine.starts(study, 0)[1]["pid"]]


def test_an_interrupted_trial_resumes_three_times_and_again_on_request(engine):
    study = engine.study({"x": 1, "do": "preempted"})
    for starts in (4, 8):
        assert engine.work(study) == 0
        assert len(engine.starts(study, 0)) == starts
        (row,) = rows(study)
        assert (row.state, row.reason) == ("failed", "interrupted, 4 times")
        assert study.retry_failed() == 1


def test_a_program_that_does_not_exist_fails_its_trial(engine):
    study = engine.study({"x": 1}, command=["./none", "${args}"])
    assert engine.work(study) == 0
    assert rows(study)[0].reason == "./none cannot be run: No such file or directory"


def test_many_failures_at_the_start_stop_the_worker(engine):
    study = engine.study({"x": [1, 2, 3, 4, 5, 6], "do": "fail", "epochs": 0})
    with pytest.raises(WorkError, match=r"5 trials in a row failed .*--retry-failed"):
        engine.work(study)
    assert states(study) == ["failed"] * 5 + ["waiting"]
    # Failures after a validation do not stop the worker.
    late = engine.study({"x": [1, 2, 3, 4, 5, 6], "do": "null"}, name="late")
    assert engine.work(late) == 0
    reasons = {(row.state, row.reason) for row in rows(late)}
    assert reasons == {("failed", "val/psnr was never a number; to train again, remove its folder")}


def test_an_unusable_folder_stops_the_worker(engine):
    study = engine.study({"x": [1, 2]})
    study.folder_of(0).touch()
    with pytest.raises(WorkError, match=r"cannot be run here \(.*trial-0000.*sweep resume"):
        engine.work(study)
    assert states(study) == ["waiting", "waiting"]
    study.folder_of(0).unlink()
    assert engine.work(study) == 0
    assert states(study) == ["finished", "finished"]


@pytest.mark.parametrize("error", [ValueError, AssertionError])
def test_an_error_in_the_objective_ends_the_worker(engine, monkeypatch, error):
    """Optuna raises the same types when another worker has taken over a trial."""

    def fail(*_):
        raise error("mine")

    monkeypatch.setattr("lightning_colorize.sweeps.worker.run_process", fail)
    with pytest.raises(error, match="mine"):
        engine.work(engine.study({"x": 1}))


def test_stop_after_the_trial_and_resume(engine):
    study = engine.study({"x": [1, 2, 3], "seconds": 0.5})
    worker = engine.start(study)
    until(lambda: engine.starts(study, 0))
    open_study(study.url).stop("after")
    assert worker.wait(10) == 0
    assert engine.work(study) == 0
    assert states(study) == ["finished", "waiting", "waiting"]
    study.stop(None)
    assert engine.work(study) == 0
    assert states(study) == ["finished"] * 3


def test_a_sweep_without_metric(engine):
    study = engine.study({"x": 3}, metric=None)
    engine.work(study)
    assert (rows(study)[0].state, rows(study)[0].value) == ("finished", None)


def test_a_trial_sees_its_folder_and_no_outer_task(engine, monkeypatch):
    for name in ("SLURM_PROCID", "MASTER_PORT", "LOCAL_RANK", "PMI_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_JOB_ID", "34")
    monkeypatch.setenv("LIGHTNING_COLORIZE_STUDY", "postgresql://user:secret@host/studies")
    printing = "import os; print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    command = [sys.executable, "-SE", "-c", printing, "${args}"]
    study = engine.study({"model.x": [1, 2], "y": 3}, command=command)
    monkeypatch.setenv("LIGHTNING_COLORIZE_STUDY", study.url)
    monkeypatch.setattr(sys, "argv", ["worker", study.sweep.name])
    assert engine.fork(lambda: sys.exit(main())).wait(30) == 0
    printed = (study.folder_of(0) / "output.log").read_text()
    assert f"LIGHTNING_COLORIZE_TRIAL={study.folder_of(0)}\n" in printed
    assert "LIGHTNING_COLORIZE_SWEEP=tiny\n" in printed
    assert "LIGHTNING_COLORIZE_VALUES=x=1\n" in printed
    assert "SLURM_JOB_ID=34" in printed  # by which the worker is requeued
    for name in ("SLURM_PROCID", "MASTER_PORT", "LOCAL_RANK", "PMI_RANK", "COLORIZE_STUDY"):
        assert f"{name}=" not in printed
