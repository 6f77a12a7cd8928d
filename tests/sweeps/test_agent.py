"""Trials of W&B's agent in a Slurm job, without W&B and Slurm; with both in tests/slurm."""

import os
import sys
import time

import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.sweeps import agent
from lightning_colorize.sweeps.agent import records, run_agent, run_trial
from tests.conftest import read_lines, until

# Appends its environment to a file, then becomes the trial.
SEEN = ["/bin/sh", "-c", 'env >> "$LIGHTNING_COLORIZE_TRIAL/seen"; exec "$@"', "sh"]
OUTER = {
    **{"SLURM_JOB_ID": "34", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURMD_NODENAME": "n1"},
    **{"MASTER_ADDR": "n1", "MASTER_PORT": "29500", "LOCAL_RANK": "1", "PMI_RANK": "1"},
}


class Trials:
    """Trials of the sweep engine's stub as W&B's agent would start them."""

    def __init__(self, engine):
        self.engine = engine
        self.root = engine.folder / "runs" / "tiny-abc"

    def command(self, *words):
        return [*SEEN, sys.executable, "-SE", str(self.engine.stub), *words]

    def start(self, *words, run="first"):
        """Start a trial in a process whose parent, this one, lives."""
        return self.engine.fork(self._exit, run, self.command(*words))

    def start_below_agent(self, *words, run="first"):
        """Start a trial below a process of its own, which dies without ending the trial."""

        def stand_in():
            if os.fork() == 0:
                self._exit(run, self.command(*words))
            time.sleep(60)

        return self.engine.fork(stand_in)

    def work(self, *words):
        """Run a job in a forked process; returns its exit code."""
        return self.engine.fork(lambda: sys.exit(run_agent(self.root, "e/p/abc", words))).wait(30)

    def _exit(self, run, command):
        os.environ |= {"WANDB_RUN_ID": run, "WANDB_SWEEP_ID": "abc", **OUTER}
        os._exit(run_trial(command, self.root, resumed=False))

    def validated(self, run="first"):
        return [line["epoch"] for line in read_lines(self.root / run / "validations.jsonl")]

    def seen(self, name, run="first"):
        """Return a variable's value at each start; nothing where it was not set."""
        lines = (self.root / run / "seen").read_text().splitlines()
        return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]

    @property
    def codes(self):
        return {record.run_id: record.code for record in records(self.root)}


@pytest.fixture
def trials(engine, monkeypatch):
    monkeypatch.setattr(agent, "_is_canceled", lambda path: False)
    monkeypatch.setattr(agent, "_LOOK_EVERY", 0.1)
    return Trials(engine)


def test_a_trial_sees_nothing_of_an_outer_task(trials):
    assert trials.start().wait(30) == 0
    assert trials.codes == {"first": 0}
    assert trials.seen("WANDB_RUN_ID") == ["first"]
    assert trials.seen("LIGHTNING_COLORIZE_TRIAL") == [str(trials.root / "first")]
    for name in OUTER:
        assert trials.seen(name) == [], name
    # Only for the trial: `scontrol` needs it.
    assert trials.start("--do=fail", run="second").wait(30) == 1
    assert trials.codes == {"first": 0, "second": 1}


def test_a_trial_that_cannot_be_started_has_ended(trials, monkeypatch):
    monkeypatch.setattr(trials, "command", lambda *words: ["./none"])
    assert trials.start().wait(30) == 127
    assert trials.codes == {"first": 127}


def test_a_trial_is_in_one_process_and_ends_once(trials):
    first = trials.start("--seconds=0.05", "--epochs=20")
    until(trials.validated)
    assert trials.start().wait(30) == 0
    assert first.wait(30) == 0
    assert trials.start().wait(30) == 0
    assert trials.validated() == list(range(20))
    assert len(trials.seen("PATH")) == 1


def test_a_job_resumes_the_trial_of_a_killed_one_in_the_same_wandb_run(trials):
    killed = trials.start_below_agent("--seconds=0.05", "--epochs=30")
    until(lambda: len(trials.validated()) > 2)
    killed.end()
    assert trials.codes == {"first": None}
    assert trials.work("/bin/true") == 0
    assert trials.codes == {"first": 0}
    assert trials.validated() == list(range(30))
    assert trials.seen("WANDB_RUN_ID") == ["first", "first"]
    assert trials.seen("WANDB_SWEEP_ID") == ["abc", "abc"]


def test_a_trial_stopped_at_wandb_has_ended(trials):
    """Its agent lives on, and terminates it."""
    stopped = trials.start("--seconds=0.05", "--epochs=200")
    until(trials.validated)
    stopped.terminate()
    assert stopped.wait(30) == 143
    assert trials.codes == {"first": 143}
    assert trials.work("/bin/true") == 0
    assert len(trials.seen("PATH")) == 1


def test_a_terminated_job_interrupts_a_resumed_trial(trials):
    killed = trials.start_below_agent("--seconds=0.05", "--epochs=200")
    until(lambda: len(trials.validated()) > 2)
    killed.end()
    job = trials.engine.fork(lambda: sys.exit(run_agent(trials.root, "e/p/abc", ["/bin/false"])))
    until(lambda: len(trials.seen("PATH")) == 2)
    before = len(trials.validated())
    until(lambda: len(trials.validated()) > before)
    job.terminate()
    assert job.wait(30) == 143
    assert trials.codes == {"first": None}


def test_no_trial_is_resumed_after_the_sweep_was_canceled(trials, monkeypatch):
    killed = trials.start_below_agent("--seconds=0.05", "--epochs=200")
    until(trials.validated)
    killed.end()
    monkeypatch.setattr(agent, "_is_canceled", lambda path: path == "e/p/abc")
    assert trials.work("/bin/true") == 0
    assert trials.codes == {"first": None}


def test_an_agent_that_fails_fails_the_job(trials):
    with pytest.raises(WorkError, match="W&B's agent ended with exit code 1"):
        run_agent(trials.root, "e/p/abc", ["/bin/false"])
