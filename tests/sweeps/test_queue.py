"""Trials handed over between two workers in this process."""

import threading
from itertools import cycle, islice
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from lightning_colorize.sweeps import queue
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.storage import ConnectionLost
from lightning_colorize.sweeps.study import open_study
from lightning_colorize.sweeps.trial import Outcome
from tests.sweeps.conftest import failing, run_trials, states

UNIFORM = {"min": 0.0, "max": 1.0}
FINISHED = Outcome("finished", 1.0)
RETURNED = Outcome("returned")


@pytest.fixture
def study(engine):
    return engine.study({"x": UNIFORM, "y": UNIFORM}, method="random", run_cap=3)


def elsewhere(study, **options):
    """Another worker's access, through its own storage."""
    return TrialQueue(open_study(study.url), **options)


@pytest.fixture
def clock(monkeypatch):
    """The clock of workers that check the leases of others."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(queue, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def on_other_machines(monkeypatch):
    """Only the clock shows that a worker on another machine is gone."""
    monkeypatch.setattr(queue, "_machine", lambda: None)


@pytest.mark.parametrize("action", ["take", "renew", "tell"])
def test_changes_under_another_workers_lock_are_seen(study, action):
    one, other = TrialQueue(study), elsewhere(study)
    trial = other.take()
    one.take()
    arguments = {"take": (), "renew": (trial,), "tell": (trial, FINISHED)}[action]
    answers = []
    acting = threading.Thread(target=lambda: answers.append(getattr(other, action)(*arguments)))
    with study.lock:
        acting.start()
        acting.join(0.1)
        assert acting.is_alive()
        if action == "take":
            assert one.take().number == 2  # the last
        else:
            study.storage.set_trial_state_values(trial.id, TrialState.WAITING)
            assert one.take().number == trial.number
    acting.join(5)
    assert answers == [None if action == "take" else False]
    assert {row.state for row in rows(study)} == {"running"}
    assert len(rows(study)) == (3 if action == "take" else 2)


def test_a_grid_ends_with_its_last_combination_and_with_the_cap(engine):
    for cap, count in ((None, 4), (3, 3), (9, 4)):
        study = engine.study({"x": [1, 2], "y": [True, 1]}, name=f"cap-{cap}", run_cap=cap)
        one = TrialQueue(study)
        taken = [one.take() for _ in range(count)]
        assert one.take() is None
        # True and 1 are two values, although equal in Python.
        assert [(t.values["x"], repr(t.values["y"])) for t in taken] == [
            *((1, "True"), (1, "1"), (2, "True"), (2, "1"))
        ][:count]


def test_a_returned_trial_is_taken_again_with_its_values(study):
    one, other = TrialQueue(study), elsewhere(study)
    first = one.take()
    assert one.tell(first, RETURNED)
    assert states(study) == ["waiting"]
    again = other.take()
    assert (again.number, again.values, again.folder) == (first.number, first.values, first.folder)
    # The first worker has lost it.
    assert not one.renew(first)
    assert not one.tell(first, FINISHED)
    assert not one.tell(first, RETURNED)
    assert other.renew(again)
    assert other.tell(again, Outcome("finished", 2.0))
    assert [row.value for row in rows(study)] == [2.0]


@pytest.mark.usefixtures("on_other_machines")
def test_a_stale_trial_is_taken_over(study, clock):
    gone, other = TrialQueue(study), elsewhere(study, stale_after=60)
    trial = gone.take()
    assert other.take().number == 1
    clock.now = 61
    again = other.take()
    assert (again.number, again.values) == (0, trial.values)
    assert not gone.tell(trial, FINISHED)
    assert other.tell(again, Outcome("failed", reason="boom"))
    assert rows(study)[0].state == "failed"
    # Later reports of the first worker to the closed trial are dropped.
    gone.report(trial, 0, 5.0)
    gone.report_epoch(trial, 7)
    assert (rows(study)[0].history, rows(study)[0].epoch) == ([], None)


@pytest.mark.usefixtures("on_other_machines")
def test_a_renewed_trial_is_not_taken_over(study, clock):
    alive, other = TrialQueue(study), elsewhere(study, stale_after=60)
    trial = alive.take()
    run_trials(study, 1.0, 1.0, queue=other)
    for _ in range(4):
        clock.now += 40
        assert alive.renew(trial)
        assert other.take() is None


@pytest.mark.usefixtures("on_other_machines", "clock")
def test_clocks_of_machines_may_differ(study, monkeypatch):
    monkeypatch.setattr(queue, "time", SimpleNamespace(time=lambda: 0.0))
    TrialQueue(study).take()
    monkeypatch.undo()
    monkeypatch.setattr(queue, "_machine", lambda: None)
    assert elsewhere(study).take().number == 1


@pytest.mark.usefixtures("on_other_machines")
def test_an_outage_restarts_the_clock_of_leases(study, clock):
    alive, other = TrialQueue(study), elsewhere(study, stale_after=60)
    alive.take()
    assert other.take().number == 1
    clock.now = 100
    other._retry(failing(ConnectionLost())[0])
    assert other.take().number == 2
    clock.now = 161
    assert other.take().number == 0


def test_a_trial_without_lease_is_taken_over_and_told_once(study):
    study.inner.ask()
    one = TrialQueue(study)
    trial = one.take()
    assert trial.number == 0
    assert set(trial.values) == {"x", "y"}
    # The second time because the first answer was lost.
    assert one.tell(trial, FINISHED)
    assert one.tell(trial, FINISHED)
    assert [row.value for row in rows(study)] == [1.0]


def test_retried_trials_keep_their_number(engine):
    study = engine.study({"x": [1, 2, 3, 4]}, run_cap=3)
    one, other = TrialQueue(study), elsewhere(study)
    failed = Outcome("failed", reason="boom")
    for outcome in (FINISHED, failed):
        one.tell(one.take(), outcome)
    assert [one.retry_failed(), other.retry_failed()] == [1, 0]
    assert states(study) == ["finished", "waiting"]
    taken = [worker.take() for worker in (one, other)]
    assert [(trial.number, trial.values["x"]) for trial in taken] == [(1, 2), (2, 3)]
    assert taken[0].folder == study.folder_of(1)
    assert one.take() is None
    assert one.tell(taken[0], failed)
    assert one.retry_failed() == 1
    assert not one.all_ended()
    assert one.tell(one.take(), Outcome("finished", 5.0))
    assert other.tell(taken[1], Outcome("finished", 6.0))
    assert [(row.number, row.value, row.values["x"]) for row in rows(study)] == [
        *((0, 1.0, 1), (1, 5.0, 2), (2, 6.0, 3))
    ]
    assert one.all_ended()
    assert len(study.inner.trials) == 5


def drawn(engine, name, seed, method="random", count=4, score=lambda x: x):
    """Return the values of trials that two workers take alternately."""
    parameters = {"x": UNIFORM, "y": [1, 2, 3]}
    study = engine.study(parameters, name=name, seed=seed, method=method, run_cap=count)
    workers = cycle([TrialQueue(study), elsewhere(study)])
    for worker in islice(workers, count):
        trial = worker.take()
        worker.tell(trial, Outcome("finished", score(trial.values["x"])))
    return [row.values for row in rows(study)]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_draws_depend_on_the_seed_not_on_the_worker(engine, method):
    first = drawn(engine, "a", 1, method)
    assert first == drawn(engine, "b", 1, method)
    assert first != drawn(engine, "c", 2, method)
    # Two workers do not begin with the same values.
    assert len({values["x"] for values in first}) == 4


def test_bayes_learns_from_the_trials_of_all_workers(engine):
    trials = drawn(engine, "learns", 0, "bayes", 60, lambda x: -abs(x - 0.7))
    distances = [abs(values["x"] - 0.7) for values in trials]
    # By chance, 30 numbers are 0.29 +- 0.03 from 0.7 in the mean; were the direction wrong, 0.5.
    assert sum(distances[-30:]) / 30 < 0.2


def test_optuna_shows_values_that_it_stores_as_probabilities(engine):
    parameters = {
        "x": UNIFORM,
        "seconds": {"distribution": "normal", "mu": 50, "sigma": 1},
        "size": {"distribution": "q_uniform", "min": 8, "max": 64, "q": 8},
    }
    study = engine.study(parameters, method="random", run_cap=1)
    values = TrialQueue(study).take().values
    known = study.inner.trials[0].user_attrs
    shown = {name: value for name, value in known.items() if name != "lease"}
    assert shown == {f"value of {name}": values[name] for name in ("seconds", "size")}


@pytest.mark.usefixtures("on_other_machines")
def test_a_stale_trial_is_shown_as_waiting(study, monkeypatch):
    TrialQueue(study).take()
    assert rows(study)[0].state == "running"
    monkeypatch.setattr("lightning_colorize.sweeps.status.STALE_AFTER", -1.0)
    assert (rows(study)[0].state, rows(study)[0].reason) == ("waiting", "its worker is gone")
