"""The trial runner with a process that is a list of steps, so that nothing depends on time."""

import errno

import pytest

from lightning_colorize.sweeps import worker
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.trial import Outcome
from lightning_colorize.sweeps.worker import TrialRunner, WorkerOptions
from tests.sweeps.conftest import ends, run_trials, validates


class Process:
    """Does one step at each wait, and ends with the last step."""

    def __init__(self):
        self.starts = 0
        self.steps = []

    def __call__(self, words, folder, *others):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.starts += 1
        return self

    def wait(self, seconds):
        if self.steps:
            self.steps.pop(0)(self.folder)
        return None if self.steps else 0

    def end(self, grace):
        """Nothing is left to end."""

    def last_line(self):
        return ""


def together(*steps):
    return lambda folder: [step(folder) for step in steps]


def starts_over(folder):
    (folder / "validations.jsonl").unlink(missing_ok=True)


@pytest.fixture
def process(monkeypatch):
    process = Process()
    monkeypatch.setattr(worker, "TrialProcess", process)
    monkeypatch.setattr(worker, "_POLL_EVERY", 0.001)
    return process


def run(study, urgency=0):
    """Take a trial and run it; return its row."""
    trials = TrialQueue(study)
    trial = trials.take()
    trials.tell(trial, TrialRunner(study, trials, trial, WorkerOptions(), lambda: urgency).run())
    return rows(study)[trial.number]


def test_a_run_that_outlives_its_worker_is_not_started_again(engine, process, monkeypatch):
    """Its worker was killed, or slept past its lease; the run has its lock until it ends."""
    study = engine.study({"x": 1})
    with monkeypatch.context() as always:
        always.setattr(worker, "is_running", lambda folder: True)
        assert (run(study, urgency=1).state, process.starts) == ("waiting", 0)
    folder = study.folder_of(0)
    folder.mkdir()
    checks = [None, None, together(validates(5.0), ends("stopped_early"))]

    def is_running(_):
        if checks and (step := checks.pop(0)):
            step(folder)
        return bool(checks)

    monkeypatch.setattr(worker, "is_running", is_running)
    row = run(study)
    assert (process.starts, row.state, row.value) == (0, "finished", 5.0)
    assert not checks


def test_values_of_a_deleted_run_are_retracted(engine, process):
    study = engine.study({"x": 1})
    run_trials(study, Outcome("returned"), history=[99.0, 98.0, 97.0])
    study.folder_of(0).mkdir()
    validates(99.0, 98.0, 97.0)(study.folder_of(0))
    histories = []

    def record(folder):
        histories.append(rows(study)[0].history)

    process.steps = [starts_over, record, validates(10.0), record, validates(11.0, first=1)]
    process.steps.append(ends("finished"))
    row = run(study)
    assert histories == [[], [10.0]]
    assert (row.value, row.history) == (11.0, [10.0, 11.0])


@pytest.fixture
def hyperband(engine):
    """A study whose first trial is good, and judges at every validation."""
    rule = {"type": "hyperband", "min_iter": 1, "eta": 2}
    study = engine.study({"x": [1, 2, 3]}, early_terminate=rule)
    run_trials(study, 9.0, 9.0, history=[9.0])
    return study


def test_an_ended_run_is_not_stopped(hyperband, process):
    process.steps = [together(validates(1.0), ends("stopped_early"))]
    row = run(hyperband)
    assert (row.state, row.value, row.reason) == ("finished", 1.0, None)
    assert not (row.folder / "stop").exists()


def test_values_of_an_earlier_process_do_not_stop_the_next(hyperband, process):
    folder = hyperband.folder_of(2)
    folder.mkdir()
    validates(1.0)(folder)
    process.steps = [starts_over, validates(10.0), ends("finished")]
    row = run(hyperband)
    assert (row.state, row.value) == ("finished", 10.0)
    assert not (folder / "stop").exists()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_a_missing_program_fails_the_trial(engine, monkeypatch, number):
    study = engine.study({"x": 1}, command=["program", "${args}"])

    def refuse(words, folder, *others):
        raise OSError(number, "Why not", "program")

    monkeypatch.setattr(worker, "TrialProcess", refuse)
    assert run(study).reason == "program cannot be run: Why not"
