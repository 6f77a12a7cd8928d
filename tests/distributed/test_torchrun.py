"""Two processes (gloo, CPU) resume, of one node and of two torchrun nodes."""

import os
import signal
from pathlib import Path

import pytest

from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands, until
from tests.distributed.launchers import FIT, end, kill_group, start, start_nodes, steps_of
from tests.tasks.test_cgan_runs import last, same

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(600)]

EPOCHS = 8
PER_EPOCH = 3
# Batch norm, crops and momentum, over two processes that each see their own images.
OPTIONS = ["--data.batch_size", 2, "--trainer.max_epochs", EPOCHS, "--run.grid_images", 0]
OPTIONS += ["--run.save_every_n_steps", 2]


@pytest.fixture(scope="module")
def uninterrupted(photo_folder, tmp_path_factory):
    """The weights of a run of two processes."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("runs"))
    end(start(*FIT, *command.words("whole", *OPTIONS, "--trainer.devices", 2)))
    return last(command.root / "tiny" / "whole")["state_dict"]


def test_an_interrupted_run_resumes_in_mid_epoch(command, uninterrupted):
    two = ["--trainer.devices", 2, "--trainer.strategy", "ddp"]
    run = command.root / "tiny" / "interrupted"
    process = start(*FIT, *command.words("interrupted", *OPTIONS, *two))
    until(lambda: len(steps_of(run)) >= 2 or process.poll() is not None, 200)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    result = RunResult.read(run)
    assert result.status == "interrupted"
    assert result.epochs < EPOCHS
    end(start("-m", "lightning_colorize", "resume", run))
    assert RunResult.read(run).status == "finished"
    assert same(last(run)["state_dict"], uninterrupted)


def test_a_killed_process_is_restarted_and_the_run_resumes(command, uninterrupted):
    words = command.words("killed", *OPTIONS, "--run.auto_resume", "true")
    run = command.root / "tiny" / "killed"
    agents = start_nodes(words, restarts=2)
    try:
        until(lambda: len(steps_of(run)) >= 8, 200)
        children = Path(f"/proc/{agents[1].pid}/task/{agents[1].pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGKILL)
    except BaseException:
        for agent in agents:
            kill_group(agent)
        raise
    end(*agents)
    result = RunResult.read(run)
    assert (result.status, result.restarts) == ("finished", 1)
    assert result.batches == EPOCHS * PER_EPOCH
    assert steps_of(run) == list(range(EPOCHS * PER_EPOCH))
    assert same(last(run)["state_dict"], uninterrupted)
