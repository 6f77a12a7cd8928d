"""A sweep engine whose trials are a script of no imports: `engine`."""

import json
import multiprocessing
import os
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from optuna.trial import TrialState

from lightning_colorize.sweeps import process, worker
from lightning_colorize.sweeps import study as study_module
from lightning_colorize.sweeps.spec import parse_sweep
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import create_study, number_of, open_study
from lightning_colorize.sweeps.worker import work
from tests.conftest import read_lines

# Like `fit` for an engine: resumes from a checkpoint, validates, stops when asked to, writes a
# checkpoint when terminated. `do` selects a failure.
STUB = """
import json, os, signal, sys, time

words = dict(word[2:].split("=", 1) for word in sys.argv[1:])
folder = os.environ["LIGHTNING_COLORIZE_TRIAL"]
do, x = words.get("do", "finish"), float(words.get("x", 0))
seconds = float(words.get("seconds", 0))

def path(name):
    return os.path.join(folder, name)

def append(name, line):
    with open(path(name), "a") as file:
        file.write(json.dumps(line) + "\\n")

def end(status, code, **metrics):
    with open(path("result.tmp"), "w") as file:
        json.dump({"status": status, "metrics": metrics}, file)
    os.replace(path("result.tmp"), path("result.json"))
    sys.exit(code)

def handle(number, frame):
    # Anything but the first: Python may be anywhere.
    signal.signal(number, signal.SIG_IGN)
    if do == "deaf":
        return
    end("interrupted", 128 + number)

signal.signal(signal.SIGTERM, handle)
signal.signal(signal.SIGINT, handle)
gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
append("starts", {"worker": os.getppid(), "pid": os.getpid(), "gpus": gpus})
print("the stub runs with", words)
first = 0
if os.path.exists(path("checkpoint")):
    first = int(open(path("checkpoint")).read())
for epoch in range(first, int(words.get("epochs", 1))):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    value = None if do == "null" else x + epoch / 100
    line = {"epoch": epoch, "step": 10 * epoch, "metrics": {"val/psnr": value}}
    append("validations.jsonl", line)
    with open(path("checkpoint.tmp"), "w") as file:
        file.write(str(epoch + 1))
    os.replace(path("checkpoint.tmp"), path("checkpoint"))
    if epoch == 1 and folder.endswith(words.get("lingers", "none")):
        until = time.monotonic() + 20
        while not os.path.exists(path("stop")) and time.monotonic() < until:
            time.sleep(0.01)
    if os.path.exists(path("stop")):
        end("stopped_early", 0)
if do == "fail":
    print("boom\\n")
    sys.exit(1)
if do == "preempted":
    end("interrupted", 143)
append("finishes", os.getpid())
end("finished", 0, **{"test/psnr": 2 * x})
"""


class Worker(multiprocessing.get_context("fork").Process):
    """A worker in a forked process, which skips the slow imports."""

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds):
        """Return the exit code; None if it still runs."""
        self.join(seconds)
        return self.exitcode

    def end(self):
        self.kill()
        self.join()


def run_worker(url, name):
    sys.exit(work(open_study(url, name, patient=True)))


class Engine:
    """Sweeps over the stub in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.stub = folder / "stub.py"
        self.stub.write_text(textwrap.dedent(STUB))
        self.workers = []

    def source(self, parameters, **changes):
        """Return a sweep file's mapping; lists are values, anything else is a constant."""
        described = {
            name: value
            if isinstance(value, dict)
            else {"values" if isinstance(value, list) else "value": value}
            for name, value in parameters.items()
        }
        source = {
            "method": "grid",
            "metric": {"name": "val/psnr", "goal": "maximize"},
            "command": [sys.executable, "-SE", str(self.stub), "${args}"],
            "parameters": described,
            **changes,
        }
        return {key: value for key, value in source.items() if value is not None}

    def sweep(self, parameters, **changes):
        return parse_sweep(self.source(parameters, **changes), "tiny.yaml")

    def study(self, parameters, url=None, seed=0, **changes):
        return create_study(self.sweep(parameters, **changes), self.folder / "runs", url, seed)

    def work(self, study):
        """Run a worker in this process."""
        return work(study)

    def start(self, study):
        """Start a worker in its own process."""
        return self.fork(run_worker, study.url, study.sweep.name)

    def fork(self, target, *arguments):
        self.workers.append(Worker(target=target, args=arguments))
        self.workers[-1].start()
        return self.workers[-1]

    def starts(self, study, number):
        """Return one entry for each start of a trial's process."""
        return read_lines(study.folder_of(number) / "starts")

    def finishes(self, study, number):
        return read_lines(study.folder_of(number) / "finishes")

    def validations(self, study, number):
        return read_lines(study.folder_of(number) / "validations.jsonl")


def run_trials(study, *outcomes, history=(), **result):
    """Take a trial for each outcome: a value, a state or the reason of a failure; None: it runs.

    Each trial logs `history`; `result` is the content of its result file, by default none.
    """
    for outcome in outcomes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a heartbeat belongs to Study.optimize
            trial = study.optuna.ask()
        study.values_of(trial)
        trial.set_user_attr("seconds", 1.0)
        for index, value in enumerate(history):
            trial.report(value, index + 1)
            trial.set_user_attr("epoch", index)
        folder = study.folder_of(number_of(trial))
        if result:
            folder.mkdir(parents=True)
            ends("finished", **result)(folder)
        if isinstance(outcome, str):
            trial.set_user_attr("reason", outcome)
            study.optuna.tell(trial, state=TrialState.FAIL)
        elif isinstance(outcome, TrialState):
            study.optuna.tell(trial, state=outcome)
        elif outcome is not None:
            study.optuna.tell(trial, outcome)


def states(study):
    return [row.state for row in rows(study)]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def validates(*values, first=0):
    """Return a step of a run: these values are logged."""

    def step(folder):
        lines = [
            json.dumps({"epoch": n, "step": 10 * n, "metrics": {"val/psnr": value}}) + "\n"
            for n, value in enumerate(values, start=first)
        ]
        with (folder / "validations.jsonl").open("a") as file:
            file.write("".join(lines))

    return step


def ends(status, metrics=None, **more):
    """Return a step of a run: it ends."""

    def step(folder):
        result = {"status": status, "metrics": metrics or {}, **more}
        (folder / "result.json").write_text(json.dumps(result))

    return step


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch):
    """Seconds in place of minutes; forked workers inherit them."""
    monkeypatch.setattr(study_module, "HEARTBEAT", 1)
    monkeypatch.setattr(study_module, "GRACE_PERIOD", 3)
    monkeypatch.setattr(process, "_GRACE", 5.0)
    monkeypatch.setattr(worker, "_TICK_EVERY", 0.5)
    monkeypatch.setattr(worker, "_READ_EVERY", 0.2)
    monkeypatch.setattr(worker, "_IDLE", 0.2)
    monkeypatch.setattr(worker, "_CHECK_STOPPED_EVERY", 0.2)


@pytest.fixture
def engine(tmp_path):
    engine = Engine(tmp_path)
    yield engine
    for started in engine.workers:
        started.end()
