"""Two torchrun nodes on one machine (gloo, CPU): a killed process, and unshared folders."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from lightning_colorize.runs.result import RunResult
from tests.distributed.launchers import end, kill_group, start_nodes, steps_of, two_processes

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(600)]

EPOCHS = 8
PER_EPOCH = 3


def test_a_killed_process_is_restarted_and_the_run_resumes(command):
    options = ["--data.batch_size", 2, "--trainer.max_epochs", EPOCHS, "--run.grid_images", 0]
    options += ["--run.save_every_n_steps", 2]
    words = command.words("killed", *options, "--run.auto_resume", "true")
    run = command.root / "tiny" / "killed"
    agents = start_nodes(words, restarts=2)
    try:
        deadline = time.monotonic() + 200
        while len(steps_of(run)) < 8:
            assert time.monotonic() < deadline
            assert all(agent.poll() is None for agent in agents)
            time.sleep(0.02)
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
    two_processes(command.words("uninterrupted", *options))
    weights, expected = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (run, command.root / "tiny" / "uninterrupted")
    )
    assert weights.keys() == expected.keys()
    assert not [name for name in expected if not torch.equal(weights[name], expected[name])]


def test_a_run_folder_that_is_not_shared_is_refused(command, tmp_path):
    words = command.words("unshared")
    elsewhere = [*words, "--run.root", str(tmp_path / "of the other node")]
    agents = start_nodes(words, elsewhere)
    try:
        errors = [agent.communicate(timeout=240)[1] for agent in agents]
    finally:
        for agent in agents:
            kill_group(agent)
    print(*errors, sep="\n---\n")
    assert all(agent.returncode for agent in agents)
    assert all("--run.root must be a shared folder" in text for text in errors)
    assert not (command.root / "tiny" / "unshared" / "config.yaml").exists()
