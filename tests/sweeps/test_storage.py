"""The storage: its locks, and calls that outlive a restart of the database."""

import sys

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.sweeps import storage
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.storage import ConnectionLost, answered
from lightning_colorize.sweeps.study import Study, open_study
from lightning_colorize.sweeps.trial import STUDY
from lightning_colorize.sweeps.worker import main
from tests.sweeps.conftest import away, failing, states

AWAY = "the study's database does not answer (server closed the connection); trying again\n"


def wrapped(cause):
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cause
    return error


def before(original, *errors):
    """Return a function that raises these errors before it calls another."""
    fail, _ = failing(*errors)

    def call(*words, **options):
        fail()
        return original(*words, **options)

    return call


def test_transient_errors_are_retried_with_longer_pauses_and_reported_once(monkeypatch, capsys):
    failures, pauses = [], []
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    for _ in range(2):
        call, _ = failing(away(), wrapped(away()), ConnectionLost())
        assert answered(call, lambda: 60, lambda: failures.append(1)) == "answer"
        assert capsys.readouterr().err == AWAY
    assert len(failures) == 6
    assert 0.05 <= pauses[0] < pauses[2] <= 0.4
    assert pauses[:3] != pauses[3:]  # workers do not call together


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), IntegrityError("INSERT", {}, Exception()), wrapped(KeyError("no"))],
)
def test_other_errors_are_raised_without_another_call(error):
    call, calls = failing(error, error)
    with pytest.raises(type(error)):
        answered(call)
    assert len(calls) == 1


def test_exhausted_patience_is_a_one_line_error():
    call, calls = failing(*[away() for _ in range(20)])
    with pytest.raises(WorkError, match=r"not answered for 0 s \(server closed the connection\);"):
        answered(call, lambda: 0.3)
    assert calls[-1] - calls[0] < 2


def test_workers_and_results_wait_for_a_database_that_restarts(engine, monkeypatch, capsys):
    study = engine.study({"x": 1}, f"sqlite:///{engine.folder}/study.db")
    connect = before(storage.RDBStorage, away(), wrapped(away()))
    monkeypatch.setattr(storage, "RDBStorage", connect)
    monkeypatch.setenv(STUDY, study.url)
    monkeypatch.setattr(sys, "argv", ["worker", study.sweep.name])
    assert main() == 0
    assert capsys.readouterr().err == AWAY
    monkeypatch.setattr(Study, "trials", before(Study.trials, wrapped(away())))
    assert states(study) == ["finished"]
    assert capsys.readouterr().err == AWAY


def test_waiting_for_a_lock_times_out(engine, monkeypatch, capsys):
    monkeypatch.setattr(storage, "_LOCK_TIMEOUT", 0.05)
    study = engine.study({"x": 1})
    other = open_study(study.url)
    trials = TrialQueue(other)
    trials.patience = 0.0
    with study.lock:
        with pytest.raises(WorkError, match=r"has not answered .*/\.study\.journal\.lock"):
            trials.take()
        with pytest.raises(UsageError, match=r"not writable: .*/\.study\.journal\.lock"):
            other.stop()
    assert trials.take().number == 0
    assert rows(study)[0].state == "running"
    assert "trying again" in capsys.readouterr().err
