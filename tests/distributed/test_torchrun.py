"""Two processes (gloo, CPU) resume, of one node and of two torchrun nodes."""

import os
import signal
from pathlib import Path

import pytest

from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands, until
from tests.distributed.launchers import complete, end, fork, kill_group, start_nodes, steps_of
from tests.distributed.recorder import read_records
from tests.tasks.test_cgan_runs import last, same

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(600)]

EPOCHS = 4
PER_EPOCH = 6
# Batch norm, crops and momentum, over two processes that each see their own images.
OPTIONS = ["--data.batch_size", 1, "--trainer.max_epochs", EPOCHS, "--run.grid_images", 0]
OPTIONS += ["--run.save_every_n_minutes", 1e-9]


@pytest.fixture(scope="module")
def uninterrupted(photo_folder, tmp_path_factory):
    """The weights of a run of two processes, and the steps at which each of them saved."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("runs"))
    (saves := command.root / "saves").mkdir()
    recorder = ["--trainer.callbacks", "tests.distributed.recorder.SaveRecorder"]
    recorder += ["--trainer.callbacks.folder", saves]
    complete("fit", *command.words("whole", *OPTIONS, "--trainer.devices", 2, *recorder))
    return last(command.root / "tiny" / "whole")["state_dict"], read_records(saves)


def test_the_first_clock_lets_all_processes_save(uninterrupted):
    first, second = uninterrupted[1]
    assert first == second
    assert {step for step in first if step % PER_EPOCH} == {16}  # and after each epoch


def test_an_interrupted_run_resumes_in_mid_epoch(command, uninterrupted):
    two = ["--trainer.devices", 2, "--trainer.strategy", "ddp"]
    run = command.root / "tiny" / "interrupted"
    process = fork("fit", *command.words("interrupted", *OPTIONS, *two))
    try:
        until(lambda: len(steps_of(run)) >= 2 or not process.is_alive(), 200)
        process.terminate()
        process.join(120)
        assert process.exitcode == 143
    finally:
        kill_group(process)
    result = RunResult.read(run)
    assert result.status == "interrupted"
    assert result.epochs < EPOCHS
    complete("resume", run)
    assert RunResult.read(run).status == "finished"
    assert same(last(run)["state_dict"], uninterrupted[0])


def test_a_killed_process_is_restarted_and_the_run_resumes(command, uninterrupted):
    words = command.words("killed", *OPTIONS, "--run.auto_resume", "true")
    run = command.root / "tiny" / "killed"
    agents = start_nodes(words, restarts=2)
    try:
        until(lambda: len(steps_of(run)) >= 17, 200)
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
    assert same(last(run)["state_dict"], uninterrupted[0])
